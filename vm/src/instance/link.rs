//! Binding: what the names in a program's code stand for on this machine, and whether a verdict is
//! about it.

use super::{Instance, LinkError, LinkErrorKind, Text};
use crate::helper::Helper;
use crate::interp::lower::LoweredForms;
use crate::interp::op::OpCode;
use crate::map::MapRef;
use crate::native::Forms;
use crate::rewrite::{is_same_map, rewrite};
use crate::trap::TrapKind;
use crate::vm::Vm;
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Reg};
use ebpfvm_loader::Absent;
use ebpfvm_spec::{Arg, Effect, HelperProto, MapUse, ProgTypeSet, Program, Ret};
use ebpfvm_verifier::VerifiedProgram;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// The value that a program sees as the address of one of its functions. No memory has such an
/// address on the hosts that this runs on.
pub(crate) fn func_token(pc: Pc) -> u64 {
    FUNC_TOKEN | u64::from(pc.0)
}

const FUNC_TOKEN: u64 = 0xfff0_0000_0000_0000;

/// The function that [`func_token`] stands for.
pub(crate) fn func_of_token(token: u64) -> Option<Pc> {
    u32::try_from(token ^ FUNC_TOKEN).ok().map(Pc)
}

/// A call of a helper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundCall {
    /// Where it is.
    pub(crate) pc: Pc,
    /// The helper's index in the instance's list.
    pub(crate) helper: u32,
    /// How it is called.
    pub(crate) code: OpCode,
}

/// The helpers that a program calls, and where.
struct Bound {
    helpers: Vec<Helper>,
    calls: Box<[BoundCall]>,
}

impl Bound {
    /// Binds all instructions.
    fn of(
        vm: &Vm,
        program: &Program,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Bound, LinkError> {
        if program.code.is_empty() {
            return Err(LinkError { pc: None, kind: LinkErrorKind::Empty });
        }
        let (helpers, calls) = (Vec::new(), Vec::new());
        let mut bindings = Bindings { vm, program, maps, absent, helpers, calls };
        for (pc, insn) in program.code.iter() {
            bindings.bind(pc, insn).map_err(|kind| LinkError { pc: Some(pc), kind })?;
        }
        Ok(Bound { helpers: bindings.helpers, calls: bindings.calls.into() })
    }
}

/// Binds instruction by instruction.
struct Bindings<'a> {
    vm: &'a Vm,
    program: &'a Program,
    maps: &'a [MapRef],
    absent: &'a [Absent],
    helpers: Vec<Helper>,
    calls: Vec<BoundCall>,
}

impl Bindings<'_> {
    /// Binds an instruction. What it refuses, engines need not expect.
    fn bind(&mut self, pc: Pc, insn: &Insn) -> Result<(), LinkErrorKind> {
        if insn.written() == Some(Reg::R10) {
            return Err(LinkErrorKind::WritesFramePointer);
        }
        for offset in insn.jump_offset().into_iter().chain(insn.function_offset()) {
            self.program.code.target(pc, offset)?;
        }
        match *insn {
            Insn::LoadImm { value, .. } => imm64(self.maps, pc, value).map(drop),
            Insn::AddrSpaceCast { .. } => Err(LinkErrorKind::NeedsArena),
            Insn::Call { target: CallTarget::Kfunc { btf_id, .. } } => {
                Err(LinkErrorKind::Kfunc(btf_id))
            }
            Insn::Call { target: CallTarget::Helper(id) } => self.call(pc, id),
            _ => Ok(()),
        }
    }

    fn call(&mut self, pc: Pc, id: u32) -> Result<(), LinkErrorKind> {
        let index = self.helper(pc, id)?;
        let proto = &self.helpers[index].proto;
        let calls_back = proto.args.iter().any(|arg| matches!(arg, Arg::Callback(_)));
        let code = match proto.ret {
            Ret::TailCall => OpCode::TailCall,
            _ if calls_back => OpCode::CallBack,
            _ => OpCode::CallHelper,
        };
        self.calls.push(BoundCall { pc, helper: index as u32, code });
        Ok(())
    }

    /// The index of a helper in the list.
    fn helper(&mut self, pc: Pc, id: u32) -> Result<usize, LinkErrorKind> {
        let helper = match self.absent.iter().find(|a| a.pc == pc) {
            Some(absent) => absent_helper(id, absent.why.clone()),
            None => {
                let bound = |h: &Helper| h.proto.id == id && h.proto.name != ABSENT;
                if let Some(index) = self.helpers.iter().position(bound) {
                    return Ok(index);
                }
                let Program { prog_type, attach_type, .. } = *self.program;
                self.vm.helper_for(id, prog_type, attach_type)?.into_owned()
            }
        };
        self.helpers.push(helper);
        Ok(self.helpers.len() - 1)
    }
}

impl Instance {
    /// What a 64-bit immediate load puts into its register.
    pub(crate) fn imm64(&self, pc: Pc, value: Imm64) -> Result<u64, LinkErrorKind> {
        imm64(&self.maps, pc, value)
    }
}

/// What a 64-bit immediate load at `pc` puts into its register: a function's target has been checked.
fn imm64(maps: &[MapRef], pc: Pc, value: Imm64) -> Result<u64, LinkErrorKind> {
    let map = |index: u32| {
        maps.get(index as usize).ok_or(LinkErrorKind::NoMap { index, maps: maps.len() })
    };
    match value {
        Imm64::Value(value) => Ok(value),
        // The address of its object stands for a map.
        Imm64::MapIdx(index) => Ok(Arc::as_ptr(map(index)?) as u64),
        Imm64::MapIdxValue { index, offset } => match map(index)?.slabs() {
            [slab] if (offset as usize) < slab.value_bytes => Ok(slab.base as u64 + offset as u64),
            _ => {
                let map = map(index)?.def().name.clone();
                Err(LinkErrorKind::NoMapValue { map, offset })
            }
        },
        Imm64::Func { offset } => Ok(func_token(pc.jump(offset).unwrap_or_default())),
        Imm64::MapFd(fd) | Imm64::MapFdValue { fd, .. } => Err(LinkErrorKind::FileDescriptor(fd)),
        Imm64::Variable { btf_id, .. } => Err(LinkErrorKind::KernelVariable(btf_id)),
    }
}

/// The name of what [`absent_helper`] gives.
const ABSENT: &str = "absent";

/// Stands for an instruction that needs what the target lacks: a program may have it where it is
/// never reached.
fn absent_helper(id: u32, why: String) -> Helper {
    let proto = HelperProto {
        id,
        name: ABSENT.into(),
        since: "",
        args: [Arg::None; 5],
        ret: Ret::Void,
        effects: Effect::default(),
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    };
    Helper::new(proto, move |_| Err(TrapKind::Unsupported(why.clone())))
}

/// Numbers of programs start at 1, as the kernel's.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Instance {
    /// Binds a program to the machine's helpers and to its maps, in the order in which it names
    /// them. Instructions listed in `absent` trap with that reason when they are reached.
    ///
    /// # Errors
    /// [`LinkError`], with the first instruction that cannot be bound.
    pub(crate) fn link(
        vm: &Vm,
        program: Program,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Instance, LinkError> {
        let bound = Bound::of(vm, &program, maps, absent)?;
        Ok(Instance::of(vm, Text::Unjudged(program), maps, bound))
    }

    /// As [`Instance::link`], for a program that the verifier accepted: it runs without checks where
    /// the verdict holds for this machine and these maps, and with checks where that cannot be told.
    ///
    /// # Errors
    /// As [`Instance::link`]; and [`LinkErrorKind::OtherMap`] if a map is not the one that the
    /// verdict is about.
    pub(crate) fn link_verified(
        vm: &Vm,
        verified: VerifiedProgram,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Instance, LinkError> {
        let assumed = verified.assumptions();
        if vm.cpus() > assumed.cpus {
            let kind = LinkErrorKind::TooManyCpus { cpus: vm.cpus(), assumed: assumed.cpus };
            return Err(LinkError { pc: None, kind });
        }
        let program = verified.program();
        let bound = Bound::of(vm, program, maps, absent)?;
        for (def, map) in program.maps.iter().zip(maps) {
            if !is_same_map(def, map) {
                let kind = LinkErrorKind::OtherMap { map: def.name.clone() };
                return Err(LinkError { pc: None, kind });
            }
        }
        // The verdict is about the prototypes that the platform has for this program. Those of Linux
        // differ between program types, and its helpers know it; an embedder's has one.
        let is_judged = |helper: &Helper| {
            let proto = &helper.proto;
            ebpfvm_spec::linux::HELPERS.contains(proto)
                || vm.platform().helper_for(proto.id, program.prog_type, program.attach_type)
                    == Some(proto)
        };
        let text = match rewrite(&verified, vm.platform()) {
            Some(rewritten) if bound.helpers.iter().all(is_judged) => {
                Text::Accepted { program: verified, rewritten }
            }
            _ => Text::Unjudged(verified.into_program()),
        };
        Ok(Instance::of(vm, text, maps, bound))
    }

    fn of(vm: &Vm, text: Text, maps: &[MapRef], bound: Bound) -> Instance {
        Instance {
            id: NEXT_ID.fetch_add(1, Relaxed),
            layout: vm.layout(text.program().prog_type).cloned(),
            text,
            vm: vm.for_program(),
            this: Weak::new(),
            maps: maps.to_vec(),
            helpers: bound.helpers,
            slabs: maps.iter().flat_map(|map| map.slabs()).copied().collect(),
            calls: bound.calls,
            lowered: LoweredForms::default(),
            native: Forms::default(),
        }
    }
}
