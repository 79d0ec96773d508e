//! The platform: what programs may rely on, as a value.

use crate::attach::{AttachType, AttachTypeSet};
use crate::context::{ContextDef, Pointee};
use crate::helper::HelperProto;
use crate::program::ProgType;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What programs may do with the bytes of a packet, besides loads through a checked pointer, which
/// every context with a packet allows (`may_access_direct_pkt_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketAccess {
    /// Loads only.
    Load,
    /// Packet pointers may be given to helpers too.
    Helpers,
    /// Stores too.
    Store,
}

/// Which return values the verifier allows (`check_return_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnRange {
    /// For programs of these expected attach types.
    pub attach_types: AttachTypeSet,
    /// The smallest value, as a signed number of 64 bits.
    pub min: i64,
    /// The greatest.
    pub max: i64,
}

/// What a program type is given.
#[derive(Clone, Debug)]
pub struct ProgTypeDef {
    /// The type.
    pub prog_type: ProgType,
    /// Its context; none if `r1` points to plain memory and `r2` holds its length.
    pub context: Option<ContextDef>,
    /// Names of return values, such as 1 for `XDP_DROP`.
    pub verdicts: Cow<'static, [(u64, &'static str)]>,
    /// Allowed return values; the first entry with the attach type counts, without one any value
    /// is allowed.
    pub returns: Cow<'static, [ReturnRange]>,
    /// Expected attach types that a program may be loaded with.
    pub attach_types: AttachTypeSet,
    /// What a load with attach type 0 means (`bpf_prog_load_fixup_attach_type`).
    pub default_attach_type: AttachType,
    /// What programs may do with packet bytes.
    pub packet: PacketAccess,
    /// Whether programs may use the packet loads of classic BPF (`may_access_skb`).
    pub legacy_loads: bool,
}

impl ProgTypeDef {
    /// A type whose programs may be loaded with every attach type, return every value, and only
    /// load from packets.
    pub fn new(prog_type: ProgType, context: Option<ContextDef>) -> ProgTypeDef {
        ProgTypeDef {
            prog_type,
            context,
            verdicts: Cow::Borrowed(&[]),
            returns: Cow::Borrowed(&[]),
            attach_types: AttachTypeSet::ALL,
            default_attach_type: AttachType(0),
            packet: PacketAccess::Load,
            legacy_loads: false,
        }
    }

    /// The attach type that a program loaded with this expected one has; none if it is refused.
    pub fn attach_type(&self, expected: AttachType) -> Option<AttachType> {
        let actual = if expected.0 == 0 { self.default_attach_type } else { expected };
        self.attach_types.contains(actual).then_some(actual)
    }

    /// The allowed return values of programs of this attach type; none if any is allowed.
    pub fn return_range(&self, attach_type: AttachType) -> Option<&ReturnRange> {
        self.returns.iter().find(|r| r.attach_types.contains(attach_type))
    }
}

/// What a parameter with the tag `arg:ctx` may point to, besides `void` and the context's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaggedContext {
    /// The struct with this name.
    Struct(&'static str),
    /// A struct whose name begins so.
    StructPrefix(&'static str),
    /// An integer of 8 bytes.
    Word,
    /// Everything that has a name.
    Anything,
}

/// For which programs a [`TaggedContext`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedRule {
    /// Their expected attach types.
    pub attach_types: AttachTypeSet,
    /// What their parameters may point to.
    pub form: TaggedContext,
}

/// Which types in the declaration of a function stand for the context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextTypes {
    /// Structs and unions that a parameter points to when it is the context.
    pub names: Vec<Cow<'static, str>>,
    /// A typedef that says the same.
    pub alias: Option<&'static str>,
    /// The struct that a parameter with the tag `arg:ctx` points to; without one only `void` and
    /// what `tagged` says.
    pub layout: Option<Cow<'static, str>>,
    /// A typedef that a parameter with the tag may point to.
    pub tagged_alias: Option<&'static str>,
    /// What else it may point to.
    pub tagged: Cow<'static, [TaggedRule]>,
}

/// How programs access an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectAccess {
    /// Field by field, as [`ContextDef::access`] says; with `cannot write into` for every store.
    Fields,
    /// As memory: loads and stores of any size and place within the layout, across fields too.
    Memory,
}

/// What programs see of an object that a context or a helper gives them a pointer to.
#[derive(Clone, Debug)]
pub struct ObjectDef {
    /// What the pointer points to.
    pub pointee: Pointee,
    /// Its fields.
    pub layout: ContextDef,
    /// How they are accessed.
    pub access: ObjectAccess,
}

/// Program types with their contexts, and helpers: the world that loader, verifier and machine
/// agree on.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    prog_types: BTreeMap<ProgType, ProgTypeDef>,
    /// By number; those of one number allow different program types.
    helpers: BTreeMap<u32, Vec<HelperProto>>,
    objects: BTreeMap<Pointee, ObjectDef>,
    context_types: BTreeMap<ProgType, ContextTypes>,
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
        for prog_type in ProgType::ALL {
            let types = crate::linux::context_types(*prog_type, Default::default());
            platform.add_context_types(*prog_type, types);
        }
        for def in crate::linux::objects() {
            platform.add_object(def);
        }
        platform
    }

    /// The same with the registers of another machine: what probes and perf events see.
    pub fn on_arch(mut self, arch: crate::linux::Arch) -> Platform {
        const TYPES: [ProgType; 2] = [ProgType::Kprobe, ProgType::PerfEvent];
        for def in crate::linux::prog_types_of(arch) {
            if TYPES.contains(&def.prog_type) {
                self.add_context_types(
                    def.prog_type,
                    crate::linux::context_types(def.prog_type, arch),
                );
                self.add_prog_type(def);
            }
        }
        self
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

    /// Adds which types stand for the context of programs of a type, or replaces them.
    pub fn add_context_types(&mut self, prog_type: ProgType, types: ContextTypes) {
        self.context_types.insert(prog_type, types);
    }

    /// Which types stand for the context of programs of this type: those that were added, or the
    /// struct with the name of its context.
    pub fn context_types(&self, prog_type: ProgType) -> ContextTypes {
        if let Some(types) = self.context_types.get(&prog_type) {
            return types.clone();
        }
        let context = self.prog_type(prog_type).and_then(|def| def.context.as_ref());
        let name = context.map(|context| context.name.clone());
        ContextTypes {
            names: name.iter().cloned().collect(),
            layout: name,
            ..ContextTypes::default()
        }
    }

    /// Adds what programs see of an object, or replaces it.
    pub fn add_object(&mut self, def: ObjectDef) {
        self.objects.insert(def.pointee, def);
    }

    /// What programs see of an object; none if nothing of it can be accessed.
    pub fn object(&self, pointee: Pointee) -> Option<&ObjectDef> {
        self.objects.get(&pointee)
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
