//! Reads one statement of mnemonics.

use super::words::{Form, WORDS};
use crate::insn::{CallTarget, Imm64, Insn, Operand, Reg, Width};
use crate::table::{Imm64Kind, Op, Source};
use crate::text::Symbols;
use crate::text::cursor::{Cursor, Goal, Parsed, Statement};

/// How many words the longest mnemonic has: `lock fetch add`.
const LONGEST: usize = 3;

/// The longest mnemonic at the cursor, and how many words it has.
fn mnemonic(c: &Cursor<'_, '_>) -> Option<(Form, usize)> {
    let mut ahead = c.clone();
    let mut text = String::new();
    let mut found = None;
    for count in 1..=LONGEST {
        let Some(word) = ahead.word() else { break };
        if count > 1 {
            text.push(' ');
        }
        text.push_str(word);
        ahead.skip(1);
        if let Some(form) = WORDS.get(&text) {
            found = Some((*form, count));
        }
    }
    found
}

/// Whether a statement is of mnemonics; none if it could be another dialect too.
pub(in crate::text) fn looks_like(tokens: &Cursor<'_, '_>) -> Option<bool> {
    let first = tokens.word()?;
    let mut after = tokens.clone();
    after.skip(1);
    match mnemonic(tokens) {
        Some((Form { op: Op::Exit | Op::MayGoto, .. }, _)) => None,
        // A word that is none of ours still has operands like ours.
        Some((Form { op: Op::CallHelper, .. }, 1)) | None => match after.try_register() {
            Ok(Some(_)) => Some(true),
            _ if first == "lock" && !after.is("*") => Some(true),
            _ => None,
        },
        Some(_) => Some(true),
    }
}

/// Parses a statement.
pub(in crate::text) fn parse<'a>(
    c: &mut Cursor<'a, '_>,
    symbols: &dyn Symbols,
) -> Parsed<Statement<'a>> {
    let Some((form, count)) = mnemonic(c) else {
        let second = c.clone().word().is_some_and(|w| matches!(w, "lock" | "fetch"));
        if second {
            // The first word is right: the fault is in the next.
            c.skip(1);
            if c.word() == Some("fetch") {
                c.skip(1);
            }
            let last = WORDS.keys().filter_map(|w| w.strip_prefix("lock ")?.rsplit(' ').next());
            return c.expected_one_of("an atomic operation", last);
        }
        return c.expected_one_of("an instruction", WORDS.keys());
    };
    c.skip(count);
    operands(c, form, symbols)
}

fn operands<'a>(
    c: &mut Cursor<'a, '_>,
    form: Form,
    symbols: &dyn Symbols,
) -> Parsed<Statement<'a>> {
    let Form { op, width, size, reach, source } = form;
    Ok(Statement::from(match op {
        Op::Alu(op) => {
            let dst = register(c)?;
            Insn::Alu { width, op, dst, src: next_operand(c)? }
        }
        Op::Neg => Insn::Neg { width, dst: register(c)? },
        Op::Movsx => {
            let dst = register(c)?;
            Insn::Movsx { width, from: size, dst, src: next_register(c)? }
        }
        Op::Endian(op) => Insn::Endian { op, size, dst: register(c)? },
        Op::AddrSpaceCast => {
            let dst = register(c)?;
            let src = next_register(c)?;
            c.expect(",")?;
            let to = c.number("an address space", 0, 1)? as u16;
            c.expect(",")?;
            let from = c.number("an address space", 0, 1)? as u16;
            if to == from {
                return c.no_such_form("a cast is from address space 0 to 1 or from 1 to 0");
            }
            Insn::AddrSpaceCast { dst, src, to, from }
        }
        Op::LoadImm(kind) => return load_imm(c, kind),
        Op::Load | Op::LoadSx | Op::LoadAcquire => {
            let dst = register(c)?;
            c.expect(",")?;
            let (base, offset) = address(c)?;
            match op {
                Op::Load => Insn::Load { size, dst, base, offset },
                Op::LoadSx => Insn::LoadSx { size, dst, base, offset },
                _ => Insn::LoadAcquire { size, dst, base, offset },
            }
        }
        Op::Store => {
            let (base, offset) = address(c)?;
            c.expect(",")?;
            let src = match source {
                Some(Source::X) => Operand::Reg(register(c)?),
                _ => Operand::Imm(c.imm32()?),
            };
            Insn::Store { size, base, offset, src }
        }
        Op::StoreRelease => {
            let (base, offset) = address(c)?;
            Insn::StoreRelease { size, base, offset, src: next_register(c)? }
        }
        Op::Atomic(op) => {
            let (base, offset) = address(c)?;
            Insn::Atomic { op, size, base, offset, src: next_register(c)? }
        }
        Op::LoadAbs => Insn::LoadAbs { size, offset: c.imm32()? },
        Op::LoadInd => {
            let index = register(c)?;
            c.expect(",")?;
            Insn::LoadInd { size, index, offset: c.imm32()? }
        }
        Op::Jump => {
            let goal = c.goal()?;
            return c.lead(Insn::Jump { reach, offset: 0 }, goal);
        }
        Op::JumpIf(op) => {
            let dst = register(c)?;
            let src = next_operand(c)?;
            c.expect(",")?;
            let goal = c.goal()?;
            return c.lead(Insn::JumpIf { width, op, dst, src, offset: 0 }, goal);
        }
        Op::MayGoto => {
            let goal = c.goal()?;
            return c.lead(Insn::MayGoto { offset: 0 }, goal);
        }
        Op::CallLocal => {
            let goal = c.goal()?;
            return c.lead(Insn::Call { target: CallTarget::Local { offset: 0 } }, goal);
        }
        Op::CallKfunc => {
            let btf_id = c.signed("a BTF id")?;
            let btf_index = if c.eat(",") {
                c.number("a 16-bit index", i16::MIN.into(), i16::MAX.into())? as i16
            } else {
                0
            };
            Insn::Call { target: CallTarget::Kfunc { btf_id, btf_index } }
        }
        Op::CallHelper | Op::CallReg => return call(c, symbols),
        Op::Exit => Insn::Exit,
    }))
}

/// `call 5`, `call %r2`, `call name` or `call name#5`
fn call<'a>(c: &mut Cursor<'a, '_>, symbols: &dyn Symbols) -> Parsed<Statement<'a>> {
    let call = |target| Ok(Insn::Call { target }.into());
    if c.clone().try_register()?.is_some() {
        return call(CallTarget::Reg(register(c)?));
    }
    if c.at_number() {
        return call(CallTarget::Helper(c.imm32()? as u32));
    }
    let before = c.clone();
    let Some(name) = c.name() else {
        return c.expected("what is called: a number, a register or a helper's name");
    };
    if c.eat("#") {
        return call(CallTarget::Helper(c.imm32()? as u32));
    }
    match symbols.helper_id(name.text) {
        Some(id) => call(CallTarget::Helper(id)),
        None => before
            .expected("a helper: its number or a known name; a function is called by `call local`"),
    }
}

fn load_imm<'a>(c: &mut Cursor<'a, '_>, kind: Imm64Kind) -> Parsed<Statement<'a>> {
    let dst = register(c)?;
    c.expect(",")?;
    let offset = |c: &mut Cursor<'a, '_>| {
        c.expect(",")?;
        c.unsigned("an offset into the value")
    };
    let value = match kind {
        Imm64Kind::Value => Imm64::Value(c.imm64()?),
        Imm64Kind::MapFd => Imm64::MapFd(c.signed("a file descriptor")?),
        Imm64Kind::MapFdValue => {
            Imm64::MapFdValue { fd: c.signed("a file descriptor")?, offset: offset(c)? }
        }
        Imm64Kind::Variable => {
            let btf_id = c.unsigned("a BTF id")?;
            c.expect(",")?;
            Imm64::Variable { btf_id, btf_fd: c.signed("a file descriptor")? }
        }
        Imm64Kind::Func => {
            let goal: Goal<'a> = c.goal()?;
            return c.lead(Insn::LoadImm { dst, value: Imm64::Func { offset: 0 } }, goal);
        }
        Imm64Kind::MapIdx => Imm64::MapIdx(c.unsigned("a map index")?),
        Imm64Kind::MapIdxValue => {
            Imm64::MapIdxValue { index: c.unsigned("a map index")?, offset: offset(c)? }
        }
    };
    Ok(Insn::LoadImm { dst, value }.into())
}

fn register(c: &mut Cursor<'_, '_>) -> Parsed<Reg> {
    c.register(Width::W64)
}

fn next_register(c: &mut Cursor<'_, '_>) -> Parsed<Reg> {
    c.expect(",")?;
    register(c)
}

fn next_operand(c: &mut Cursor<'_, '_>) -> Parsed<Operand> {
    c.expect(",")?;
    c.operand(Width::W64)
}

/// `[%r1+8]`
fn address(c: &mut Cursor<'_, '_>) -> Parsed<(Reg, i16)> {
    c.expect("[")?;
    let base = register(c)?;
    let offset = c.address_offset()?;
    c.expect("]")?;
    Ok((base, offset))
}
