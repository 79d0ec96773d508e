//! Values of registers, as far as they do not depend on where memory lies.

use ebpfvm_asm::{AluOp, JmpOp, Width, semantics};

/// What a pointer points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The memory that the program was given.
    Memory,
    /// A stack frame: the number of the function's entry, which no other frame of the run has.
    Frame(u64),
}

/// A pointer whose numeric value nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// What it points into.
    pub region: Region,
    /// Bytes from the first byte of the region, wrapping.
    pub offset: u64,
}

/// The value of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The same number on every run.
    Number(u64),
    /// An address.
    Pointer(Pointer),
    /// A number that depends on addresses.
    Unknown,
}

/// Offsets up to here are so close to the start of a region that no address between wraps.
const NEAR_BYTES: u64 = 1 << 16;

impl Value {
    /// The number, if it is one.
    pub fn number(self) -> Option<u64> {
        if let Value::Number(number) = self { Some(number) } else { None }
    }

    /// Applies an operation to a number; what becomes of an address is unknown.
    pub fn map(self, f: impl FnOnce(u64) -> u64) -> Value {
        self.number().map_or(Value::Unknown, |number| Value::Number(f(number)))
    }

    /// `self op src`
    pub fn alu(self, width: Width, op: AluOp, src: Value) -> Value {
        use Value::{Number, Pointer};
        match (width, op, self, src) {
            (_, _, Number(dst), Number(src)) => Number(semantics::alu(width, op, dst, src)),
            (_, AluOp::Mov, _, Number(src)) => Number(semantics::alu(width, op, 0, src)),
            (Width::W64, AluOp::Mov, _, src) => src,
            (Width::W64, AluOp::Add, Pointer(p), Number(n))
            | (Width::W64, AluOp::Add, Number(n), Pointer(p)) => p.moved(n),
            (Width::W64, AluOp::Sub, Pointer(p), Number(n)) => p.moved(n.wrapping_neg()),
            (Width::W64, AluOp::Sub, Pointer(p), Pointer(q)) if p.region == q.region => {
                Number(p.offset.wrapping_sub(q.offset))
            }
            _ => Value::Unknown,
        }
    }

    /// Whether the comparison holds; none if that depends on addresses.
    pub fn compare(self, width: Width, op: JmpOp, src: Value) -> Option<bool> {
        match (width, self, src) {
            (_, Value::Number(dst), Value::Number(src)) => {
                Some(semantics::jump(width, op, dst, src))
            }
            (Width::W64, Value::Pointer(p), Value::Pointer(q)) if p.region == q.region => {
                let exact = matches!(op, JmpOp::Eq | JmpOp::Ne);
                let ordered = op != JmpOp::Set && p.is_near() && q.is_near();
                (exact || ordered).then(|| semantics::jump(width, op, p.offset, q.offset))
            }
            (Width::W64, Value::Pointer(p), Value::Number(0)) if p.is_near() => match op {
                JmpOp::Eq => Some(false),
                JmpOp::Ne => Some(true),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Pointer {
    /// The pointer this many bytes on.
    pub fn moved(self, bytes: u64) -> Value {
        Value::Pointer(Pointer { offset: self.offset.wrapping_add(bytes), ..self })
    }

    fn is_near(self) -> bool {
        self.offset <= NEAR_BYTES
    }
}
