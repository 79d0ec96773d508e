//! Instructions as the log writes them: `(85) call bpf_map_lookup_elem#1`.

use crate::subject::Subject;
use ebpfvm_asm::text::{Style, Symbols, print};
use ebpfvm_asm::{Imm64, Insn, Pc};
use std::fmt::{self, Display, Formatter};

/// The instruction at a place.
pub(crate) struct InsnText<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) pc: Pc,
}

impl Display for InsnText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(insn) = self.subject.program.code.get(self.pc) else { return Ok(()) };
        let shown = match *insn {
            // Linux has put the map's address here, and hides it from those who may not see it.
            Insn::LoadImm { dst, value } if is_address(value) => {
                Insn::LoadImm { dst, value: Imm64::Value(0) }
            }
            insn => insn,
        };
        f.write_str(&print(&shown, self.pc, Style::Kernel, &Names(self.subject)))
    }
}

const fn is_address(value: Imm64) -> bool {
    match value {
        Imm64::MapFd(_)
        | Imm64::MapFdValue { .. }
        | Imm64::MapIdx(_)
        | Imm64::MapIdxValue { .. }
        | Imm64::Variable { .. } => true,
        Imm64::Value(_) | Imm64::Func { .. } => false,
    }
}

/// The names of helpers.
struct Names<'a>(&'a Subject<'a>);

impl Symbols for Names<'_> {
    fn helper(&self, id: u32) -> Option<String> {
        self.0.platform.helper(id).map(|helper| format!("bpf_{}", helper.name))
    }
}
