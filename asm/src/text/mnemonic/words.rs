//! The words of the dialect, made from the instruction table: its mnemonic with a suffix for width
//! or size.

use crate::insn::{Insn, Operand, Reach, Size, Width};
use crate::table::{Encoding, Field, Op, Source, TABLE, row};
use crate::text::cursor::size_letter;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a mnemonic says about an instruction; the operands say the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) op: Op,
    pub(super) width: Width,
    /// Of a memory access, a byte swap or the part that is sign-extended.
    pub(super) size: Size,
    pub(super) reach: Reach,
    /// Register or immediate, where the mnemonic says.
    pub(super) source: Option<Source>,
}

impl Form {
    /// The mnemonic.
    pub(super) fn word(self) -> String {
        let base = row(self.op).mnemonic;
        let narrow = |is: bool| if is { format!("{base}32") } else { base.to_owned() };
        match self.op {
            Op::Alu(_) | Op::Neg | Op::JumpIf(_) => narrow(self.width == Width::W32),
            Op::Atomic(_) => narrow(self.size == Size::W),
            Op::Jump => narrow(self.reach == Reach::Far),
            Op::Movsx => format!("{base}{}{}", self.size.bits(), self.width.bits()),
            Op::Endian(_) => format!("{base}{}", self.size.bits()),
            Op::Store if self.source == Some(Source::X) => {
                format!("{base}x{}", size_letter(self.size))
            }
            Op::Load
            | Op::LoadSx
            | Op::Store
            | Op::LoadAcquire
            | Op::StoreRelease
            | Op::LoadAbs
            | Op::LoadInd => format!("{base}{}", size_letter(self.size)),
            Op::AddrSpaceCast
            | Op::LoadImm(_)
            | Op::MayGoto
            | Op::CallHelper
            | Op::CallLocal
            | Op::CallKfunc
            | Op::CallReg
            | Op::Exit => base.to_owned(),
        }
    }

    /// The form of an instruction.
    pub(super) fn of(insn: &Insn) -> Form {
        let mut form = Form::new(insn.op());
        match *insn {
            Insn::Alu { width, .. } | Insn::Neg { width, .. } | Insn::JumpIf { width, .. } => {
                form.width = width;
            }
            Insn::Movsx { width, from, .. } => (form.width, form.size) = (width, from),
            Insn::Store { size, src, .. } => {
                form.size = size;
                form.source = Some(match src {
                    Operand::Imm(_) => Source::K,
                    Operand::Reg(_) => Source::X,
                });
            }
            Insn::Endian { size, .. }
            | Insn::Load { size, .. }
            | Insn::LoadSx { size, .. }
            | Insn::Atomic { size, .. }
            | Insn::LoadAcquire { size, .. }
            | Insn::StoreRelease { size, .. }
            | Insn::LoadAbs { size, .. }
            | Insn::LoadInd { size, .. } => form.size = size,
            Insn::Jump { reach, .. } => form.reach = reach,
            Insn::AddrSpaceCast { .. }
            | Insn::LoadImm { .. }
            | Insn::MayGoto { .. }
            | Insn::Call { .. }
            | Insn::Exit => {}
        }
        form
    }

    fn new(op: Op) -> Form {
        Form { op, width: Width::W64, size: Size::Dw, reach: Reach::Near, source: None }
    }

    /// The forms that an encoding has: one, or one for each size that a field selects.
    fn all(op: Op, encoding: &Encoding) -> Vec<Form> {
        let mut form = Form::new(op);
        form.width = encoding.width.unwrap_or(form.width);
        form.size = encoding.size.unwrap_or(form.size);
        form.source = encoding.source;
        let sizes = match op {
            Op::Jump => {
                form.reach = encoding.reach();
                return vec![form];
            }
            Op::Movsx => encoding.offset,
            Op::Endian(_) => encoding.imm,
            _ => return vec![form],
        };
        let bits: &[i32] = match &sizes {
            Field::OneOf(values) => values,
            Field::Is(value) => std::slice::from_ref(value),
            Field::Any => &[],
        };
        bits.iter()
            .filter_map(|bits| Some(Form { size: Size::from_bits(*bits as u32)?, ..form }))
            .collect()
    }
}

/// Other spellings: a prefix and what the table has for it.
const ALIASES: [(&str, &str); 4] =
    [("swap", "bswap"), ("callx", "call"), ("call helper", "call"), ("call runtime", "call kfunc")];

/// All mnemonics with their forms. `call` is the helper call; its operand tells `callx`.
pub(super) static WORDS: LazyLock<BTreeMap<String, Form>> = LazyLock::new(|| {
    let mut words = BTreeMap::new();
    for row in TABLE {
        for form in row.encodings.iter().flat_map(|e| Form::all(row.op, e)) {
            let word = form.word();
            // 64 bits may be said too.
            let wide = match form.op {
                Op::Alu(_) | Op::Neg | Op::JumpIf(_) => form.width == Width::W64,
                Op::Atomic(_) => form.size == Size::Dw,
                _ => false,
            };
            if wide {
                words.insert(format!("{word}64"), form);
            }
            for (alias, known) in ALIASES {
                if let Some(rest) = word.strip_prefix(known)
                    && !rest.starts_with(' ')
                {
                    words.entry(format!("{alias}{rest}")).or_insert(form);
                }
            }
            words.entry(word).or_insert(form);
        }
    }
    words
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_one_operation() {
        for row in TABLE {
            for form in row.encodings.iter().flat_map(|e| Form::all(row.op, e)) {
                let known = WORDS[&form.word()];
                // The operand of `call` tells a helper from a register.
                if form.op != Op::CallReg {
                    assert_eq!(known.op, form.op, "{}", form.word());
                    assert_eq!(known.word(), form.word());
                }
            }
        }
    }
}
