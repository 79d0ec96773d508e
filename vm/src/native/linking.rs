//! What the names in a program's code stand for, as the compiler asks for it.

use super::runtime;
use crate::helper::Shortcut;
use crate::instance::Instance;
use crate::interp::op::OpCode;
use crate::map::{Direct, Hash, Map, MapRef};
use crate::vm::Vm;
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Size};
use ebpfvm_jit::ir::Check;
use ebpfvm_jit::{Callee, Link, Lookup, Runtime, Trusting, Way};
use ebpfvm_spec::helper::{MemAccess, MemSize};
use ebpfvm_spec::{Arg, HelperProto};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// A hash table, as compiled code hands it to [`runtime`]'s lookups.
pub(crate) struct Table {
    /// The address of the map's [`Hash`], which lives as long as the instance holds the map.
    pub(super) hash: usize,
    /// Size of a key.
    pub(super) key_bytes: u32,
    /// Knows the CPU.
    pub(super) vm: Vm,
}

/// Links an instance that is bound.
pub(super) struct Linking<'a> {
    instance: &'a Instance,
    /// Whether the code is compiled without checks.
    is_verified: bool,
    #[expect(clippy::vec_box, reason = "compiled code has the addresses")]
    tables: RefCell<Vec<Box<Table>>>,
    uses_cpu: Cell<bool>,
}

impl<'a> Linking<'a> {
    pub(super) fn new(instance: &'a Instance, is_verified: bool) -> Linking<'a> {
        Linking { instance, is_verified, tables: RefCell::default(), uses_cpu: Cell::default() }
    }

    /// Whether the code that was linked asks which CPU it runs on.
    pub(super) fn uses_cpu(&self) -> bool {
        self.uses_cpu.get()
    }

    /// What the lookups that were linked need; the code has its addresses.
    pub(super) fn into_tables(self) -> Box<[Box<Table>]> {
        self.tables.into_inner().into()
    }

    /// The map with this number.
    fn map(&self, index: u32) -> Option<&MapRef> {
        self.instance.maps().get(index as usize)
    }

    /// The way to the elements of a map that is known.
    fn way(&self, map: &Map) -> Option<Way> {
        let key_bytes = map.def().key_bytes;
        match map.direct()? {
            Direct::Array { elements, percpu } => {
                self.uses_cpu.set(self.uses_cpu.get() | percpu);
                elements.array(percpu, self.instance.cpus()).map(Way::Array)
            }
            Direct::Hash { hash, percpu } => {
                let table = Box::new(Table {
                    hash: std::ptr::from_ref::<Hash>(hash).expose_provenance(),
                    key_bytes,
                    vm: self.instance.vm().clone(),
                });
                let address = std::ptr::from_ref(&*table).expose_provenance();
                self.tables.borrow_mut().push(table);
                Some(Way::Table { address: runtime::lookup(key_bytes, percpu), table: address })
            }
        }
    }
}

/// The arguments that point to memory that is read, as long as the next one says, by the bits of their
/// numbers; none if there are others than these and numbers.
fn read_memory(proto: &HelperProto) -> Option<u8> {
    let mut memory = 0;
    for (index, arg) in proto.args.iter().enumerate() {
        match arg {
            Arg::Mem { access: MemAccess::Read, size: MemSize::NextArg, .. } => {
                memory |= 1 << (index + 1);
            }
            Arg::None | Arg::Anything | Arg::Size { .. } => {}
            _ => return None,
        }
    }
    Some(memory)
}

impl Link for Linking<'_> {
    fn imm64(&self, pc: Pc, value: Imm64) -> Result<u64, String> {
        self.instance.imm64(pc, value).map_err(|kind| kind.to_string())
    }

    fn callee(&self, pc: Pc, target: CallTarget, map: Option<u32>) -> Result<Callee, String> {
        if let CallTarget::Reg(register) = target {
            return Ok(Callee::ByNumber { register: register.into() });
        }
        let call = self.instance.call_at(pc).ok_or("the call was not bound")?;
        let helper = &self.instance.helpers()[call.helper as usize];
        if let Some(Shortcut::MapLookup) = helper.shortcut
            && let Some(way) = map.and_then(|map| self.way(self.map(map)?))
        {
            return Ok(way.into());
        }
        let args = helper.proto.args.iter().take_while(|arg| **arg != Arg::None).count() as u8;
        match helper.shortcut {
            Some(Shortcut::Direct(code)) => {
                return Ok(Callee::Direct { address: code as usize, args });
            }
            Some(Shortcut::Trusting(code)) if self.is_verified => {
                return Ok(Callee::Direct { address: code as usize, args });
            }
            Some(Shortcut::Cpu) => {
                self.uses_cpu.set(true);
                return Ok(Callee::Cpu);
            }
            Some(Shortcut::Trusting(code)) => {
                if let Some(memory) = read_memory(&helper.proto) {
                    let (address, site) = (code as usize, call.helper);
                    let takes_none = !helper.proto.args.contains(&Arg::Size { zero: false });
                    let trusting = Trusting { address, args, memory, takes_none, site };
                    return Ok(Callee::Trusting(trusting));
                }
            }
            Some(Shortcut::MapLookup) | None => {}
        }
        let site = call.helper;
        Ok(match call.code {
            OpCode::TailCall => Callee::TailCall { site, args },
            _ => {
                // The code of Linux's helpers takes what the prototypes name, but for what is printed
                // (`BPF_CALL_5(bpf_trace_printk, ...)`). An embedder's may ask for anything.
                let is_linux = ebpfvm_spec::linux::HELPERS.contains(&helper.proto);
                let takes_unnamed = args < 5 && (!is_linux || helper.proto.name == "trace_printk");
                let args = if takes_unnamed { 5 } else { args };
                Callee::Helper { site, args, takes_unnamed }
            }
        })
    }

    fn lookup(&self, pc: Pc, target: CallTarget, map: u32) -> Option<Lookup> {
        let CallTarget::Helper(_) = target else { return None };
        let site = self.instance.call_at(pc)?.helper;
        let helper = &self.instance.helpers()[site as usize];
        let map = self.map(map).filter(|_| matches!(helper.shortcut, Some(Shortcut::MapLookup)))?;
        // What is found is part of these, for accesses as for the code that looks it up.
        let [slab] = map.slabs() else { return None };
        Some(Lookup {
            way: self.way(map)?,
            map: Arc::as_ptr(map) as u64,
            is_map_known: false,
            key_bytes: map.def().key_bytes,
            key: Check::Window,
            value_bytes: slab.value_bytes as u32,
            is_writable: slab.writable,
            site,
        })
    }

    fn context(&self, insn: &Insn) -> Option<(u16, Size)> {
        let program = self.instance.program();
        let platform = self.instance.vm().platform();
        let def = platform.prog_type(program.prog_type)?.context.as_ref()?;
        let (size, offset) = crate::rewrite::host_place(program, def, insn)?;
        // The code may rely on it that loads of one or two bytes give no more.
        let is_narrow = matches!(insn, Insn::Load { size: Size::B | Size::H, .. });
        if is_narrow && size == Size::Dw {
            return None;
        }
        Some((u16::try_from(offset).ok()?, size))
    }

    fn runtime(&self) -> &Runtime {
        runtime::table()
    }
}
