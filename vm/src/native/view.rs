//! The machine code of a program, to look at: compiled as for a run, never entered.

use super::linking::Linking;
use crate::instance::{Instance, LinkError, LinkErrorKind};
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Size};
use ebpfvm_jit::ir::Unit;
use ebpfvm_jit::{Callee, Emitted, Error, Link, Lookup, Options, Runtime, Source, compile_seen};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A program as one of its forms in machine code: what a run would enter, with the steps on the way
/// there.
pub struct View<'a> {
    instance: &'a Instance,
    is_checked: bool,
    options: Options,
    linking: Naming<'a>,
}

impl Instance {
    /// A view of the program compiled with these options. With checks if that is asked for, or if the
    /// program was not verified; those forms always count fuel.
    pub fn view(&self, is_checked: bool, options: Options) -> View<'_> {
        let is_checked = is_checked || !self.is_verified();
        let is_metered = options.is_metered || is_checked;
        let options = Options { is_metered, has_map: true, ..options };
        let linking = Linking::new(self, !is_checked);
        let linking = Naming { linking, instance: self, places: RefCell::default() };
        View { instance: self, is_checked, options, linking }
    }
}

impl View<'_> {
    /// Whether every access is checked.
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// How the program is compiled.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The machine code. `see` is told of each pass that runs, in their order, by its place in
    /// [`PASSES`](ebpfvm_jit::opt::PASSES), with the blocks before and after it.
    ///
    /// # Errors
    /// The first instruction that cannot be compiled.
    pub fn compile(&self, see: impl FnMut(usize, &Unit, &Unit)) -> Result<Emitted, LinkError> {
        let judged = self.instance.judged().filter(|_| !self.is_checked);
        let source = match judged {
            Some((program, code)) => Source::verified(program, code),
            None => Source::checked(self.instance.program()),
        };
        compile_seen(&source, &self.linking, &self.options, see).map_err(|Error { pc, kind }| {
            LinkError { pc: Some(pc), kind: LinkErrorKind::Native(kind.to_string()) }
        })
    }

    /// What an address in the code that [`View::compile`] gave stands for: a function of the machine, or a
    /// map's memory, with a distance from its beginning.
    pub fn name(&self, address: u64) -> Option<String> {
        let places = self.linking.places.borrow();
        let (start, place) = places.range(..=address).next_back()?;
        match address - start {
            0 => Some(place.name.clone()),
            inside if inside < place.bytes => Some(format!("{}+{inside}", place.name)),
            _ => None,
        }
    }
}

/// Something that has an address.
struct Place {
    bytes: u64,
    name: String,
}

/// Links as for a run, and keeps what the addresses are that it gives.
struct Naming<'a> {
    linking: Linking<'a>,
    instance: &'a Instance,
    places: RefCell<BTreeMap<u64, Place>>,
}

impl Naming<'_> {
    fn keep(&self, address: u64, bytes: u64, name: impl Into<String>) {
        let place = Place { bytes, name: name.into() };
        self.places.borrow_mut().insert(address, place);
    }

    fn map_name(&self, index: u32) -> &str {
        self.instance.maps().get(index as usize).map_or("", |map| &map.def().name)
    }

    /// Names what a call calls.
    fn name(&self, pc: Pc, callee: Callee, map: &str) {
        match callee {
            Callee::Direct { address, .. } => {
                let call = self.instance.call_at(pc);
                let helper =
                    call.and_then(|call| self.instance.helpers().get(call.helper as usize));
                if let Some(helper) = helper {
                    self.keep(address as u64, 1, format!("bpf_{}", helper.proto.name));
                }
            }
            Callee::Array(array) => {
                let bytes = u64::from(array.stride) * u64::from(array.entries);
                self.keep(array.base, bytes.max(1), map);
            }
            Callee::Table { address, table } => {
                self.keep(address as u64, 1, "lookup");
                self.keep(table as u64, 1, format!("table of {map}"));
            }
            Callee::Helper { .. }
            | Callee::TailCall { .. }
            | Callee::ByNumber { .. }
            | Callee::Trusting(_)
            | Callee::Cpu
            | Callee::Lookup(_) => {}
        }
    }
}

impl Link for Naming<'_> {
    fn imm64(&self, pc: Pc, value: Imm64) -> Result<u64, String> {
        let address = self.linking.imm64(pc, value)?;
        match value {
            Imm64::MapIdx(index) => self.keep(address, 1, format!("map {}", self.map_name(index))),
            Imm64::MapIdxValue { index, offset } => {
                let bytes = self.instance.maps().get(index as usize);
                let bytes = bytes.map_or(1, |map| map.def().value_bytes.into());
                self.keep(address.wrapping_sub(offset.into()), bytes, self.map_name(index));
            }
            _ => {}
        }
        Ok(address)
    }

    fn callee(&self, pc: Pc, target: CallTarget, map: Option<u32>) -> Result<Callee, String> {
        let callee = self.linking.callee(pc, target, map)?;
        self.name(pc, callee, map.map_or("", |map| self.map_name(map)));
        Ok(callee)
    }

    fn lookup(&self, pc: Pc, target: CallTarget, map: u32) -> Option<Lookup> {
        let lookup = self.linking.lookup(pc, target, map)?;
        self.name(pc, lookup.way.into(), self.map_name(map));
        Some(lookup)
    }

    fn context(&self, insn: &Insn) -> Option<(u16, Size)> {
        self.linking.context(insn)
    }

    fn runtime(&self) -> &Runtime {
        let runtime = self.linking.runtime();
        let Runtime { helper, tail_call, by_number, find, commit, packet } = *runtime;
        for (address, name) in [
            (helper, "call_helper"),
            (tail_call, "call_tail"),
            (by_number, "call_by_number"),
            (find, "find_memory"),
            (commit, "store_field"),
            (packet, "load_packet"),
        ] {
            self.keep(address as u64, 1, name);
        }
        runtime
    }
}
