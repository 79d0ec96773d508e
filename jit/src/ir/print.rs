//! Units as text, for people and for tests: one operation a line, in the manner of the language.

use super::{Address, Binary, Block, Check, Cond, Edge, End, Fill, Op, Operand, Place, Reg, Unit};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, RmwOp, Size, Width};
use std::fmt::{Display, Formatter, Result};

/// A register at a width: `w1` are the lower 32 bits of `r1`.
struct At(Width, Reg);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match (self.0, self.1.is_spare()) {
            (Width::W64, _) => write!(f, "{:?}", self.1),
            (Width::W32, false) => write!(f, "w{}", self.1.index()),
            (Width::W32, true) => write!(f, "{:?}w", self.1),
        }
    }
}

/// An operand at a width.
struct OperandAt(Width, Operand);

impl Display for OperandAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.1 {
            Operand::Reg(reg) => At(self.0, reg).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

/// An access: its size, whether it is filled up with the sign, and where.
struct Access(char, Size, Address);

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "*({}{} *)({})", self.0, self.1.bits(), self.2)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:?}", self.base)?;
        match self.index {
            Some((index, 0)) => write!(f, " + {index:?}")?,
            Some((index, scale)) => write!(f, " + {}*{index:?}", 1 << scale)?,
            None => {}
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        match self.offset {
            0 => Ok(()),
            offset => write!(f, " {sign} {}", offset.unsigned_abs()),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Binary::Alu(AluOp::Add) => "+",
            Binary::Alu(AluOp::Sub) => "-",
            Binary::Alu(AluOp::Mul) => "*",
            Binary::Alu(AluOp::Div) => "/",
            Binary::Alu(AluOp::Sdiv) => "s/",
            Binary::Alu(AluOp::Or) => "|",
            Binary::Alu(AluOp::And) => "&",
            Binary::Alu(AluOp::Lsh) => "<<",
            Binary::Alu(AluOp::Rsh) => ">>",
            Binary::Alu(AluOp::Mod) => "%",
            Binary::Alu(AluOp::Smod) => "s%",
            Binary::Alu(AluOp::Xor) => "^",
            Binary::Alu(AluOp::Mov) => "=",
            Binary::Alu(AluOp::Arsh) => "s>>",
            Binary::Rotl => "rotl",
            Binary::MulHigh => "mulhigh",
            Binary::SmulHigh => "smulhigh",
            Binary::AndNot => "& ~",
        })
    }
}

impl Display for Cond {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let op = match self.op {
            JmpOp::Eq => "==",
            JmpOp::Gt => ">",
            JmpOp::Ge => ">=",
            JmpOp::Set => "&",
            JmpOp::Ne => "!=",
            JmpOp::Sgt => "s>",
            JmpOp::Sge => "s>=",
            JmpOp::Lt => "<",
            JmpOp::Le => "<=",
            JmpOp::Slt => "s<",
            JmpOp::Sle => "s<=",
        };
        let width = if self.size == Size::Dw { Width::W64 } else { Width::W32 };
        match self.lhs {
            Place::Reg(reg) => At(width, reg).fmt(f)?,
            Place::Memory(at) => Access('u', self.size, at).fmt(f)?,
        }
        write!(f, " {op} {}", OperandAt(width, self.rhs))
    }
}

/// The width and the sign of a filled-up value.
fn filled(fill: Fill) -> (Width, char) {
    match fill {
        Fill::Zero => (Width::W64, 'u'),
        Fill::Sign(width) => (width, 's'),
    }
}

fn number(f: &mut Formatter<'_>, value: u64) -> Result {
    match i32::try_from(value as i64) {
        Ok(small) => small.fmt(f),
        Err(_) => write!(f, "{value:#x}"),
    }
}

impl Op {
    fn check(&self) -> Check {
        match *self {
            Op::Load { check, .. }
            | Op::Store { check, .. }
            | Op::Atomic { check, .. }
            | Op::LoadAcquire { check, .. }
            | Op::StoreRelease { check, .. } => check,
            _ => Check::None,
        }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let full = |size: Size| if size == Size::Dw { Width::W64 } else { Width::W32 };
        match *self {
            Op::Nop => write!(f, "nop"),
            Op::Const { dst, value } => {
                write!(f, "{dst:?} = ")?;
                number(f, value)
            }
            Op::Move { width, dst, src } => write!(f, "{} = {}", At(width, dst), At(width, src)),
            Op::Extend { size, fill, dst, src } => {
                let (width, sign) = filled(fill);
                write!(f, "{} = ({sign}{}) {src:?}", At(width, dst), size.bits())
            }
            Op::Swap { size, dst, src } => write!(f, "{dst:?} = bswap{} {src:?}", size.bits()),
            Op::Neg { width, dst, src } => write!(f, "{} = -{}", At(width, dst), At(width, src)),
            Op::Bits { shift, bits, dst, src } => {
                write!(f, "{dst:?} = bits {shift}..{} of {src:?}", shift + bits)
            }
            Op::Binary { op, width, dst, lhs, rhs } => {
                write!(f, "{} = {} {op} {}", At(width, dst), At(width, lhs), OperandAt(width, rhs))
            }
            Op::BinaryLoad { op, width, dst, lhs, at } => {
                let size = if width == Width::W32 { Size::W } else { Size::Dw };
                let access = Access('u', size, at);
                write!(f, "{} = {} {op} {access}", At(width, dst), At(width, lhs))
            }
            Op::Update { op, size, at, rhs } => {
                write!(f, "{} {op}= {}", Access('u', size, at), OperandAt(full(size), rhs))
            }
            Op::Lea { width, dst, at } => write!(f, "{} = &({at})", At(width, dst)),
            Op::Load { size, fill, swap, dst, at, .. } => {
                let (width, sign) = filled(fill);
                let swap = if swap { "bswap " } else { "" };
                write!(f, "{} = {swap}{}", At(width, dst), Access(sign, size, at))
            }
            Op::Store { size, swap, src, at, .. } => {
                let swap = if swap { "bswap " } else { "" };
                write!(f, "{} = {swap}{}", Access('u', size, at), OperandAt(full(size), src))
            }
            Op::Atomic { op, size, src, at, .. } => {
                let (name, fetched) = match op {
                    AtomicOp::Rmw(op) => (rmw(op), None),
                    AtomicOp::Fetch(op) => (rmw(op), Some(src)),
                    AtomicOp::Xchg => ("xchg", Some(src)),
                    AtomicOp::Cmpxchg => ("cmpxchg r0,", Some(Reg::R0)),
                };
                if let Some(dst) = fetched {
                    write!(f, "{} = fetch ", At(full(size), dst))?;
                }
                write!(f, "lock {} {name} {}", Access('u', size, at), At(full(size), src))
            }
            Op::LoadAcquire { size, dst, at, .. } => {
                write!(f, "{dst:?} = acquire {}", Access('u', size, at))
            }
            Op::StoreRelease { size, src, at, .. } => {
                write!(f, "release {} = {}", Access('u', size, at), At(full(size), src))
            }
            Op::Select { cond, dst, then, other } => {
                write!(f, "{dst:?} = if {cond} then {then:?} else {other:?}")
            }
            Op::Packet { size, index, offset } => {
                write!(f, "r0 = packet u{} at ", size.bits())?;
                match index {
                    Some(index) => write!(f, "{}", Address::new(index, offset)),
                    None => write!(f, "{offset}"),
                }
            }
            Op::Call { callee } => write!(f, "call callee {callee}"),
            Op::CallLocal { function } => write!(f, "call function {function}"),
        }?;
        match self.check() {
            Check::None => Ok(()),
            Check::Window => write!(f, " ; window"),
            Check::Frame => write!(f, " ; frame"),
            Check::Last => write!(f, " ; last"),
            Check::Context { offset, size } => {
                write!(f, " ; context + {offset}, {} bytes", size.bytes())
            }
        }
    }
}

fn rmw(op: RmwOp) -> &'static str {
    match op {
        RmwOp::Add => "+=",
        RmwOp::Or => "|=",
        RmwOp::And => "&=",
        RmwOp::Xor => "^=",
    }
}

impl Display for Edge {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.cost {
            0 => write!(f, "b{}", self.to),
            cost => write!(f, "b{} (cost {cost})", self.to),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            End::Jump(edge) => write!(f, "goto {edge}"),
            End::Branch { cond, then, other } => write!(f, "if {cond} goto {then} else {other}"),
            End::MayGoto { then, other } => write!(f, "may_goto {then} else {other}"),
            End::Exit => write!(f, "exit"),
            End::FellOff => write!(f, "stop"),
        }
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for guard in &self.guards {
            let access = if guard.writes { "written" } else { "read" };
            let Block { otherwise, .. } = self;
            writeln!(
                f,
                "  guard {} bytes at {}, {access}, else b{otherwise}",
                guard.bytes, guard.at
            )?;
        }
        for inst in &self.insts {
            writeln!(f, "  {}", inst.op)?;
        }
        writeln!(f, "  {}", self.end)
    }
}

impl Display for Unit {
    /// Functions are named before their first block.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut entries: Vec<(u32, usize)> =
            self.functions.iter().enumerate().map(|(number, f)| (f.entry, number)).collect();
        entries.sort_unstable();
        let mut entries = entries.into_iter().peekable();
        for (number, block) in self.blocks.iter().enumerate() {
            while let Some((_, function)) = entries.next_if(|(entry, _)| *entry as usize == number)
            {
                writeln!(f, "function {function}:")?;
            }
            write!(f, "b{number}: ; {}\n{block}", block.start)?;
        }
        Ok(())
    }
}
