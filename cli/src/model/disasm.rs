//! The result of `ebpfvm disasm`.

use ebpfvm_asm::text::{Style, Symbols, listed_lines};
use ebpfvm_asm::{ByteOrder, Imm64, Insn, Pc, encode};
use ebpfvm_spec::btf::Kind;
use ebpfvm_spec::{MapDef, Program};
use serde::Serialize;

/// Everything that was disassembled.
#[derive(Serialize)]
pub(crate) struct Disassembly {
    pub(crate) programs: Vec<Listing>,
    /// Programs that cannot be linked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<LinkFailure>,
}

/// A program that cannot be linked.
#[derive(Serialize)]
pub(crate) struct LinkFailure {
    pub(crate) program: String,
    pub(crate) message: String,
}

/// A program.
#[derive(Serialize)]
pub(crate) struct Listing {
    /// Name of the function; none for bare instructions.
    pub(crate) name: Option<String>,
    pub(crate) section: Option<String>,
    #[serde(rename = "type")]
    pub(crate) prog_type: Option<&'static str>,
    /// Size in slots of 8 bytes, the functions that it calls included.
    pub(crate) slots: usize,
    pub(crate) insns: Vec<Line>,
}

/// An instruction.
#[derive(Serialize)]
pub(crate) struct Line {
    /// Index of its first slot.
    pub(crate) pc: u32,
    /// The function that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    pub(crate) text: String,
    /// The instruction in hex.
    pub(crate) bytes: String,
    /// The map or variable that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) names: Option<String>,
    /// The source line that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
}

/// A line of the source.
#[derive(PartialEq, Eq, Serialize)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) text: String,
}

/// Names of helpers, as C spells them, and of a program's functions.
pub(crate) struct Names<'a>(pub(crate) Option<&'a Program>);

impl Symbols for Names<'_> {
    fn helper(&self, id: u32) -> Option<String> {
        ebpfvm_spec::linux::helper_name(id).map(|name| format!("bpf_{name}"))
    }

    fn helper_id(&self, name: &str) -> Option<u32> {
        ebpfvm_spec::linux::helper_id(name)
    }

    fn function(&self, pc: Pc) -> Option<(String, Pc)> {
        self.0?.func(pc).map(|f| (f.name.clone(), f.start))
    }
}

impl Listing {
    /// The listing of a program; `order` is that of the bytes.
    pub(crate) fn new(program: &Program, style: Style, order: ByteOrder) -> Listing {
        let from_file = |text: &String| Some(text.clone()).filter(|_| !program.section.is_empty());
        let lines = listed_lines(&program.code, style, &Names(Some(program)));
        let insns = lines.into_iter().map(|listed| {
            let (pc, insn) = (listed.pc, program.code.get(listed.pc));
            Line {
                pc: pc.0,
                function: program.funcs.iter().find(|f| f.start == pc).map(|f| f.name.clone()),
                label: listed.label,
                text: listed.text,
                bytes: insn.map_or(String::new(), |insn| bytes(insn, order)),
                names: insn.and_then(|insn| named(insn, program)),
                source: source(program, pc),
            }
        });
        Listing {
            name: from_file(&program.name),
            section: from_file(&program.section),
            prog_type: from_file(&program.name).map(|_| program.prog_type.name()),
            slots: program.code.len(),
            insns: insns.collect(),
        }
    }
}

/// The bytes of an instruction in hex; nothing for one that has no encoding.
fn bytes(insn: &Insn, order: ByteOrder) -> String {
    let Ok((first, second)) = encode(insn) else { return String::new() };
    let slots = [Some(first), second].into_iter().flatten();
    let bytes: Vec<u8> = slots.flat_map(|slot| slot.to_bytes(order)).collect();
    crate::render::hex::string(&bytes)
}

/// What an instruction names by its index.
pub(crate) fn named(insn: &Insn, program: &Program) -> Option<String> {
    let Insn::LoadImm { value, .. } = insn else { return None };
    match *value {
        Imm64::MapIdx(index) => program.maps.get(index as usize).map(|m| format!("map {}", m.name)),
        Imm64::MapIdxValue { index, offset } => {
            let map = program.maps.get(index as usize)?;
            Some(variable(program, map, offset).unwrap_or(format!("map {}+{offset}", map.name)))
        }
        _ => None,
    }
}

/// The variable at an offset of a data section.
fn variable(program: &Program, map: &MapDef, offset: u32) -> Option<String> {
    let btf = program.btf.as_ref()?;
    let Some(Kind::Datasec { vars, .. }) = btf.kind(map.value_type?) else { return None };
    let vars = btf.list(vars);
    let var = vars.iter().find(|v| offset.checked_sub(v.offset).is_some_and(|o| o < v.bytes))?;
    let name = btf.name(var.type_id);
    match offset - var.offset {
        0 => Some(name.to_string()),
        inside => Some(format!("{name}+{inside}")),
    }
}

fn source(program: &Program, pc: Pc) -> Option<Source> {
    let info = program.line(pc).filter(|info| info.pc == pc)?;
    Some(Source {
        file: info.file.rsplit('/').next().unwrap_or_default().into(),
        line: info.line,
        text: info.text.trim().into(),
    })
}
