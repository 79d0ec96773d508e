//! The platform: what programs may rely on, as a value.

use crate::attach::AttachType;
use crate::context::ContextDef;
use crate::helper::HelperProto;
use crate::program::ProgType;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a program type is given.
#[derive(Clone, Debug)]
pub struct ProgTypeDef {
    /// The type.
    pub prog_type: ProgType,
    /// Its context; none if `r1` points to plain memory and `r2` holds its length.
    pub context: Option<ContextDef>,
    /// Names of return values, such as 1 for `XDP_DROP`.
    pub verdicts: Cow<'static, [(u64, &'static str)]>,
}

/// Program types with their contexts, and helpers: the world that loader, verifier and machine
/// agree on.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    prog_types: BTreeMap<ProgType, ProgTypeDef>,
    /// By number; those of one number allow different program types.
    helpers: BTreeMap<u32, Vec<HelperProto>>,
}

impl Platform {
    /// A platform without program types and helpers.
    pub fn empty() -> Platform {
        Platform::default()
    }

    /// Linux 6.18's.
    pub fn linux() -> Platform {
        let mut platform = Platform::empty();
        for def in crate::linux::prog_types() {
            platform.add_prog_type(def);
        }
        for proto in crate::linux::helpers() {
            platform.add_helper(proto);
        }
        platform
    }

    /// Adds a program type, or replaces the one there was.
    pub fn add_prog_type(&mut self, def: ProgTypeDef) {
        self.prog_types.insert(def.prog_type, def);
    }

    /// Adds a helper, in place of those with its number for the same program types and attach
    /// types.
    pub fn add_helper(&mut self, proto: HelperProto) {
        let protos = self.helpers.entry(proto.id).or_default();
        protos.retain(|other| !other.overlaps(&proto));
        protos.push(proto);
    }

    /// What a program type is given.
    pub fn prog_type(&self, prog_type: ProgType) -> Option<&ProgTypeDef> {
        self.prog_types.get(&prog_type)
    }

    /// The helper with this number: its first prototype, whichever program types it is for.
    pub fn helper(&self, id: u32) -> Option<&HelperProto> {
        self.helpers.get(&id)?.first()
    }

    /// The helper with this number as programs of this type and with this expected attach type see
    /// it; none if they may not call it.
    pub fn helper_for(
        &self,
        id: u32,
        prog_type: ProgType,
        attach: AttachType,
    ) -> Option<&HelperProto> {
        self.helpers.get(&id)?.iter().find(|proto| proto.allows(prog_type, attach))
    }

    /// All prototypes by number.
    pub fn helpers(&self) -> impl Iterator<Item = &HelperProto> {
        self.helpers.values().flatten()
    }
}
