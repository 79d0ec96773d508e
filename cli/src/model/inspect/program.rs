//! Programs of an object.

use crate::model::disasm::named;
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc};
use ebpfvm_loader::core_relo::CoreOutcome;
use ebpfvm_loader::{LinkedProgram, LoadError, ProgramInfo};
use ebpfvm_spec::{ProgType, Program};
use serde::Serialize;

/// A program.
#[derive(Serialize)]
pub(crate) struct ProgramReport {
    pub(crate) name: String,
    pub(crate) section: String,
    #[serde(rename = "type")]
    pub(crate) prog_type: Option<&'static str>,
    /// The kernel's number (`enum bpf_attach_type`).
    pub(crate) attach_type: u32,
    pub(crate) attach_target: Option<String>,
    pub(crate) autoload: bool,
    pub(crate) sleepable: bool,
    pub(crate) frags: bool,
    /// Size in slots of 8 bytes with all functions that it calls; its own if it cannot be linked.
    pub(crate) slots: usize,
    /// The functions that it calls.
    pub(crate) subprograms: Vec<Subprogram>,
    /// What its instructions refer to.
    pub(crate) relocations: Vec<Reference>,
    /// What became of its questions about the target's types.
    pub(crate) core: Vec<Core>,
    /// Why it cannot be linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// A function that programs call.
#[derive(Serialize)]
pub(crate) struct Subprogram {
    pub(crate) name: String,
    /// Its first instruction in the linked program.
    pub(crate) pc: u32,
    /// Global functions are verified apart from their callers.
    pub(crate) global: bool,
}

/// A CO-RE relocation.
#[derive(Serialize)]
pub(crate) struct Core {
    pub(crate) section: String,
    /// Offset of the instruction in the section in bytes.
    pub(crate) offset: u32,
    /// What is asked, about what.
    pub(crate) kind: String,
    pub(crate) access: String,
    /// The number that the compiler put there.
    pub(crate) before: u64,
    /// The number for the target; none if it has no such thing.
    pub(crate) after: Option<u64>,
}

impl Core {
    fn new(outcome: &CoreOutcome) -> Core {
        let CoreOutcome { section, offset, kind, access, before, after } = outcome.clone();
        Core { section, offset, kind: kind.to_string(), access, before, after }
    }
}

/// A place that linking filled in.
#[derive(Serialize)]
pub(crate) struct Reference {
    pub(crate) pc: u32,
    /// `map`, `variable`, `call` or `function`.
    pub(crate) kind: &'static str,
    pub(crate) target: String,
}

impl ProgramReport {
    pub(crate) fn new(
        info: &ProgramInfo,
        link: Result<&LinkedProgram, &LoadError>,
    ) -> ProgramReport {
        let subprogram = |f: &ebpfvm_spec::FuncInfo| Subprogram {
            name: f.name.clone(),
            pc: f.start.0,
            global: f.is_global,
        };
        let program = link.ok().map(|linked| &linked.program);
        let subprograms = program.iter().flat_map(|p| &p.funcs).skip(1).map(subprogram).collect();
        ProgramReport {
            name: info.name.clone(),
            section: info.section.clone(),
            prog_type: info.prog_type.map(ProgType::name),
            attach_type: info.attach_type.0,
            attach_target: info.attach_target.clone(),
            autoload: info.autoload,
            sleepable: info.is_sleepable(),
            frags: info.has_frags(),
            slots: program.map_or(info.slots as usize, |p| p.code.len()),
            subprograms,
            relocations: program.map(references).unwrap_or_default(),
            core: link.ok().iter().flat_map(|linked| &linked.core).map(Core::new).collect(),
            error: link.err().map(|error| error.to_string()),
        }
    }
}

fn references(program: &Program) -> Vec<Reference> {
    let function = |pc: Pc, offset: i32| {
        let start = pc.jump(offset)?;
        program.func(start).map(|f| f.name.clone())
    };
    let reference = |(pc, insn): (Pc, &Insn)| {
        let (kind, target) = match *insn {
            Insn::LoadImm { value: Imm64::MapIdx(index), .. } => {
                ("map", program.maps.get(index as usize)?.name.clone())
            }
            Insn::LoadImm { value: Imm64::MapIdxValue { .. }, .. } => {
                ("variable", named(insn, program)?)
            }
            Insn::LoadImm { value: Imm64::Func { offset }, .. } => {
                ("function", function(pc, offset)?)
            }
            Insn::Call { target: CallTarget::Local { offset } } => ("call", function(pc, offset)?),
            _ => return None,
        };
        Some(Reference { pc: pc.0, kind, target })
    };
    program.code.iter().filter_map(reference).collect()
}
