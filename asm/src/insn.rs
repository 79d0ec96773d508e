//! The decoded instruction. Every variant says one thing; illegal combinations cannot be written
//! down or are refused by [`encode`](crate::encode()).

use std::fmt;

/// A register, `r0` to `r10`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(u8);

impl Reg {
    /// Return value of calls and programs.
    pub const R0: Reg = Reg(0);
    /// First argument.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument.
    pub const R5: Reg = Reg(5);
    /// Preserved across calls.
    pub const R6: Reg = Reg(6);
    /// Preserved across calls.
    pub const R7: Reg = Reg(7);
    /// Preserved across calls.
    pub const R8: Reg = Reg(8);
    /// Preserved across calls.
    pub const R9: Reg = Reg(9);
    /// Frame pointer, read-only.
    pub const R10: Reg = Reg(10);
    /// How many registers there are.
    pub const COUNT: usize = 11;

    /// The register with this number, if there is one.
    pub const fn new(number: u8) -> Option<Reg> {
        if (number as usize) < Reg::COUNT { Some(Reg(number)) } else { None }
    }

    /// The number, 0 to 10.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The number as an index into an array of [`Reg::COUNT`] elements.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All registers in order.
    pub fn all() -> impl Iterator<Item = Reg> {
        (0..Reg::COUNT as u8).map(Reg)
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The width of an arithmetic operation or comparison.
///
/// A 32-bit operation reads the low halves and zeroes the upper half of its destination
/// (RFC 9669, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// 32 bits: classes `ALU` and `JMP32`.
    W32,
    /// 64 bits: classes `ALU64` and `JMP`.
    W64,
}

impl Width {
    /// Both widths.
    pub const ALL: [Width; 2] = [Width::W32, Width::W64];

    /// 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }
}

/// The size of a memory access or of a swapped or extended value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    Dw,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Size; 4] = [Size::B, Size::H, Size::W, Size::Dw];

    /// 1, 2, 4 or 8.
    pub const fn bytes(self) -> u32 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::Dw => 8,
        }
    }

    /// 8, 16, 32 or 64.
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }

    /// The size with this many bits.
    pub const fn from_bits(bits: u32) -> Option<Size> {
        match bits {
            8 => Some(Size::B),
            16 => Some(Size::H),
            32 => Some(Size::W),
            64 => Some(Size::Dw),
            _ => None,
        }
    }
}

/// The second operand: a register, or an immediate that is sign-extended to the operation's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// `X`: a register.
    Reg(Reg),
    /// `K`: the 32-bit immediate.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Operand {
        Operand::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Operand {
        Operand::Imm(imm)
    }
}

/// A two-operand arithmetic operation, `dst = dst op src` (RFC 9669, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AluOp {
    /// Wrapping addition.
    Add,
    /// Wrapping subtraction.
    Sub,
    /// Wrapping multiplication.
    Mul,
    /// Unsigned division; by zero gives zero.
    Div,
    /// Signed division, rounding towards zero; by zero gives zero.
    Sdiv,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Shift left; the count is taken modulo the width.
    Lsh,
    /// Logical shift right; the count is taken modulo the width.
    Rsh,
    /// Unsigned remainder; by zero leaves the destination.
    Mod,
    /// Signed remainder with the sign of the dividend; by zero leaves the destination.
    Smod,
    /// Bitwise exclusive or.
    Xor,
    /// Copy.
    Mov,
    /// Arithmetic shift right; the count is taken modulo the width.
    Arsh,
}

impl AluOp {
    /// All operations.
    pub const ALL: [AluOp; 14] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Sdiv,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Mod,
        AluOp::Smod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Arsh,
    ];
}

/// A comparison of a conditional jump (RFC 9669, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JmpOp {
    /// `dst == src`
    Eq,
    /// `dst > src`, unsigned
    Gt,
    /// `dst >= src`, unsigned
    Ge,
    /// `dst & src != 0`
    Set,
    /// `dst != src`
    Ne,
    /// `dst > src`, signed
    Sgt,
    /// `dst >= src`, signed
    Sge,
    /// `dst < src`, unsigned
    Lt,
    /// `dst <= src`, unsigned
    Le,
    /// `dst < src`, signed
    Slt,
    /// `dst <= src`, signed
    Sle,
}

impl JmpOp {
    /// All comparisons.
    pub const ALL: [JmpOp; 11] = [
        JmpOp::Eq,
        JmpOp::Gt,
        JmpOp::Ge,
        JmpOp::Set,
        JmpOp::Ne,
        JmpOp::Sgt,
        JmpOp::Sge,
        JmpOp::Lt,
        JmpOp::Le,
        JmpOp::Slt,
        JmpOp::Sle,
    ];
}

/// What a byte-order operation does (RFC 9669, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndianOp {
    /// From host order to little endian, truncating to the size.
    ToLe,
    /// From host order to big endian, truncating to the size.
    ToBe,
    /// Unconditional swap, truncating to the size.
    Bswap,
}

impl EndianOp {
    /// All operations.
    pub const ALL: [EndianOp; 3] = [EndianOp::ToLe, EndianOp::ToBe, EndianOp::Bswap];
}

/// How an atomic read-modify-write changes memory (RFC 9669, section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RmwOp {
    /// `*addr += src`
    Add,
    /// `*addr |= src`
    Or,
    /// `*addr &= src`
    And,
    /// `*addr ^= src`
    Xor,
}

impl RmwOp {
    /// All operations.
    pub const ALL: [RmwOp; 4] = [RmwOp::Add, RmwOp::Or, RmwOp::And, RmwOp::Xor];
}

/// An atomic read-modify-write operation on 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AtomicOp {
    /// Changes memory only.
    Rmw(RmwOp),
    /// Changes memory and puts the old value, zero-extended, into `src`.
    Fetch(RmwOp),
    /// Stores `src` and puts the old value, zero-extended, into `src`.
    Xchg,
    /// Stores `src` if memory equals `r0`; puts the old value, zero-extended, into `r0`.
    Cmpxchg,
}

impl AtomicOp {
    /// All operations.
    pub const ALL: [AtomicOp; 10] = [
        AtomicOp::Rmw(RmwOp::Add),
        AtomicOp::Rmw(RmwOp::Or),
        AtomicOp::Rmw(RmwOp::And),
        AtomicOp::Rmw(RmwOp::Xor),
        AtomicOp::Fetch(RmwOp::Add),
        AtomicOp::Fetch(RmwOp::Or),
        AtomicOp::Fetch(RmwOp::And),
        AtomicOp::Fetch(RmwOp::Xor),
        AtomicOp::Xchg,
        AtomicOp::Cmpxchg,
    ];

    /// The register that receives the old value, if any, of an operation with source `src`.
    pub const fn fetches_into(self, src: Reg) -> Option<Reg> {
        match self {
            AtomicOp::Rmw(_) => None,
            AtomicOp::Fetch(_) | AtomicOp::Xchg => Some(src),
            AtomicOp::Cmpxchg => Some(Reg::R0),
        }
    }
}

/// What a 64-bit immediate load puts into its register (RFC 9669, section 5.4; Linux `BPF_PSEUDO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm64 {
    /// The value itself.
    Value(u64),
    /// `BPF_PSEUDO_MAP_FD`: the map with this file descriptor.
    MapFd(i32),
    /// `BPF_PSEUDO_MAP_VALUE`: the address of byte `offset` in the only value of the map.
    MapFdValue {
        /// File descriptor of the map.
        fd: i32,
        /// Byte offset into the value.
        offset: u32,
    },
    /// `BPF_PSEUDO_BTF_ID`: the address of a kernel variable.
    Variable {
        /// BTF id of the variable.
        btf_id: u32,
        /// File descriptor of the BTF object that has it; 0 for `vmlinux`.
        btf_fd: i32,
    },
    /// `BPF_PSEUDO_FUNC`: a function of this program, `offset` slots after the next instruction
    /// counted from the first slot, as for a local call.
    Func {
        /// Slots from the slot after the first to the function.
        offset: i32,
    },
    /// `BPF_PSEUDO_MAP_IDX`: the map at this index of the program's maps.
    MapIdx(u32),
    /// `BPF_PSEUDO_MAP_IDX_VALUE`: as [`Imm64::MapFdValue`], by index.
    MapIdxValue {
        /// Index into the program's maps.
        index: u32,
        /// Byte offset into the value.
        offset: u32,
    },
}

/// How far an unconditional jump reaches; both forms mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// Class `JMP`, 16-bit offset.
    Near,
    /// Class `JMP32` (`gotol`, cpu v4), 32-bit offset.
    Far,
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallTarget {
    /// A helper by its number.
    Helper(u32),
    /// A function of this program, `offset` slots after the next instruction.
    Local {
        /// Slots from the next instruction to the function.
        offset: i32,
    },
    /// A kernel function.
    Kfunc {
        /// BTF id of the function.
        btf_id: i32,
        /// Index into the `fd_array` for the BTF object that has it; 0 for `vmlinux`.
        btf_index: i16,
    },
    /// `callx`: the helper whose number is in the register (conformance group `callx`). Linux
    /// refuses it.
    Reg(Reg),
}

/// One instruction.
///
/// Jump offsets count slots from the instruction that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = dst op src`
    Alu {
        /// Width of operation and result.
        width: Width,
        /// The operation.
        op: AluOp,
        /// First operand and result.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = -dst`
    Neg {
        /// Width of operation and result.
        width: Width,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = (sign-extended low part of src)`, cpu v4
    Movsx {
        /// Width of the result; the upper half is zero for 32.
        width: Width,
        /// Size of the part that is extended: 8 or 16 bits, or 32 when the width is 64.
        from: Size,
        /// Result.
        dst: Reg,
        /// Register whose low part is taken.
        src: Reg,
    },
    /// Byte-order conversion in place; bytes above the size become zero.
    Endian {
        /// Which conversion.
        op: EndianOp,
        /// 16, 32 or 64 bits.
        size: Size,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = addr_space_cast(src)`: converts a pointer between address spaces (Linux 6.9, arenas).
    AddrSpaceCast {
        /// Result.
        dst: Reg,
        /// Pointer.
        src: Reg,
        /// Address space of the result; 0 or 1.
        to: u16,
        /// Address space of the operand; 0 or 1.
        from: u16,
    },
    /// Loads a 64-bit immediate, a map or an address. Takes two slots.
    LoadImm {
        /// Result.
        dst: Reg,
        /// What is loaded.
        value: Imm64,
    },
    /// `dst = *(size *)(base + offset)`, zero-extended
    Load {
        /// Size of the access.
        size: Size,
        /// Result.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
    },
    /// `dst = *(signed size *)(base + offset)`, sign-extended to 64 bits, cpu v4
    LoadSx {
        /// Size of the access: 1, 2 or 4 bytes.
        size: Size,
        /// Result.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
    },
    /// `*(size *)(base + offset) = src`
    Store {
        /// Size of the access.
        size: Size,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
        /// What is stored; an immediate is sign-extended, then truncated to the size.
        src: Operand,
    },
    /// An atomic read-modify-write at `base + offset`.
    Atomic {
        /// The operation.
        op: AtomicOp,
        /// 4 or 8 bytes.
        size: Size,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
        /// Operand, and result of a fetch.
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + offset))`, zero-extended (Linux 6.15)
    LoadAcquire {
        /// Size of the access.
        size: Size,
        /// Result.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
    },
    /// `store_release((size *)(base + offset), src)` (Linux 6.15)
    StoreRelease {
        /// Size of the access.
        size: Size,
        /// Address register.
        base: Reg,
        /// Added to the address.
        offset: i16,
        /// What is stored.
        src: Reg,
    },
    /// `r0 = ntoh(packet[offset])`: legacy packet load at an absolute offset (conformance group
    /// `packet`). Needs the context in `r6`; out of range returns 0 from the function.
    LoadAbs {
        /// 1, 2 or 4 bytes.
        size: Size,
        /// Byte offset into the packet, or a negative `SKF_*` offset.
        offset: i32,
    },
    /// As [`Insn::LoadAbs`] at `index + offset`.
    LoadInd {
        /// 1, 2 or 4 bytes.
        size: Size,
        /// Register added to the offset.
        index: Reg,
        /// Byte offset.
        offset: i32,
    },
    /// Unconditional jump.
    Jump {
        /// Which of the two encodings.
        reach: Reach,
        /// Slots from the next instruction.
        offset: i32,
    },
    /// Jumps if the comparison holds.
    JumpIf {
        /// Width of the comparison.
        width: Width,
        /// The comparison.
        op: JmpOp,
        /// Left side.
        dst: Reg,
        /// Right side.
        src: Operand,
        /// Slots from the next instruction.
        offset: i16,
    },
    /// Goes on for a bounded number of times, then jumps (Linux 6.9, `BPF_JCOND`).
    MayGoto {
        /// Slots from the next instruction.
        offset: i16,
    },
    /// Calls a helper, a local function or a kernel function.
    Call {
        /// What is called.
        target: CallTarget,
    },
    /// Returns from the function or ends the program.
    Exit,
}

impl Insn {
    /// How many slots the instruction takes: 2 for [`Insn::LoadImm`], otherwise 1.
    pub const fn slots(&self) -> usize {
        if let Insn::LoadImm { .. } = self { 2 } else { 1 }
    }

    /// The offset of a jump, in slots from the next instruction; none for calls.
    pub const fn jump_offset(&self) -> Option<i32> {
        match *self {
            Insn::Jump { offset, .. } => Some(offset),
            Insn::JumpIf { offset, .. } | Insn::MayGoto { offset } => Some(offset as i32),
            _ => None,
        }
    }

    /// The offset of a function of this program that the instruction names: the callee of a local
    /// call or the function whose address is loaded. Slots from `pc + 1` in both cases.
    pub const fn function_offset(&self) -> Option<i32> {
        match *self {
            Insn::Call { target: CallTarget::Local { offset } }
            | Insn::LoadImm { value: Imm64::Func { offset }, .. } => Some(offset),
            _ => None,
        }
    }

    /// The register that the instruction names and writes; calls and legacy loads name none.
    pub const fn written(&self) -> Option<Reg> {
        match *self {
            Insn::Alu { dst, .. }
            | Insn::Neg { dst, .. }
            | Insn::Movsx { dst, .. }
            | Insn::Endian { dst, .. }
            | Insn::AddrSpaceCast { dst, .. }
            | Insn::LoadImm { dst, .. }
            | Insn::Load { dst, .. }
            | Insn::LoadSx { dst, .. }
            | Insn::LoadAcquire { dst, .. } => Some(dst),
            Insn::Atomic { op, src, .. } => op.fetches_into(src),
            _ => None,
        }
    }

    /// The same instruction with another jump or function offset; none if it names no place of the
    /// program or the offset does not fit its field.
    pub fn retarget(self, to: i32) -> Option<Insn> {
        let near = i16::try_from(to).ok();
        Some(match self {
            Insn::Jump { reach: Reach::Near, .. } => {
                Insn::Jump { reach: Reach::Near, offset: near?.into() }
            }
            Insn::Jump { reach: Reach::Far, .. } => Insn::Jump { reach: Reach::Far, offset: to },
            Insn::JumpIf { width, op, dst, src, .. } => {
                Insn::JumpIf { width, op, dst, src, offset: near? }
            }
            Insn::MayGoto { .. } => Insn::MayGoto { offset: near? },
            Insn::Call { target: CallTarget::Local { .. } } => {
                Insn::Call { target: CallTarget::Local { offset: to } }
            }
            Insn::LoadImm { dst, value: Imm64::Func { .. } } => {
                Insn::LoadImm { dst, value: Imm64::Func { offset: to } }
            }
            _ => return None,
        })
    }

    /// Whether control can never reach the next instruction from here.
    pub const fn ends_block(&self) -> bool {
        matches!(self, Insn::Exit | Insn::Jump { .. })
    }
}
