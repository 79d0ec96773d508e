//! The form between a program and machine code: blocks of operations on registers.
//!
//! Registers are the eleven of the language and a few [spare](Reg::is_spare) ones, all of them host
//! registers in the end: there is no allocation. Operations are what common processors have (three
//! operands, addresses with an index, selects), so that a pass can join instructions; a target that
//! lacks one emits several machine instructions for it.
//!
//! Invariant: a block's operations have no control flow; where it goes on is its [`End`]. Every
//! operation knows the instruction that it comes from, for traps and source lines.

mod effect;
#[cfg(test)]
pub(crate) mod eval;
mod found;
pub mod graph;
pub mod live;
mod print;
pub(crate) mod row;

use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Pc, Size, Width};
pub(crate) use effect::loaded;
pub use found::Found;

/// A register of the program or a spare one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(u8);

impl Reg {
    /// Result of calls and of the program.
    pub const R0: Reg = Reg(0);
    /// First argument.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Frame pointer.
    pub const FP: Reg = Reg(10);
    /// A spare register that calls overwrite. Passes may use it between two calls; programs whose
    /// fuel is counted do not have it.
    pub const SPARE: Reg = Reg(11);
    /// How many there are.
    pub const COUNT: usize = 12;

    /// The register with this number, below [`Reg::COUNT`].
    pub const fn new(number: u8) -> Reg {
        assert!((number as usize) < Reg::COUNT);
        Reg(number)
    }

    /// Its number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether it is none of the program's.
    pub const fn is_spare(self) -> bool {
        self.0 > 10
    }
}

impl From<ebpfvm_asm::Reg> for Reg {
    fn from(reg: ebpfvm_asm::Reg) -> Reg {
        Reg(reg.number())
    }
}

impl std::fmt::Debug for Reg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_spare() {
            true => write!(f, "s{}", self.0 - 11),
            false => write!(f, "r{}", self.0),
        }
    }
}

/// A set of registers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RegSet(pub u16);

impl RegSet {
    /// No register.
    pub const NONE: RegSet = RegSet(0);
    /// What a call may overwrite: its arguments, its result and the spare register.
    pub const CALL: RegSet = RegSet(0b1000_0011_1111);
    /// What arguments are in.
    pub const ARGS: RegSet = RegSet(0b11_1110);
    /// What a function keeps for its caller: `r6` to `r9`.
    pub const KEPT: RegSet = RegSet(0b11_1100_0000);

    /// A set of one.
    pub const fn of(reg: Reg) -> RegSet {
        RegSet(1 << reg.0)
    }

    /// Whether the register is in it.
    pub const fn has(self, reg: Reg) -> bool {
        self.0 & 1 << reg.0 != 0
    }

    /// With another one.
    pub fn with(self, reg: Reg) -> RegSet {
        self | RegSet::of(reg)
    }

    /// What is in this set but not in the other.
    pub fn without(self, other: RegSet) -> RegSet {
        RegSet(self.0 & !other.0)
    }

    /// Its registers, in order.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let number = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (number < u16::BITS).then_some(Reg(number as u8))
        })
    }
}

impl std::ops::BitOr for RegSet {
    type Output = RegSet;
    fn bitor(self, other: RegSet) -> RegSet {
        RegSet(self.0 | other.0)
    }
}

impl std::ops::BitAnd for RegSet {
    type Output = RegSet;
    fn bitand(self, other: RegSet) -> RegSet {
        RegSet(self.0 & other.0)
    }
}

impl std::ops::BitOrAssign for RegSet {
    fn bitor_assign(&mut self, other: RegSet) {
        self.0 |= other.0;
    }
}

impl std::fmt::Debug for RegSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// An operand: a register, or an immediate that is sign-extended to the operation's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate.
    Imm(i32),
}

impl From<ebpfvm_asm::Operand> for Operand {
    fn from(operand: ebpfvm_asm::Operand) -> Operand {
        match operand {
            ebpfvm_asm::Operand::Reg(reg) => Operand::Reg(reg.into()),
            ebpfvm_asm::Operand::Imm(imm) => Operand::Imm(imm),
        }
    }
}

/// `base + (index << scale) + offset`, wrapping at 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The base.
    pub base: Reg,
    /// A second register and how far it is shifted: 0 to 3.
    pub index: Option<(Reg, u8)>,
    /// What is added.
    pub offset: i32,
}

impl Address {
    /// `base + offset`
    pub const fn new(base: Reg, offset: i32) -> Address {
        Address { base, index: None, offset }
    }

    /// The registers in it.
    pub fn uses(self) -> RegSet {
        let base = RegSet::of(self.base);
        self.index.map_or(base, |(index, _)| base.with(index))
    }
}

/// What is done with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// As the language has it; never [`AluOp::Mov`], which is [`Op::Move`].
    Alu(AluOp),
    /// Rotates to the left; the count is taken modulo the width.
    Rotl,
    /// The upper half of the product, unsigned; of the width's two halves, so of 64 or 128 bits.
    MulHigh,
    /// The same, signed.
    SmulHigh,
    /// `lhs & !rhs`
    AndNot,
}

/// Whether a narrow value is filled up with zeros or with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// The sign, up to this width; above it there are zeros.
    Sign(Width),
}

/// Whether and how an access is compared with the memory of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// Not at all: the verifier, or a check before, has seen that it is inside.
    None,
    /// With the packet or plain memory first.
    Window,
    /// With the current stack frame first.
    Frame,
    /// With the region found last first.
    Last,
    /// The base is the context of the run, or else as [`Check::Last`]; the host has the field at this
    /// offset of its own layout, with this size.
    Context {
        /// Offset in bytes from the base in the host's layout.
        offset: u16,
        /// The host's size of the field.
        size: Size,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cond {
    /// Which.
    pub op: JmpOp,
    /// The width that is compared. 8 and 16 bits only with memory on the left.
    pub size: Size,
    /// Left side.
    pub lhs: Place,
    /// Right side.
    pub rhs: Operand,
}

/// A register or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register.
    Reg(Reg),
    /// Memory, which is accessed without a check.
    Memory(Address),
}

impl Cond {
    /// The registers that it reads.
    pub fn uses(self) -> RegSet {
        let lhs = match self.lhs {
            Place::Reg(reg) => RegSet::of(reg),
            Place::Memory(at) => at.uses(),
        };
        lhs | self.rhs.uses()
    }
}

impl Operand {
    /// The register that it reads.
    pub fn uses(self) -> RegSet {
        match self {
            Operand::Reg(reg) => RegSet::of(reg),
            Operand::Imm(_) => RegSet::NONE,
        }
    }
}

/// An operation. Results of 32 bits zero the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing.
    Nop,
    /// `dst = value`
    Const {
        /// Result.
        dst: Reg,
        /// The value.
        value: u64,
    },
    /// `dst = src`
    Move {
        /// Width of both.
        width: Width,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = low part of src`, filled up.
    Extend {
        /// The size of the part.
        size: Size,
        /// With what.
        fill: Fill,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = bytes of the low part of src, swapped`, filled up with zeros.
    Swap {
        /// The size of the part: 2, 4 or 8 bytes.
        size: Size,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = -src`
    Neg {
        /// Width of both.
        width: Width,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = (src >> shift) & ((1 << bits) - 1)`
    Bits {
        /// Number of the lowest bit that is taken.
        shift: u8,
        /// How many are taken, at least 1; `shift + bits` is at most 64.
        bits: u8,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = lhs op rhs`
    Binary {
        /// The operation.
        op: Binary,
        /// Width of all.
        width: Width,
        /// Result.
        dst: Reg,
        /// Left side.
        lhs: Reg,
        /// Right side.
        rhs: Operand,
    },
    /// `dst = lhs op *at`, an operation that is no division or shift.
    BinaryLoad {
        /// The operation.
        op: Binary,
        /// Width of all.
        width: Width,
        /// Result.
        dst: Reg,
        /// Left side.
        lhs: Reg,
        /// Right side, in memory.
        at: Address,
    },
    /// `*at = *at op rhs`, not atomic: an addition, subtraction, and, or, xor.
    Update {
        /// The operation.
        op: Binary,
        /// Size in memory.
        size: Size,
        /// Left side and result.
        at: Address,
        /// Right side.
        rhs: Operand,
    },
    /// `dst = at`, the address itself.
    Lea {
        /// Width of the result.
        width: Width,
        /// Result.
        dst: Reg,
        /// The address.
        at: Address,
    },
    /// `dst = *at`, filled up.
    Load {
        /// Size in memory.
        size: Size,
        /// How it is filled up.
        fill: Fill,
        /// Whether the bytes are swapped before; zeros are filled up then.
        swap: bool,
        /// The check that it needs.
        check: Check,
        /// Result.
        dst: Reg,
        /// Where.
        at: Address,
    },
    /// `*at = low part of src`
    Store {
        /// Size in memory.
        size: Size,
        /// Whether the bytes are swapped before.
        swap: bool,
        /// The check that it needs.
        check: Check,
        /// What is stored.
        src: Operand,
        /// Where.
        at: Address,
    },
    /// An atomic operation on memory (RFC 9669, section 5.3).
    Atomic {
        /// The operation.
        op: AtomicOp,
        /// 4 or 8 bytes.
        size: Size,
        /// The check that it needs.
        check: Check,
        /// Operand, and result of a fetch; compare-and-exchange has `r0` too.
        src: Reg,
        /// Where.
        at: Address,
    },
    /// `dst = load_acquire(at)`, filled up with zeros.
    LoadAcquire {
        /// Size in memory.
        size: Size,
        /// The check that it needs.
        check: Check,
        /// Result.
        dst: Reg,
        /// Where.
        at: Address,
    },
    /// `store_release(at, src)`
    StoreRelease {
        /// Size in memory.
        size: Size,
        /// The check that it needs.
        check: Check,
        /// What is stored.
        src: Reg,
        /// Where.
        at: Address,
    },
    /// `dst = if cond { then } else { other }`, whole registers.
    Select {
        /// The condition.
        cond: Cond,
        /// Result.
        dst: Reg,
        /// The result if the condition holds.
        then: Reg,
        /// The result if it does not.
        other: Reg,
    },
    /// A legacy packet load into `r0`; out of range the function returns 0.
    Packet {
        /// 1, 2 or 4 bytes.
        size: Size,
        /// Added to the offset.
        index: Option<Reg>,
        /// The offset.
        offset: i32,
    },
    /// A call that is not one of a function of the program, number so many of
    /// [`Unit::callees`].
    Call {
        /// The number.
        callee: u32,
    },
    /// Calls a function of the program.
    CallLocal {
        /// Its number.
        function: u32,
    },
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Goes on with a block.
    Jump(Edge),
    /// Goes on with the first if the condition holds, otherwise with the second.
    Branch {
        /// The condition.
        cond: Cond,
        /// Where it holds.
        then: Edge,
        /// Where it does not.
        other: Edge,
    },
    /// Goes on with the second block for a bounded number of times, then with the first.
    MayGoto {
        /// When the number is reached.
        then: Edge,
        /// Before.
        other: Edge,
    },
    /// Returns `r0` from the function.
    Exit,
    /// Stops the run: control has run over the end, or the verifier has seen that it cannot come here.
    FellOff,
}

/// A way from one block to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The number of the block.
    pub to: u32,
    /// What going there costs: 0 unless it goes back.
    pub cost: u32,
}

impl End {
    /// The edges.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + use<> {
        let (first, second) = match *self {
            End::Jump(edge) => (Some(edge), None),
            End::Branch { then, other, .. } | End::MayGoto { then, other } => {
                (Some(then), Some(other))
            }
            End::Exit | End::FellOff => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The edges, to change them.
    pub fn edges_mut(&mut self) -> impl Iterator<Item = &mut Edge> {
        let (first, second) = match self {
            End::Jump(edge) => (Some(edge), None),
            End::Branch { then, other, .. } | End::MayGoto { then, other } => {
                (Some(then), Some(other))
            }
            End::Exit | End::FellOff => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// An operation with the instruction that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inst {
    /// The operation.
    pub op: Op,
    /// The instruction; of several that were joined the one that can trap, or else the first.
    pub pc: Pc,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The instruction that it begins with.
    pub start: Pc,
    /// What it does.
    pub insts: Vec<Inst>,
    /// Where it goes on.
    pub end: End,
    /// The instruction that its end comes from.
    pub end_pc: Pc,
    /// Ranges of memory that are checked before the block; if one is not inside, the run goes on with
    /// the block `otherwise`, which does the same with checks of each access.
    pub guards: Vec<Guard>,
    /// See there.
    pub otherwise: u32,
}

/// A range of memory that is checked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its first byte.
    pub at: Address,
    /// Its length in bytes.
    pub bytes: u32,
    /// Whether it is written.
    pub writes: bool,
    /// The region that it is compared with: window, frame or last.
    pub check: Check,
}

/// A function of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its first instruction.
    pub start: Pc,
    /// Its first block.
    pub entry: u32,
    /// What a call of it costs.
    pub cost: u32,
    /// Bytes of its stack frame that it can reach, a multiple of 8; they are zero when it begins.
    pub stack_bytes: u32,
    /// Whether it may be called by a helper.
    pub is_callback: bool,
}

/// A program, function after function; the first is the entry. How its blocks are kept depends on
/// who needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit<B = Vec<Block>> {
    /// The functions, in the order of their instructions.
    pub functions: Vec<Function>,
    /// The blocks of all functions, those of a function together and in its order. Blocks that passes
    /// add come last.
    pub blocks: B,
    /// What calls call.
    pub callees: Vec<crate::link::Callee>,
    /// Control may go from one function into another other than by a call (unverified programs): all
    /// functions then keep the same registers, and have whole frames.
    pub crosses: bool,
    /// Memory accesses are checked, and registers have defined values where the language leaves them
    /// open: zero at the entry, the arguments' after a helper.
    pub is_checked: bool,
    /// What passes share about it.
    pub found: Found,
}
