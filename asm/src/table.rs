//! The instruction set, one row an operation.
//!
//! A row says how an operation is encoded, spelled and classified. Decoder, encoder, both text
//! dialects, the opcode reference in `docs/opcodes.md` and the coverage test of the conformance
//! vectors are driven by it. Opcode numbers occur nowhere else.
//!
//! Sources: RFC 9669 (sections 3 to 5, appendix A) and, for operations without a `rfc` section,
//! `include/uapi/linux/bpf.h` and `kernel/bpf/verifier.c` of the Linux version named in `since`.

use crate::insn::{AluOp, AtomicOp, EndianOp, JmpOp, Reach, RmwOp, Size, Width};
use std::sync::LazyLock;

/// Which operation an instruction performs, without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// [`Insn::Alu`](crate::Insn::Alu)
    Alu(AluOp),
    /// [`Insn::Neg`](crate::Insn::Neg)
    Neg,
    /// [`Insn::Movsx`](crate::Insn::Movsx)
    Movsx,
    /// [`Insn::Endian`](crate::Insn::Endian)
    Endian(EndianOp),
    /// [`Insn::AddrSpaceCast`](crate::Insn::AddrSpaceCast)
    AddrSpaceCast,
    /// [`Insn::LoadImm`](crate::Insn::LoadImm), by kind
    LoadImm(Imm64Kind),
    /// [`Insn::Load`](crate::Insn::Load)
    Load,
    /// [`Insn::LoadSx`](crate::Insn::LoadSx)
    LoadSx,
    /// [`Insn::Store`](crate::Insn::Store)
    Store,
    /// [`Insn::Atomic`](crate::Insn::Atomic)
    Atomic(AtomicOp),
    /// [`Insn::LoadAcquire`](crate::Insn::LoadAcquire)
    LoadAcquire,
    /// [`Insn::StoreRelease`](crate::Insn::StoreRelease)
    StoreRelease,
    /// [`Insn::LoadAbs`](crate::Insn::LoadAbs)
    LoadAbs,
    /// [`Insn::LoadInd`](crate::Insn::LoadInd)
    LoadInd,
    /// [`Insn::Jump`](crate::Insn::Jump)
    Jump,
    /// [`Insn::JumpIf`](crate::Insn::JumpIf)
    JumpIf(JmpOp),
    /// [`Insn::MayGoto`](crate::Insn::MayGoto)
    MayGoto,
    /// [`Insn::Call`](crate::Insn::Call) of a helper
    CallHelper,
    /// [`Insn::Call`](crate::Insn::Call) of a local function
    CallLocal,
    /// [`Insn::Call`](crate::Insn::Call) of a kernel function
    CallKfunc,
    /// [`Insn::Call`](crate::Insn::Call) through a register
    CallReg,
    /// [`Insn::Exit`](crate::Insn::Exit)
    Exit,
}

/// The kinds of [`Imm64`](crate::Imm64), numbered as in the `src` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Imm64Kind {
    /// A plain value.
    Value = 0,
    /// A map by file descriptor.
    MapFd = 1,
    /// A map value by file descriptor.
    MapFdValue = 2,
    /// A kernel variable.
    Variable = 3,
    /// A function of the program.
    Func = 4,
    /// A map by index.
    MapIdx = 5,
    /// A map value by index.
    MapIdxValue = 6,
}

/// The three-bit instruction class (RFC 9669, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Immediate and legacy packet loads.
    Ld = 0,
    /// Loads into registers.
    Ldx = 1,
    /// Stores of immediates.
    St = 2,
    /// Stores of registers, atomics.
    Stx = 3,
    /// 32-bit arithmetic.
    Alu = 4,
    /// 64-bit jumps, calls.
    Jmp = 5,
    /// 32-bit jumps.
    Jmp32 = 6,
    /// 64-bit arithmetic.
    Alu64 = 7,
}

/// The conformance group of an encoding (RFC 9669, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// 32-bit and width-less instructions.
    Base32,
    /// 64-bit instructions.
    Base64,
    /// 32-bit multiplication, division, remainder.
    Divmul32,
    /// 64-bit multiplication, division, remainder.
    Divmul64,
    /// 32-bit atomics.
    Atomic32,
    /// 64-bit atomics.
    Atomic64,
    /// Legacy packet loads.
    Packet,
    /// Call through a register; reserved, not a group of the RFC.
    Callx,
    /// Not in RFC 9669: an extension of Linux.
    Linux,
}

/// The `-mcpu` level of LLVM that first has an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cpu {
    /// The base instruction set.
    V1,
    /// `<`, `<=` and their signed forms.
    V2,
    /// 32-bit jumps and atomics that fetch.
    V3,
    /// Sign extension, `gotol`, unconditional swap, signed division.
    V4,
}

/// What a field of an encoding may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Only this value. It selects the operation where rows share an opcode; elsewhere it is a
    /// reserved field, with 0.
    Is(i32),
    /// One of these values, and which one matters.
    OneOf(&'static [i32]),
    /// Any value: an operand.
    Any,
}

impl Field {
    /// Whether the field may hold `value`.
    pub fn accepts(&self, value: i32) -> bool {
        match self {
            Field::Is(v) => *v == value,
            Field::OneOf(vs) => vs.contains(&value),
            Field::Any => true,
        }
    }
}

/// The unused field.
const ZERO: Field = Field::Is(0);

/// Which variable parts an opcode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The immediate (`BPF_K`).
    K,
    /// The source register (`BPF_X`).
    X,
}

/// One opcode of an operation, with what its other fields may hold.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// The opcode byte.
    pub opcode: u8,
    /// Operation width, where the operation has one.
    pub width: Option<Width>,
    /// Access size, where the opcode has one.
    pub size: Option<Size>,
    /// Register or immediate, where the opcode says.
    pub source: Option<Source>,
    /// The destination field.
    pub dst: Field,
    /// The source field.
    pub src: Field,
    /// The offset field.
    pub offset: Field,
    /// The immediate field.
    pub imm: Field,
    /// The immediate of the second slot; its other fields are reserved. None for one slot.
    pub imm2: Option<Field>,
    /// Conformance group.
    pub group: Group,
    /// First `-mcpu` level.
    pub cpu: Cpu,
}

impl Encoding {
    const fn new(opcode: u8, group: Group) -> Encoding {
        Encoding {
            opcode,
            width: None,
            size: None,
            source: None,
            dst: ZERO,
            src: ZERO,
            offset: ZERO,
            imm: ZERO,
            imm2: None,
            group,
            cpu: Cpu::V1,
        }
    }

    const fn width(mut self, width: Width) -> Encoding {
        self.width = Some(width);
        self
    }

    const fn size(mut self, size: Size) -> Encoding {
        self.size = Some(size);
        self
    }

    const fn source(mut self, source: Source) -> Encoding {
        self.source = Some(source);
        match source {
            Source::K => self.imm = Field::Any,
            Source::X => self.src = Field::Any,
        }
        self
    }

    const fn dst(mut self) -> Encoding {
        self.dst = Field::Any;
        self
    }

    const fn src(mut self, field: Field) -> Encoding {
        self.src = field;
        self
    }

    const fn offset(mut self, field: Field) -> Encoding {
        self.offset = field;
        self
    }

    const fn imm(mut self, field: Field) -> Encoding {
        self.imm = field;
        self
    }

    const fn imm2(mut self, field: Field) -> Encoding {
        self.imm2 = Some(field);
        self
    }

    const fn cpu(mut self, cpu: Cpu) -> Encoding {
        self.cpu = cpu;
        self
    }

    /// The class bits of the opcode.
    pub const fn class(&self) -> Class {
        match self.opcode & 7 {
            0 => Class::Ld,
            1 => Class::Ldx,
            2 => Class::St,
            3 => Class::Stx,
            4 => Class::Alu,
            5 => Class::Jmp,
            6 => Class::Jmp32,
            _ => Class::Alu64,
        }
    }

    /// How far a jump with this encoding reaches: the one with a 16-bit offset is near.
    pub(crate) const fn reach(&self) -> Reach {
        match self.offset {
            Field::Any => Reach::Near,
            _ => Reach::Far,
        }
    }
}

/// An operation: a row of the [`TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The operation.
    pub op: Op,
    /// Its opcodes.
    pub encodings: &'static [Encoding],
    /// The operator or word of pseudo-C that tells the operation from its siblings. Atomics that
    /// return a value have it without `atomic_`, byte swaps without their size.
    pub symbol: &'static str,
    /// The word of the bpf_conformance and uBPF mnemonics, without width or size suffix.
    pub mnemonic: &'static str,
    /// Section of RFC 9669, or empty for an extension of Linux.
    pub rfc: &'static str,
    /// First Linux release that takes it.
    pub since: &'static str,
    /// What it does, in one line.
    pub meaning: &'static str,
}

// Bits of the opcode byte (RFC 9669, sections 4 and 5).
const X: u8 = 0x08;
const MODE_IMM: u8 = 0x00;
const MODE_ABS: u8 = 0x20;
const MODE_IND: u8 = 0x40;
const MODE_MEM: u8 = 0x60;
const MODE_MEMSX: u8 = 0x80;
const MODE_ATOMIC: u8 = 0xc0;
const SIZE_DW: u8 = 0x18;

const fn size_bits(size: Size) -> u8 {
    match size {
        Size::W => 0x00,
        Size::H => 0x08,
        Size::B => 0x10,
        Size::Dw => SIZE_DW,
    }
}

const fn alu_class(width: Width) -> Class {
    match width {
        Width::W32 => Class::Alu,
        Width::W64 => Class::Alu64,
    }
}

const fn jmp_class(width: Width) -> Class {
    match width {
        Width::W32 => Class::Jmp32,
        Width::W64 => Class::Jmp,
    }
}

const fn base(width: Width) -> Group {
    match width {
        Width::W32 => Group::Base32,
        Width::W64 => Group::Base64,
    }
}

const fn divmul(width: Width) -> Group {
    match width {
        Width::W32 => Group::Divmul32,
        Width::W64 => Group::Divmul64,
    }
}

const W32: Width = Width::W32;
const W64: Width = Width::W64;

const fn alu_one(code: u8, w: Width, s: Source, offset: i32, group: Group, cpu: Cpu) -> Encoding {
    let x = match s {
        Source::K => 0,
        Source::X => X,
    };
    Encoding::new(code << 4 | x | alu_class(w) as u8, group)
        .width(w)
        .dst()
        .source(s)
        .offset(Field::Is(offset))
        .cpu(cpu)
}

/// The four forms of a two-operand operation; `offset` tells signed from unsigned division.
const fn alu(code: u8, offset: i32, muldiv: bool, cpu: Cpu) -> [Encoding; 4] {
    let (g32, g64) = if muldiv { (divmul(W32), divmul(W64)) } else { (base(W32), base(W64)) };
    [
        alu_one(code, W32, Source::K, offset, g32, cpu),
        alu_one(code, W32, Source::X, offset, g32, cpu),
        alu_one(code, W64, Source::K, offset, g64, cpu),
        alu_one(code, W64, Source::X, offset, g64, cpu),
    ]
}

const fn jump_one(code: u8, w: Width, s: Source, cpu: Cpu) -> Encoding {
    let x = match s {
        Source::K => 0,
        Source::X => X,
    };
    let cpu = match w {
        Width::W32 => Cpu::V3,
        Width::W64 => cpu,
    };
    Encoding::new(code << 4 | x | jmp_class(w) as u8, base(w))
        .width(w)
        .dst()
        .source(s)
        .offset(Field::Any)
        .cpu(cpu)
}

/// The four forms of a conditional jump.
const fn jump(code: u8, cpu: Cpu) -> [Encoding; 4] {
    [
        jump_one(code, W32, Source::K, cpu),
        jump_one(code, W32, Source::X, cpu),
        jump_one(code, W64, Source::K, cpu),
        jump_one(code, W64, Source::X, cpu),
    ]
}

const fn neg(w: Width) -> Encoding {
    Encoding::new(0x80 | alu_class(w) as u8, base(w)).width(w).dst()
}

const fn movsx(w: Width, sizes: &'static [i32]) -> Encoding {
    Encoding::new(0xb0 | X | alu_class(w) as u8, base(w))
        .width(w)
        .dst()
        .source(Source::X)
        .offset(Field::OneOf(sizes))
        .cpu(Cpu::V4)
}

/// Swaps of 64 bits are a group apart (RFC 9669, section 4.2).
const fn endian(op: EndianOp) -> [Encoding; 2] {
    let (opcode, cpu) = match op {
        EndianOp::ToLe => (0xd0 | Class::Alu as u8, Cpu::V1),
        EndianOp::ToBe => (0xd0 | X | Class::Alu as u8, Cpu::V1),
        EndianOp::Bswap => (0xd0 | Class::Alu64 as u8, Cpu::V4),
    };
    [
        Encoding::new(opcode, Group::Base32).dst().imm(Field::OneOf(&[16, 32])).cpu(cpu),
        Encoding::new(opcode, Group::Base64).dst().imm(Field::Is(64)).cpu(cpu),
    ]
}

const fn load_imm(kind: Imm64Kind, imm2: Field) -> [Encoding; 1] {
    [Encoding::new(MODE_IMM | SIZE_DW | Class::Ld as u8, Group::Base64)
        .dst()
        .src(Field::Is(kind as i32))
        .imm(Field::Any)
        .imm2(imm2)]
}

const fn load(mode: u8, size: Size, group: Group, cpu: Cpu) -> Encoding {
    Encoding::new(mode | size_bits(size) | Class::Ldx as u8, group)
        .size(size)
        .dst()
        .src(Field::Any)
        .offset(Field::Any)
        .cpu(cpu)
}

const fn store(size: Size, s: Source) -> Encoding {
    let class = match s {
        Source::K => Class::St,
        Source::X => Class::Stx,
    };
    let group = match size {
        Size::Dw => Group::Base64,
        _ => Group::Base32,
    };
    Encoding::new(MODE_MEM | size_bits(size) | class as u8, group)
        .size(size)
        .dst()
        .source(s)
        .offset(Field::Any)
}

const fn atomic_one(size: Size, imm: i32, group: Group, cpu: Cpu) -> Encoding {
    Encoding::new(MODE_ATOMIC | size_bits(size) | Class::Stx as u8, group)
        .size(size)
        .dst()
        .src(Field::Any)
        .offset(Field::Any)
        .imm(Field::Is(imm))
        .cpu(cpu)
}

const fn atomic(imm: i32, cpu: Cpu) -> [Encoding; 2] {
    [
        atomic_one(Size::W, imm, Group::Atomic32, cpu),
        atomic_one(Size::Dw, imm, Group::Atomic64, cpu),
    ]
}

const fn ordered(imm: i32) -> [Encoding; 4] {
    [
        atomic_one(Size::B, imm, Group::Linux, Cpu::V4),
        atomic_one(Size::H, imm, Group::Linux, Cpu::V4),
        atomic_one(Size::W, imm, Group::Linux, Cpu::V4),
        atomic_one(Size::Dw, imm, Group::Linux, Cpu::V4),
    ]
}

const fn packet(mode: u8, size: Size) -> Encoding {
    let e = Encoding::new(mode | size_bits(size) | Class::Ld as u8, Group::Packet)
        .size(size)
        .imm(Field::Any);
    if mode == MODE_IND { e.src(Field::Any) } else { e }
}

const fn call(kind: i32, group: Group) -> Encoding {
    Encoding::new(0x80 | Class::Jmp as u8, group).src(Field::Is(kind)).imm(Field::Any)
}

const FETCH: i32 = 1;

/// The instruction set.
#[rustfmt::skip] // a table is read by its columns
pub static TABLE: &[Row] = &[
    // Arithmetic.
    Row { op: Op::Alu(AluOp::Add), encodings: &alu(0x0, 0, false, Cpu::V1), symbol: "+=", mnemonic: "add", rfc: "4.1", since: "3.18", meaning: "dst += src, wrapping" },
    Row { op: Op::Alu(AluOp::Sub), encodings: &alu(0x1, 0, false, Cpu::V1), symbol: "-=", mnemonic: "sub", rfc: "4.1", since: "3.18", meaning: "dst -= src, wrapping" },
    Row { op: Op::Alu(AluOp::Mul), encodings: &alu(0x2, 0, true, Cpu::V1), symbol: "*=", mnemonic: "mul", rfc: "4.1", since: "3.18", meaning: "dst *= src, wrapping" },
    Row { op: Op::Alu(AluOp::Div), encodings: &alu(0x3, 0, true, Cpu::V1), symbol: "/=", mnemonic: "div", rfc: "4.1", since: "3.18", meaning: "dst = src ? dst / src : 0, unsigned" },
    Row { op: Op::Alu(AluOp::Sdiv), encodings: &alu(0x3, 1, true, Cpu::V4), symbol: "s/=", mnemonic: "sdiv", rfc: "4.1", since: "6.6", meaning: "dst = src ? dst / src : 0, signed, rounding towards zero" },
    Row { op: Op::Alu(AluOp::Or), encodings: &alu(0x4, 0, false, Cpu::V1), symbol: "|=", mnemonic: "or", rfc: "4.1", since: "3.18", meaning: "dst |= src" },
    Row { op: Op::Alu(AluOp::And), encodings: &alu(0x5, 0, false, Cpu::V1), symbol: "&=", mnemonic: "and", rfc: "4.1", since: "3.18", meaning: "dst &= src" },
    Row { op: Op::Alu(AluOp::Lsh), encodings: &alu(0x6, 0, false, Cpu::V1), symbol: "<<=", mnemonic: "lsh", rfc: "4.1", since: "3.18", meaning: "dst <<= src modulo the width" },
    Row { op: Op::Alu(AluOp::Rsh), encodings: &alu(0x7, 0, false, Cpu::V1), symbol: ">>=", mnemonic: "rsh", rfc: "4.1", since: "3.18", meaning: "dst >>= src modulo the width, filling with zeros" },
    Row { op: Op::Neg, encodings: &[neg(W32), neg(W64)], symbol: "-", mnemonic: "neg", rfc: "4.1", since: "3.18", meaning: "dst = -dst, wrapping" },
    Row { op: Op::Alu(AluOp::Mod), encodings: &alu(0x9, 0, true, Cpu::V1), symbol: "%=", mnemonic: "mod", rfc: "4.1", since: "3.18", meaning: "dst = src ? dst % src : dst, unsigned" },
    Row { op: Op::Alu(AluOp::Smod), encodings: &alu(0x9, 1, true, Cpu::V4), symbol: "s%=", mnemonic: "smod", rfc: "4.1", since: "6.6", meaning: "dst = src ? dst % src : dst, signed, with the sign of dst" },
    Row { op: Op::Alu(AluOp::Xor), encodings: &alu(0xa, 0, false, Cpu::V1), symbol: "^=", mnemonic: "xor", rfc: "4.1", since: "3.18", meaning: "dst ^= src" },
    Row { op: Op::Alu(AluOp::Mov), encodings: &alu(0xb, 0, false, Cpu::V1), symbol: "=", mnemonic: "mov", rfc: "4.1", since: "3.18", meaning: "dst = src" },
    Row { op: Op::Movsx, encodings: &[movsx(W32, &[8, 16]), movsx(W64, &[8, 16, 32])], symbol: "= (s)", mnemonic: "movsx", rfc: "4.1", since: "6.6", meaning: "dst = the low 8, 16 or 32 bits of src, sign-extended" },
    Row { op: Op::AddrSpaceCast, encodings: &[Encoding::new(0xb0 | X | Class::Alu64 as u8, Group::Linux).dst().source(Source::X).offset(Field::Is(1)).imm(Field::OneOf(&[1, 0x1_0000])).cpu(Cpu::V4)], symbol: "addr_space_cast", mnemonic: "addr_space_cast", rfc: "", since: "6.9", meaning: "dst = src converted between address spaces 0 and 1; imm = to << 16 | from" },
    Row { op: Op::Alu(AluOp::Arsh), encodings: &alu(0xc, 0, false, Cpu::V1), symbol: "s>>=", mnemonic: "arsh", rfc: "4.1", since: "3.18", meaning: "dst >>= src modulo the width, filling with the sign" },
    Row { op: Op::Endian(EndianOp::ToLe), encodings: &endian(EndianOp::ToLe), symbol: "le", mnemonic: "le", rfc: "4.2", since: "3.18", meaning: "dst = the low 16, 32 or 64 bits in little endian" },
    Row { op: Op::Endian(EndianOp::ToBe), encodings: &endian(EndianOp::ToBe), symbol: "be", mnemonic: "be", rfc: "4.2", since: "3.18", meaning: "dst = the low 16, 32 or 64 bits in big endian" },
    Row { op: Op::Endian(EndianOp::Bswap), encodings: &endian(EndianOp::Bswap), symbol: "bswap", mnemonic: "bswap", rfc: "4.2", since: "6.6", meaning: "dst = the low 16, 32 or 64 bits with their bytes swapped" },
    // Jumps and calls.
    Row { op: Op::Jump, encodings: &[Encoding::new(Class::Jmp as u8, Group::Base32).offset(Field::Any), Encoding::new(Class::Jmp32 as u8, Group::Base32).imm(Field::Any).cpu(Cpu::V4)], symbol: "goto", mnemonic: "ja", rfc: "4.3", since: "3.18", meaning: "pc += offset (JMP), pc += imm (JMP32, Linux 6.6)" },
    Row { op: Op::JumpIf(JmpOp::Eq), encodings: &jump(0x1, Cpu::V1), symbol: "==", mnemonic: "jeq", rfc: "4.3", since: "3.18", meaning: "jumps if dst == src" },
    Row { op: Op::JumpIf(JmpOp::Gt), encodings: &jump(0x2, Cpu::V1), symbol: ">", mnemonic: "jgt", rfc: "4.3", since: "3.18", meaning: "jumps if dst > src, unsigned" },
    Row { op: Op::JumpIf(JmpOp::Ge), encodings: &jump(0x3, Cpu::V1), symbol: ">=", mnemonic: "jge", rfc: "4.3", since: "3.18", meaning: "jumps if dst >= src, unsigned" },
    Row { op: Op::JumpIf(JmpOp::Set), encodings: &jump(0x4, Cpu::V1), symbol: "&", mnemonic: "jset", rfc: "4.3", since: "3.18", meaning: "jumps if dst & src != 0" },
    Row { op: Op::JumpIf(JmpOp::Ne), encodings: &jump(0x5, Cpu::V1), symbol: "!=", mnemonic: "jne", rfc: "4.3", since: "3.18", meaning: "jumps if dst != src" },
    Row { op: Op::JumpIf(JmpOp::Sgt), encodings: &jump(0x6, Cpu::V1), symbol: "s>", mnemonic: "jsgt", rfc: "4.3", since: "3.18", meaning: "jumps if dst > src, signed" },
    Row { op: Op::JumpIf(JmpOp::Sge), encodings: &jump(0x7, Cpu::V1), symbol: "s>=", mnemonic: "jsge", rfc: "4.3", since: "3.18", meaning: "jumps if dst >= src, signed" },
    Row { op: Op::CallHelper, encodings: &[call(0, Group::Base32)], symbol: "call", mnemonic: "call", rfc: "4.3", since: "3.18", meaning: "r0 = helper imm (r1 to r5); r1 to r5 are clobbered" },
    Row { op: Op::CallLocal, encodings: &[call(1, Group::Base32).cpu(Cpu::V3)], symbol: "call", mnemonic: "call local", rfc: "4.3", since: "4.16", meaning: "r0 = function at pc + imm (r1 to r5), with its own frame" },
    Row { op: Op::CallKfunc, encodings: &[call(2, Group::Base32).offset(Field::Any).cpu(Cpu::V3)], symbol: "call", mnemonic: "call kfunc", rfc: "4.3", since: "5.13", meaning: "r0 = kernel function with BTF id imm (r1 to r5)" },
    Row { op: Op::CallReg, encodings: &[Encoding::new(0x80 | X | Class::Jmp as u8, Group::Callx).dst()], symbol: "callx", mnemonic: "call", rfc: "4.3.1", since: "", meaning: "r0 = helper with the number in dst (r1 to r5); reserved, Linux refuses it" },
    Row { op: Op::Exit, encodings: &[Encoding::new(0x90 | Class::Jmp as u8, Group::Base32)], symbol: "exit", mnemonic: "exit", rfc: "4.3", since: "3.18", meaning: "returns r0" },
    Row { op: Op::JumpIf(JmpOp::Lt), encodings: &jump(0xa, Cpu::V2), symbol: "<", mnemonic: "jlt", rfc: "4.3", since: "4.14", meaning: "jumps if dst < src, unsigned" },
    Row { op: Op::JumpIf(JmpOp::Le), encodings: &jump(0xb, Cpu::V2), symbol: "<=", mnemonic: "jle", rfc: "4.3", since: "4.14", meaning: "jumps if dst <= src, unsigned" },
    Row { op: Op::JumpIf(JmpOp::Slt), encodings: &jump(0xc, Cpu::V2), symbol: "s<", mnemonic: "jslt", rfc: "4.3", since: "4.14", meaning: "jumps if dst < src, signed" },
    Row { op: Op::JumpIf(JmpOp::Sle), encodings: &jump(0xd, Cpu::V2), symbol: "s<=", mnemonic: "jsle", rfc: "4.3", since: "4.14", meaning: "jumps if dst <= src, signed" },
    Row { op: Op::MayGoto, encodings: &[Encoding::new(0xe0 | Class::Jmp as u8, Group::Linux).offset(Field::Any).cpu(Cpu::V4)], symbol: "may_goto", mnemonic: "may_goto", rfc: "", since: "6.9", meaning: "falls through a bounded number of times, then pc += offset" },
    // Memory.
    Row { op: Op::LoadImm(Imm64Kind::Value), encodings: &load_imm(Imm64Kind::Value, Field::Any), symbol: "ll", mnemonic: "lddw", rfc: "5.4", since: "3.18", meaning: "dst = imm2 << 32 | imm" },
    Row { op: Op::LoadImm(Imm64Kind::MapFd), encodings: &load_imm(Imm64Kind::MapFd, ZERO), symbol: "map[fd:]", mnemonic: "lddw map_fd", rfc: "5.4", since: "3.18", meaning: "dst = the map with file descriptor imm" },
    Row { op: Op::LoadImm(Imm64Kind::MapFdValue), encodings: &load_imm(Imm64Kind::MapFdValue, Field::Any), symbol: "map[fd:][0]", mnemonic: "lddw map_value", rfc: "5.4", since: "5.2", meaning: "dst = address of byte imm2 in the value of the map with file descriptor imm" },
    Row { op: Op::LoadImm(Imm64Kind::Variable), encodings: &load_imm(Imm64Kind::Variable, Field::Any), symbol: "var[]", mnemonic: "lddw variable", rfc: "5.4", since: "5.10", meaning: "dst = address of the kernel variable with BTF id imm in the BTF object imm2" },
    Row { op: Op::LoadImm(Imm64Kind::Func), encodings: &load_imm(Imm64Kind::Func, ZERO), symbol: "subprog[]", mnemonic: "lddw code", rfc: "5.4", since: "5.13", meaning: "dst = address of the function at pc + imm" },
    Row { op: Op::LoadImm(Imm64Kind::MapIdx), encodings: &load_imm(Imm64Kind::MapIdx, ZERO), symbol: "map[idx:]", mnemonic: "lddw map_idx", rfc: "5.4", since: "5.14", meaning: "dst = the map at index imm" },
    Row { op: Op::LoadImm(Imm64Kind::MapIdxValue), encodings: &load_imm(Imm64Kind::MapIdxValue, Field::Any), symbol: "map[idx:][0]", mnemonic: "lddw map_idx_value", rfc: "5.4", since: "5.14", meaning: "dst = address of byte imm2 in the value of the map at index imm" },
    Row { op: Op::LoadAbs, encodings: &[packet(MODE_ABS, Size::W), packet(MODE_ABS, Size::H), packet(MODE_ABS, Size::B)], symbol: "skb[]", mnemonic: "ldabs", rfc: "5.5", since: "3.18", meaning: "r0 = packet[imm] in host order; out of range returns 0 from the function" },
    Row { op: Op::LoadInd, encodings: &[packet(MODE_IND, Size::W), packet(MODE_IND, Size::H), packet(MODE_IND, Size::B)], symbol: "skb[]", mnemonic: "ldind", rfc: "5.5", since: "3.18", meaning: "r0 = packet[src + imm] in host order; out of range returns 0 from the function" },
    Row { op: Op::Load, encodings: &[load(MODE_MEM, Size::W, Group::Base32, Cpu::V1), load(MODE_MEM, Size::H, Group::Base32, Cpu::V1), load(MODE_MEM, Size::B, Group::Base32, Cpu::V1), load(MODE_MEM, Size::Dw, Group::Base64, Cpu::V1)], symbol: "u", mnemonic: "ldx", rfc: "5.1", since: "3.18", meaning: "dst = *(size *)(src + offset), zero-extended" },
    Row { op: Op::LoadSx, encodings: &[load(MODE_MEMSX, Size::W, Group::Base64, Cpu::V4), load(MODE_MEMSX, Size::H, Group::Base64, Cpu::V4), load(MODE_MEMSX, Size::B, Group::Base64, Cpu::V4)], symbol: "s", mnemonic: "ldxs", rfc: "5.2", since: "6.6", meaning: "dst = *(signed size *)(src + offset), sign-extended" },
    Row { op: Op::Store, encodings: &[store(Size::W, Source::K), store(Size::H, Source::K), store(Size::B, Source::K), store(Size::Dw, Source::K), store(Size::W, Source::X), store(Size::H, Source::X), store(Size::B, Source::X), store(Size::Dw, Source::X)], symbol: "=", mnemonic: "st", rfc: "5.1", since: "3.18", meaning: "*(size *)(dst + offset) = src or imm" },
    // Atomics.
    Row { op: Op::Atomic(AtomicOp::Rmw(RmwOp::Add)), encodings: &atomic(0x00, Cpu::V1), symbol: "+=", mnemonic: "lock add", rfc: "5.3", since: "3.18", meaning: "*(dst + offset) += src" },
    Row { op: Op::Atomic(AtomicOp::Rmw(RmwOp::Or)), encodings: &atomic(0x40, Cpu::V3), symbol: "|=", mnemonic: "lock or", rfc: "5.3", since: "5.12", meaning: "*(dst + offset) |= src" },
    Row { op: Op::Atomic(AtomicOp::Rmw(RmwOp::And)), encodings: &atomic(0x50, Cpu::V3), symbol: "&=", mnemonic: "lock and", rfc: "5.3", since: "5.12", meaning: "*(dst + offset) &= src" },
    Row { op: Op::Atomic(AtomicOp::Rmw(RmwOp::Xor)), encodings: &atomic(0xa0, Cpu::V3), symbol: "^=", mnemonic: "lock xor", rfc: "5.3", since: "5.12", meaning: "*(dst + offset) ^= src" },
    Row { op: Op::Atomic(AtomicOp::Fetch(RmwOp::Add)), encodings: &atomic(FETCH, Cpu::V3), symbol: "fetch_add", mnemonic: "lock fetch add", rfc: "5.3", since: "5.12", meaning: "src = *(dst + offset), then *(dst + offset) += old src" },
    Row { op: Op::Atomic(AtomicOp::Fetch(RmwOp::Or)), encodings: &atomic(0x40 | FETCH, Cpu::V3), symbol: "fetch_or", mnemonic: "lock fetch or", rfc: "5.3", since: "5.12", meaning: "src = *(dst + offset), then *(dst + offset) |= old src" },
    Row { op: Op::Atomic(AtomicOp::Fetch(RmwOp::And)), encodings: &atomic(0x50 | FETCH, Cpu::V3), symbol: "fetch_and", mnemonic: "lock fetch and", rfc: "5.3", since: "5.12", meaning: "src = *(dst + offset), then *(dst + offset) &= old src" },
    Row { op: Op::Atomic(AtomicOp::Fetch(RmwOp::Xor)), encodings: &atomic(0xa0 | FETCH, Cpu::V3), symbol: "fetch_xor", mnemonic: "lock fetch xor", rfc: "5.3", since: "5.12", meaning: "src = *(dst + offset), then *(dst + offset) ^= old src" },
    Row { op: Op::Atomic(AtomicOp::Xchg), encodings: &atomic(0xe0 | FETCH, Cpu::V3), symbol: "xchg", mnemonic: "lock xchg", rfc: "5.3", since: "5.12", meaning: "src = *(dst + offset), then *(dst + offset) = old src" },
    Row { op: Op::Atomic(AtomicOp::Cmpxchg), encodings: &atomic(0xf0 | FETCH, Cpu::V3), symbol: "cmpxchg", mnemonic: "lock cmpxchg", rfc: "5.3", since: "5.12", meaning: "if *(dst + offset) == r0 then *(dst + offset) = src; r0 = old value" },
    Row { op: Op::LoadAcquire, encodings: &ordered(0x100), symbol: "load_acquire", mnemonic: "ldacq", rfc: "", since: "6.15", meaning: "dst = *(size *)(src + offset), zero-extended, with acquire order" },
    Row { op: Op::StoreRelease, encodings: &ordered(0x110), symbol: "store_release", mnemonic: "strel", rfc: "", since: "6.15", meaning: "*(size *)(dst + offset) = src with release order" },
];

/// The encodings that share each opcode byte, as (row, encoding) pairs.
pub(crate) fn by_opcode(opcode: u8) -> &'static [(&'static Row, &'static Encoding)] {
    type Index = Vec<Vec<(&'static Row, &'static Encoding)>>;
    static INDEX: LazyLock<Index> = LazyLock::new(|| {
        let mut index: Index = vec![Vec::new(); 256];
        for row in TABLE {
            for encoding in row.encodings {
                index[encoding.opcode as usize].push((row, encoding));
            }
        }
        index
    });
    &INDEX[opcode as usize]
}

/// The row of an operation.
pub fn row(op: Op) -> &'static Row {
    static BY_OP: LazyLock<std::collections::HashMap<Op, &'static Row>> =
        LazyLock::new(|| TABLE.iter().map(|row| (row.op, row)).collect());
    BY_OP[&op]
}
