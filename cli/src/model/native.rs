//! The result of `ebpfvm inspect --native`.

use super::disasm::{self, Line, LinkFailure};
use ebpfvm::View;
use ebpfvm::jit::Emitted;
use ebpfvm::jit::ir::{Block, Unit};
use ebpfvm::jit::opt::PASSES;
use ebpfvm_asm::text::Style;
use ebpfvm_asm::{ByteOrder, Pc};
use ebpfvm_spec::Program;
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, SymbolResolver,
    SymbolResult,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Programs, as machine code or as what a pass made of them.
#[derive(Serialize)]
pub(crate) struct NativeReport<T> {
    pub(crate) programs: Vec<T>,
    /// Programs that cannot be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<LinkFailure>,
}

/// Which form of a program it is.
#[derive(Serialize)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) section: String,
    #[serde(rename = "type")]
    pub(crate) prog_type: &'static str,
    /// Size in slots of 8 bytes, the functions that it calls included.
    pub(crate) slots: usize,
    /// Whether every access is checked; otherwise the verifier has accepted the program.
    pub(crate) checked: bool,
    /// Whether fuel is counted.
    pub(crate) metered: bool,
    /// Whether the program's constants are hidden in the code.
    pub(crate) blinded: bool,
    /// The passes that run, as `--passes` takes them.
    pub(crate) passes: String,
}

impl Form {
    fn new(program: &Program, view: &View<'_>) -> Form {
        Form {
            name: program.name.clone(),
            section: program.section.clone(),
            prog_type: program.prog_type.name(),
            slots: program.code.len(),
            checked: view.is_checked(),
            metered: view.options().is_metered,
            blinded: view.options().is_blinded,
            passes: view.options().passes.to_string(),
        }
    }
}

/// A program as machine code.
#[derive(Serialize)]
pub(crate) struct Listing {
    #[serde(flatten)]
    pub(crate) form: Form,
    /// Size of the machine code.
    pub(crate) code_bytes: usize,
    /// Where the machine enters.
    pub(crate) entry: u32,
    pub(crate) insns: Vec<Compiled>,
    /// The machine code, in the order in which it lies.
    pub(crate) code: Vec<Machine>,
}

/// An instruction of the program.
#[derive(Serialize)]
pub(crate) struct Compiled {
    #[serde(flatten)]
    pub(crate) line: Line,
    /// Bytes of machine code that are there for it; 0 if another's do its work or nobody needs it.
    pub(crate) code_bytes: u32,
}

/// A machine instruction.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// Its offset in the code.
    pub(crate) offset: u32,
    /// The instruction of the program that it belongs to.
    pub(crate) pc: u32,
    /// In hex.
    pub(crate) bytes: String,
    /// In Intel's syntax; what addresses stand for is named.
    pub(crate) text: String,
    /// The offset that it jumps to or calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<u32>,
}

impl Listing {
    /// The code that the view has emitted.
    pub(crate) fn new(program: &Program, view: &View<'_>, emitted: &Emitted) -> Listing {
        let code = machine(program, view, emitted);
        let mut sizes: BTreeMap<u32, u32> = BTreeMap::new();
        for machine in &code {
            *sizes.entry(machine.pc).or_default() += machine.bytes.len() as u32 / 2;
        }
        let listing = disasm::Listing::new(program, Style::PseudoC, ByteOrder::HOST);
        let compiled = |line: Line| {
            let code_bytes = sizes.get(&line.pc).copied().unwrap_or_default();
            Compiled { line, code_bytes }
        };
        Listing {
            form: Form::new(program, view),
            code_bytes: emitted.code.len(),
            entry: emitted.entry,
            insns: listing.insns.into_iter().map(compiled).collect(),
            code,
        }
    }
}

/// The code as instructions.
fn machine(program: &Program, view: &View<'_>, emitted: &Emitted) -> Vec<Machine> {
    let decoded: Vec<Instruction> =
        Decoder::with_ip(64, &emitted.code, 0, DecoderOptions::NONE).iter().collect();
    let addresses = decoded.iter().filter(|insn| has_address(insn)).map(|insn| insn.immediate(1));
    let addresses = addresses.filter_map(|address| Some((address, view.name(address)?))).collect();
    // A function's code begins where the first for its first instruction does.
    let begins = |start: Pc| emitted.map.iter().find(|(_, pc)| *pc == start);
    let functions = program
        .funcs
        .iter()
        .filter_map(|function| Some((u64::from(begins(function.start)?.0), function.name.clone())));
    let names = Names { addresses, functions: functions.collect() };
    let mut formatter = IntelFormatter::with_options(Some(Box::new(names)), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_space_after_operand_separator(true);
    let lines = decoded.into_iter().map(|insn| {
        let (start, end) = (insn.ip() as usize, insn.next_ip() as usize);
        let mut text = String::new();
        formatter.format(&insn, &mut text);
        Machine {
            offset: start as u32,
            pc: emitted.pc(start as u32).map_or(0, |pc| pc.0),
            bytes: crate::render::hex::string(emitted.code.get(start..end).unwrap_or_default()),
            text,
            target: is_near(&insn).then(|| insn.near_branch_target() as u32),
        }
    });
    lines.collect()
}

/// Whether it is a constant of 64 bits.
fn has_address(insn: &Instruction) -> bool {
    insn.op_count() == 2 && insn.op_kind(1) == OpKind::Immediate64
}

fn is_near(insn: &Instruction) -> bool {
    insn.op_count() == 1 && insn.op_kind(0) == OpKind::NearBranch64
}

/// What numbers in the code stand for.
struct Names {
    addresses: BTreeMap<u64, String>,
    /// By their offsets.
    functions: BTreeMap<u64, String>,
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let names = match () {
            () if is_near(instruction) => &self.functions,
            () if has_address(instruction) => &self.addresses,
            () => return None,
        };
        names.get(&address).map(|name| SymbolResult::with_str(address, name))
    }
}

/// What a pass made of a program.
#[derive(Serialize)]
pub(crate) struct PassReport {
    #[serde(flatten)]
    pub(crate) form: Form,
    /// Each time that it ran.
    pub(crate) runs: Vec<PassRun>,
}

/// One run of a pass.
#[derive(Serialize)]
pub(crate) struct PassRun {
    pub(crate) pass: &'static str,
    pub(crate) about: &'static str,
    /// Its place in the order of all passes, from 1.
    pub(crate) place: usize,
    /// Number of blocks that the program had.
    pub(crate) blocks: usize,
    /// The blocks that it changed.
    pub(crate) changed: Vec<Change>,
}

/// A block that a pass changed.
#[derive(Serialize)]
pub(crate) struct Change {
    pub(crate) block: usize,
    /// Its first instruction.
    pub(crate) pc: u32,
    /// Its lines; none if it was not there.
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
}

/// Keeps what a pass does, each time that it runs.
pub(crate) struct Steps<'a> {
    name: Option<&'a str>,
    runs: Vec<PassRun>,
}

impl<'a> Steps<'a> {
    /// Looks at the pass of this name.
    pub(crate) fn new(name: Option<&'a str>) -> Steps<'a> {
        Steps { name, runs: Vec::new() }
    }

    /// A pass has run.
    pub(crate) fn see(&mut self, place: usize, before: &Unit, after: &Unit) {
        let Some(pass) = PASSES.get(place).filter(|pass| Some(pass.name) == self.name) else {
            return;
        };
        let lines = |block: Option<&Block>| -> Vec<String> {
            block.map_or(Vec::new(), |block| block.to_string().lines().map(str::to_owned).collect())
        };
        let all = 0..before.blocks.len().max(after.blocks.len());
        let changed = all.filter_map(|block| {
            let (old, new) = (before.blocks.get(block), after.blocks.get(block));
            let (before, after) = (lines(old), lines(new));
            let pc = old.or(new)?.start.0;
            (before != after).then_some(Change { block, pc, before, after })
        });
        self.runs.push(PassRun {
            pass: pass.name,
            about: pass.about,
            place: place + 1,
            blocks: before.blocks.len(),
            changed: changed.collect(),
        });
    }
}

impl PassReport {
    pub(crate) fn new(program: &Program, view: &View<'_>, steps: Steps<'_>) -> PassReport {
        PassReport { form: Form::new(program, view), runs: steps.runs }
    }
}
