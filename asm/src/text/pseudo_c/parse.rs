//! Reads one statement of pseudo-C. The spellings of LLVM and of the kernel's log are both taken.

use crate::insn::{
    AluOp, AtomicOp, CallTarget, EndianOp, Imm64, Insn, Operand, Reach, Reg, RmwOp, Size, Width,
};
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

/// `(u32 *)(r1 + 4)`, the part after the first star; signed tells `s32` from `u32`.
fn typed_address(c: &mut Cursor<'_, '_>) -> Parsed<(Size, bool, Reg, i16)> {
    c.expect("(")?;
    let (size, signed) = access_type(c)?;
    c.expect(")")?;
    c.expect("(")?;
    let (base, offset) = address(c)?;
    c.expect(")")?;
    Ok((size, signed, base, offset))
}

/// `u32 *`
fn access_type(c: &mut Cursor<'_, '_>) -> Parsed<(Size, bool)> {
    const TYPES: [&str; 7] = ["u8", "u16", "u32", "u64", "s8", "s16", "s32"];
    let found = c.word().filter(|w| TYPES.contains(w));
    let Some((size, word)) = found.and_then(|w| Some((Size::from_bits(w[1..].parse().ok()?)?, w)))
    else {
        return c.expected_one_of("a type: u8, u16, u32, u64, s8, s16 or s32", TYPES);
    };
    c.skip(1);
    c.expect("*")?;
    Ok((size, word.starts_with('s')))
}

/// `r1 + 4`, `r1 +4` or `r1`
fn address(c: &mut Cursor<'_, '_>) -> Parsed<(Reg, i16)> {
    let base = c.register(Width::W64)?;
    Ok((base, c.address_offset()?))
}

/// `*(u32 *)(r1 + 4)` of a type without sign.
fn unsigned_access(c: &mut Cursor<'_, '_>) -> Parsed<(Size, Reg, i16)> {
    let before = c.clone();
    let (size, signed, base, offset) = typed_address(c)?;
    if signed {
        let mut at_type = before;
        at_type.skip(1);
        return at_type.expected("a type without sign: u8, u16, u32 or u64");
    }
    Ok((size, base, offset))
}

/// A register that is stored or loaded: `w` is taken up to 32 bits, as LLVM writes it.
fn value_register(c: &mut Cursor<'_, '_>, size: Size) -> Parsed<Reg> {
    if size == Size::Dw { c.register(Width::W64) } else { Ok(c.any_register()?.0) }
}

/// `*(u32 *)(r1 + 4) = r2`
fn store(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("*")?;
    let (size, base, offset) = unsigned_access(c)?;
    c.expect("=")?;
    let src = if c.clone().try_register()?.is_some() {
        Operand::Reg(value_register(c, size)?)
    } else {
        c.operand(Width::W64)?
    };
    Ok(Insn::Store { size, base, offset, src })
}

/// `store_release((u64 *)(r1 + 0), r2)`, after the word
fn store_release(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("(")?;
    let (size, base, offset) = unsigned_access(c)?;
    c.expect(",")?;
    let src = value_register(c, size)?;
    c.expect(")")?;
    Ok(Insn::StoreRelease { size, base, offset, src })
}

/// `lock *(u64 *)(r1 + 0) += r2`, after the word
fn locked(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("*")?;
    let (size, base, offset) = unsigned_access(c)?;
    let op = RmwOp::ALL.map(AtomicOp::Rmw).into_iter().find(|op| c.is(row(Op::Atomic(*op)).symbol));
    let Some(op) = op else { return c.expected("`+=`, `|=`, `&=` or `^=`") };
    c.skip(1);
    let src = value_register(c, size)?;
    Ok(Insn::Atomic { op, size, base, offset, src })
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

/// `*(u32 *)(r1 + 4)` or `*(u32 *)skb[4]`
fn load(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    c.expect("*")?;
    if matches!(c.peek_at(4), Some(Token::Word("skb"))) {
        return packet_load(c, dst, width);
    }
    let (size, signed, base, offset) = typed_address(c)?;
    match (signed, width, size) {
        // A 32-bit view of the destination means the same, as loads zero-extend.
        (false, Width::W32, Size::Dw) => c.no_such_form("an 8-byte load needs a 64-bit register"),
        (false, ..) => Ok(Insn::Load { size, dst, base, offset }),
        (true, Width::W64, _) => Ok(Insn::LoadSx { size, dst, base, offset }),
        (true, Width::W32, _) => c.no_such_form("a sign-extending load fills a 64-bit register"),
    }
}

/// `(u32 *)skb[4]`, `(u32 *)skb[r2]` or `(u32 *)skb[r2 + 4]`
fn packet_load(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    if (dst, width) != (Reg::R0, Width::W64) {
        return c.no_such_form("a packet load fills r0");
    }
    c.expect("(")?;
    let (size, signed) = access_type(c)?;
    if signed || size == Size::Dw {
        return c.no_such_form("a packet load takes 1, 2 or 4 bytes: u8, u16 or u32");
    }
    c.expect(")")?;
    c.expect_word("skb")?;
    c.expect("[")?;
    let insn = if c.clone().try_register()?.is_some() {
        let index = c.register(Width::W64)?;
        let signed = c.is("+") || c.is("-");
        let offset = if signed { c.signed("a 32-bit offset")? } else { 0 };
        Insn::LoadInd { size, index, offset }
    } else {
        Insn::LoadAbs { size, offset: c.imm32()? }
    };
    c.expect("]")?;
    Ok(insn)
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
            c.expect("(")?;
            let (size, base, offset) = unsigned_access(c)?;
            c.expect(")")?;
            if (width, size) == (Width::W32, Size::Dw) {
                return c.no_such_form("an 8-byte load needs a 64-bit register");
            }
            Ok(Insn::LoadAcquire { size, dst, base, offset }.into())
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

/// The spellings of an atomic operation that returns the old value: the kernel's for 4 and 8
/// bytes, then LLVM's.
fn atomic_names(op: AtomicOp) -> [String; 4] {
    let symbol = row(Op::Atomic(op)).symbol;
    let [narrow, wide] = match op {
        AtomicOp::Xchg | AtomicOp::Cmpxchg => [format!("{symbol}32_32"), format!("{symbol}_64")],
        _ => [format!("atomic_{symbol}"), format!("atomic_{symbol}")],
    };
    [format!("atomic_{symbol}"), format!("atomic64_{symbol}"), narrow, wide]
}

fn returning_atomics() -> impl Iterator<Item = AtomicOp> {
    AtomicOp::ALL.into_iter().filter(|op| !matches!(op, AtomicOp::Rmw(_)))
}

fn atomic(word: &str) -> Option<(AtomicOp, Option<Size>)> {
    returning_atomics().find_map(|op| {
        let [narrow_kernel, wide_kernel, narrow, wide] = atomic_names(op);
        let size = match word {
            w if w == wide_kernel => Some(Size::Dw),
            w if w == narrow_kernel => None,
            w if w == narrow => Some(Size::W),
            w if w == wide => Some(Size::Dw),
            _ => return None,
        };
        Some((op, size))
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

/// `((u64 *)(r1 + 0), r2)` or, as LLVM writes exchanges, `(r1 + 0, r2)`, after the name; compare
/// and exchange has `r0` before its operand.
fn returning_atomic(
    c: &mut Cursor<'_, '_>,
    (op, size): (AtomicOp, Option<Size>),
    dst: Reg,
) -> Parsed<Insn> {
    c.expect("(")?;
    let (size, base, offset) = if c.is("(") {
        let (found, base, offset) = unsigned_access(c)?;
        if size.is_some_and(|size| size != found) || !matches!(found, Size::W | Size::Dw) {
            return c.no_such_form("an atomic operation takes u32 or u64, as its name says");
        }
        (found, base, offset)
    } else if let Some(size) = size {
        let (base, offset) = address(c)?;
        (size, base, offset)
    } else {
        return c.expected("an address with its type, such as (u32 *)(r1 + 0)");
    };
    c.expect(",")?;
    if op == AtomicOp::Cmpxchg {
        if value_register(&mut c.clone(), size)? != Reg::R0 {
            return c.expected("r0 or w0, which is compared");
        }
        c.skip(1);
        c.expect(",")?;
    }
    let src = value_register(c, size)?;
    c.expect(")")?;
    match op.fetches_into(src) {
        Some(result) if result == dst => Ok(Insn::Atomic { op, size, base, offset, src }),
        Some(result) => c.no_such_form(format!("the old value goes to {result}")),
        None => c.no_such_form("the operation returns nothing"),
    }
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
