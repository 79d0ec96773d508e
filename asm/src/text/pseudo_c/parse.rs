//! Reads one statement of pseudo-C. The spellings of LLVM and of the kernel's log are both taken.

use super::access::{
    atomic, atomic_names, load, load_acquire, locked, returning_atomic, returning_atomics, store,
    store_release,
};
use crate::insn::{AluOp, CallTarget, EndianOp, Imm64, Insn, Operand, Reach, Reg, Size, Width};
use crate::table::{Imm64Kind, Op, TABLE, row};
use crate::text::Symbols;
use crate::text::cursor::{Cursor, Goal, Parsed, Statement};
use crate::text::lex::Token;

/// Words that may begin a statement.
const STARTS: [&str; 10] =
    ["exit", "goto", "gotol", "may_goto", "if", "call", "callx", "lock", "store_release", "skb"];

/// Whether a statement is pseudo-C; none if it could be another dialect too.
pub(in crate::text) fn looks_like(tokens: &Cursor<'_, '_>) -> Option<bool> {
    let mut c = tokens.clone();
    if c.is("*") {
        return Some(true);
    }
    match c.word()? {
        "if" | "goto" | "gotol" | "store_release" | "callx" => return Some(true),
        "lock" => return Some(matches!(c.peek_at(1), Some(Token::Punct("*")))),
        "call" => {
            let local = matches!(c.peek_at(1), Some(Token::Word("pc")));
            let kfunc = matches!(c.peek_at(1), Some(Token::Word("kfunc")))
                && matches!(c.peek_at(2), Some(Token::Punct("#")));
            return if local || kfunc { Some(true) } else { None };
        }
        _ => {}
    }
    match c.try_register() {
        Ok(Some(_)) => Some(matches!(c.peek(), Some(Token::Punct(_)))),
        _ => None,
    }
}

/// Parses a statement.
pub(in crate::text) fn parse<'a>(
    c: &mut Cursor<'a, '_>,
    symbols: &dyn Symbols,
) -> Parsed<Statement<'a>> {
    let opcode = skip_log_prefix(c);
    if c.is("*") {
        return store(c).map(Into::into);
    }
    if let Some((dst, width)) = c.try_register()? {
        return assignment(c, dst, width, opcode);
    }
    let Some(word) = c.word() else { return c.expected("an instruction") };
    if word == "exit" {
        c.skip(1);
        return Ok(Insn::Exit.into());
    }
    if !STARTS.contains(&word) {
        return c.expected_one_of("an instruction", STARTS);
    }
    c.skip(1);
    match word {
        "goto" => {
            let goal = c.goal()?;
            c.lead(Insn::Jump { reach: Reach::Near, offset: 0 }, goal)
        }
        "gotol" => {
            let goal = c.goal()?;
            c.lead(Insn::Jump { reach: Reach::Far, offset: 0 }, goal)
        }
        "may_goto" => {
            let goal = c.goal()?;
            c.lead(Insn::MayGoto { offset: 0 }, goal)
        }
        "if" => condition(c),
        "call" => call(c, symbols),
        "callx" => {
            let target = CallTarget::Reg(c.register(Width::W64)?);
            Ok(Insn::Call { target }.into())
        }
        "lock" => locked(c).map(Into::into),
        "store_release" => store_release(c).map(Into::into),
        _ => c.expected_one_of("an instruction", STARTS),
    }
}

/// Skips `12: (b7)` as the kernel's log has it; gives the opcode.
fn skip_log_prefix(c: &mut Cursor<'_, '_>) -> Option<u8> {
    if let (Some(Token::Word(number)), Some(Token::Punct(":"))) = (c.peek(), c.peek_at(1))
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        c.skip(2);
    }
    match (c.peek(), c.peek_at(1), c.peek_at(2)) {
        (Some(Token::Punct("(")), Some(Token::Word(opcode)), Some(Token::Punct(")")))
            if opcode.len() == 2 =>
        {
            let opcode = u8::from_str_radix(opcode, 16).ok()?;
            c.skip(3);
            Some(opcode)
        }
        _ => None,
    }
}

/// `if r1 > 5 goto +3`, after the word
fn condition<'a>(c: &mut Cursor<'a, '_>) -> Parsed<Statement<'a>> {
    let (dst, width) = c.any_register()?;
    let comparison = TABLE.iter().find_map(|row| match row.op {
        Op::JumpIf(op) if c.is(row.symbol) => Some(op),
        _ => None,
    });
    let Some(op) = comparison else {
        return c.expected("a comparison: ==, !=, &, <, <=, >, >=, s<, s<=, s> or s>=");
    };
    c.skip(1);
    let src = c.operand(width)?;
    c.expect_word("goto")?;
    let goal = c.goal()?;
    c.lead(Insn::JumpIf { width, op, dst, src, offset: 0 }, goal)
}

/// `call 5`, `call pc+3`, `call name`, `call name#5` or `call kfunc#5`, after the word
fn call<'a>(c: &mut Cursor<'a, '_>, symbols: &dyn Symbols) -> Parsed<Statement<'a>> {
    let call = |target| Ok(Insn::Call { target }.into());
    if c.word() == Some("pc") {
        let goal = c.goal()?;
        return c.lead(Insn::Call { target: CallTarget::Local { offset: 0 } }, goal);
    }
    if c.at_number() {
        // LLVM prints the immediate of every call as a signed number.
        return call(CallTarget::Helper(c.imm32()? as u32));
    }
    let kernel_function = c.word() == Some("kernel")
        && matches!(c.peek_at(1), Some(Token::Punct("-")))
        && matches!(c.peek_at(2), Some(Token::Word("function")));
    if kernel_function {
        c.skip(2);
    }
    let Some(name) = c.name() else {
        return c.expected("what is called: a number, pc+N or a name");
    };
    if c.eat("#") {
        if !(kernel_function || name.text == "kfunc") {
            return call(CallTarget::Helper(c.imm32()? as u32));
        }
        let btf_id = c.signed("a BTF id")?;
        let btf_index = if c.eat(",") {
            c.expect_word("btf")?;
            c.number("a 16-bit index", i16::MIN.into(), i16::MAX.into())? as i16
        } else {
            0
        };
        return call(CallTarget::Kfunc { btf_id, btf_index });
    }
    match symbols.helper_id(name.text) {
        Some(id) => call(CallTarget::Helper(id)),
        None => c.lead(Insn::Call { target: CallTarget::Local { offset: 0 } }, Goal::Label(name)),
    }
}

/// What follows a register at the start of a statement.
fn assignment<'a>(
    c: &mut Cursor<'a, '_>,
    dst: Reg,
    width: Width,
    opcode: Option<u8>,
) -> Parsed<Statement<'a>> {
    let operation = TABLE.iter().find_map(|row| match row.op {
        Op::Alu(op) if c.is(row.symbol) => Some(op),
        _ => None,
    });
    let Some(op) = operation else { return c.expected("an assignment such as `=` or `+=`") };
    c.skip(1);
    if op != AluOp::Mov {
        return Ok(Insn::Alu { width, op, dst, src: c.operand(width)? }.into());
    }
    if c.is("*") {
        return load(c, dst, width).map(Into::into);
    }
    if c.is("(") {
        return sign_extension(c, dst, width).map(Into::into);
    }
    if c.at_number() {
        return number(c, dst, width, opcode).map(Into::into);
    }
    if c.is("-") {
        let before = c.clone();
        c.skip(1);
        return match c.try_register()? {
            Some(operand) if operand == (dst, width) => Ok(Insn::Neg { width, dst }.into()),
            _ => before.no_such_form("a negation reads and writes the same register"),
        };
    }
    if c.clone().try_register()?.is_some() {
        let src = c.register(width)?.into();
        return Ok(Insn::Alu { width, op, dst, src }.into());
    }
    function(c, dst, width)
}

/// `5` or `5 ll`
fn number(c: &mut Cursor<'_, '_>, dst: Reg, width: Width, opcode: Option<u8>) -> Parsed<Insn> {
    let mut ahead = c.clone();
    let wide_opcode = row(Op::LoadImm(Imm64Kind::Value)).encodings[0].opcode;
    let wide = opcode == Some(wide_opcode) || (ahead.imm64().is_ok() && ahead.word() == Some("ll"));
    if wide {
        let value = c.imm64()?;
        c.eat_word("ll");
        return match width {
            Width::W64 => Ok(Insn::LoadImm { dst, value: Imm64::Value(value) }),
            Width::W32 => c.no_such_form("a 64-bit immediate needs a 64-bit register"),
        };
    }
    if c.clone().imm32().is_err() && c.clone().imm64().is_ok() {
        return c.no_such_form("the number does not fit 32 bits; `ll` after it loads 64");
    }
    Ok(Insn::Alu { width, op: AluOp::Mov, dst, src: Operand::Imm(c.imm32()?) })
}

/// `(s8)r2`
fn sign_extension(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    c.expect("(")?;
    let from = match c.word() {
        Some("s8") => Size::B,
        Some("s16") => Size::H,
        Some("s32") if width == Width::W64 => Size::W,
        _ => {
            return c.expected_one_of(
                match width {
                    Width::W64 => "s8, s16 or s32",
                    Width::W32 => "s8 or s16",
                },
                ["s8", "s16"],
            );
        }
    };
    c.skip(1);
    c.expect(")")?;
    Ok(Insn::Movsx { width, from, dst, src: c.register(width)? })
}

/// Everything that begins with a word after `=`.
fn function<'a>(c: &mut Cursor<'a, '_>, dst: Reg, width: Width) -> Parsed<Statement<'a>> {
    let Some(word) = c.word() else { return c.expected("a register, a number or a load") };
    if let Some((op, size)) = byte_swap(word) {
        let before = c.clone();
        c.skip(1);
        if c.any_register()? != (dst, Width::W64) || width == Width::W32 {
            return before.no_such_form("a byte swap reads and writes the same 64-bit register");
        }
        return Ok(Insn::Endian { op, size, dst }.into());
    }
    if let Some(op) = atomic(word) {
        c.skip(1);
        return returning_atomic(c, op, dst).map(Into::into);
    }
    match word {
        "load_acquire" => {
            c.skip(1);
            load_acquire(c, dst, width).map(Into::into)
        }
        "addr_space_cast" => {
            c.skip(1);
            c.expect("(")?;
            let src = c.register(Width::W64)?;
            c.expect(",")?;
            let to = c.number("an address space", 0, 1)? as u16;
            c.expect(",")?;
            let from = c.number("an address space", 0, 1)? as u16;
            c.expect(")")?;
            if to == from {
                return c.no_such_form("a cast is from address space 0 to 1 or from 1 to 0");
            }
            Ok(Insn::AddrSpaceCast { dst, src, to, from }.into())
        }
        "map" | "var" | "subprog" if width == Width::W64 => pseudo_load(c, dst),
        _ => c.expected_one_of("a register, a number, a load or a function", functions()),
    }
}

/// `le16` and its siblings.
fn byte_swap(word: &str) -> Option<(EndianOp, Size)> {
    EndianOp::ALL.into_iter().find_map(|op| {
        let bits = word.strip_prefix(row(Op::Endian(op)).symbol)?;
        let size = [Size::H, Size::W, Size::Dw].into_iter().find(|s| bits == s.bits().to_string());
        Some((op, size?))
    })
}

/// All words that may stand after `=`.
fn functions() -> Vec<String> {
    let swaps = EndianOp::ALL
        .into_iter()
        .flat_map(|op| [16, 32, 64].map(|bits| format!("{}{bits}", row(Op::Endian(op)).symbol)));
    let words = ["load_acquire", "addr_space_cast", "map", "var", "subprog"];
    words
        .map(str::to_owned)
        .into_iter()
        .chain(swaps)
        .chain(returning_atomics().flat_map(atomic_names))
        .collect()
}

/// `map[fd:5]`, `map[fd:5][0]+8`, `map[idx:5]`, `var[btf:5]`, `subprog[+5]`
fn pseudo_load<'a>(c: &mut Cursor<'a, '_>, dst: Reg) -> Parsed<Statement<'a>> {
    let kind = c.word();
    c.skip(1);
    c.expect("[")?;
    let value = match kind {
        Some("subprog") => {
            let goal = c.goal()?;
            c.expect("]")?;
            return c.lead(Insn::LoadImm { dst, value: Imm64::Func { offset: 0 } }, goal);
        }
        Some("var") => {
            c.expect_word("btf")?;
            c.expect(":")?;
            let btf_id = c.unsigned("a BTF id")?;
            let btf_fd = if c.eat(",") {
                c.expect_word("fd")?;
                c.expect(":")?;
                c.signed("a file descriptor")?
            } else {
                0
            };
            c.expect("]")?;
            Imm64::Variable { btf_id, btf_fd }
        }
        _ if c.eat_word("fd") => {
            c.expect(":")?;
            let fd = c.signed("a file descriptor")?;
            match map_offset(c)? {
                None => Imm64::MapFd(fd),
                Some(offset) => Imm64::MapFdValue { fd, offset },
            }
        }
        _ if c.eat_word("idx") => {
            c.expect(":")?;
            let index = c.unsigned("a map index")?;
            match map_offset(c)? {
                None => Imm64::MapIdx(index),
                Some(offset) => Imm64::MapIdxValue { index, offset },
            }
        }
        _ => return c.expected_one_of("`fd` or `idx`", ["fd", "idx"]),
    };
    Ok(Insn::LoadImm { dst, value }.into())
}

/// `]` or `][0]+8`
fn map_offset(c: &mut Cursor<'_, '_>) -> Parsed<Option<u32>> {
    c.expect("]")?;
    if !c.eat("[") {
        return Ok(None);
    }
    c.number("the index of the value, 0", 0, 0)?;
    c.expect("]")?;
    if c.is("+") { c.unsigned("an offset into the value").map(Some) } else { Ok(Some(0)) }
}
