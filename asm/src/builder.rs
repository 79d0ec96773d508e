//! A program written in Rust: one method an instruction, labels instead of offsets.
//!
//! ```
//! use ebpfvm_asm::{Builder, JmpOp, Reg, Size, Width};
//!
//! let mut b = Builder::new();
//! let done = b.new_label();
//! b.mov(Reg::R0, 1)
//!     .load(Size::W, Reg::R2, Reg::R1, 0)
//!     .jump_if(Width::W64, JmpOp::Eq, Reg::R2, 7, done)
//!     .mov(Reg::R0, 0)
//!     .label(done)
//!     .exit();
//! let code = b.build()?;
//! assert_eq!(code.len(), 5);
//! # Ok::<(), ebpfvm_asm::BuildError>(())
//! ```
//!
//! The methods do not check anything; [`Builder::build`] does, once, and names the instruction.

use crate::code::{Code, Pc};
use crate::encode::{EncodeError, encode};
use crate::insn::{
    AluOp, AtomicOp, CallTarget, EndianOp, Imm64, Insn, JmpOp, Operand, Reach, Reg, Size, Width,
};

/// A place in a program under construction, made by [`Builder::new_label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(u32);

/// Where a jump, a local call or a function address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A place that is or will be marked by [`Builder::label`].
    Label(Label),
    /// Slots from the next instruction.
    Offset(i32),
}

impl From<Label> for Target {
    fn from(label: Label) -> Target {
        Target::Label(label)
    }
}

impl From<i32> for Target {
    fn from(offset: i32) -> Target {
        Target::Offset(offset)
    }
}

/// Why a program cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A label is used that marks no place.
    #[error("instruction {pc}: label {} is used but marks no place", label.0)]
    Unplaced {
        /// The label.
        label: Label,
        /// The first instruction that uses it.
        pc: Pc,
    },
    /// A label marks two places.
    #[error("label {} marks both instruction {first} and instruction {second}", label.0)]
    PlacedTwice {
        /// The label.
        label: Label,
        /// The place marked first.
        first: Pc,
        /// The place marked second.
        second: Pc,
    },
    /// The way to the target does not fit the offset field.
    #[error("instruction {pc}: a jump over {offset} slots does not fit its 16-bit offset")]
    TooFar {
        /// The instruction.
        pc: Pc,
        /// Slots from the next instruction to the target.
        offset: i64,
    },
    /// A target is given to an instruction that leads nowhere.
    #[error("instruction {pc} takes no target: `{insn}`")]
    NoTarget {
        /// The instruction's place.
        pc: Pc,
        /// The instruction.
        insn: Insn,
    },
    /// An instruction has no encoding.
    #[error("instruction {pc}: {error}")]
    Encode {
        /// The instruction's place.
        pc: Pc,
        /// Why.
        error: EncodeError,
    },
}

impl BuildError {
    /// The instruction at fault; of a label that marks two places, the second place.
    pub const fn pc(&self) -> Pc {
        match *self {
            BuildError::Unplaced { pc, .. }
            | BuildError::TooFar { pc, .. }
            | BuildError::NoTarget { pc, .. }
            | BuildError::Encode { pc, .. } => pc,
            BuildError::PlacedTwice { second, .. } => second,
        }
    }
}

/// A program under construction.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    code: Code,
    places: Vec<Option<Pc>>,
    fixups: Vec<(Pc, Target)>,
    /// The first label that was placed twice.
    placed_twice: Option<BuildError>,
}

impl Builder {
    /// An empty program.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The position that the next instruction gets.
    pub fn pc(&self) -> Pc {
        Pc(self.code.len() as u32)
    }

    /// Makes a label that marks no place yet.
    pub fn new_label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() as u32 - 1)
    }

    /// The position that a label marks, if it marks one yet.
    pub fn place_of(&self, label: Label) -> Option<Pc> {
        self.places.get(label.0 as usize).copied().flatten()
    }

    /// Marks the position of the next instruction with `label`.
    ///
    /// # Panics
    /// If another builder made the label.
    pub fn label(&mut self, label: Label) -> &mut Builder {
        self.place_at(label, self.pc())
    }

    /// Marks a position with `label`.
    pub(crate) fn place_at(&mut self, label: Label, second: Pc) -> &mut Builder {
        let place = &mut self.places[label.0 as usize];
        match *place {
            None => *place = Some(second),
            Some(first) => {
                self.placed_twice.get_or_insert(BuildError::PlacedTwice { label, first, second });
            }
        }
        self
    }

    /// Appends an instruction as it is.
    pub fn insn(&mut self, insn: Insn) -> &mut Builder {
        self.code.push(insn);
        self
    }

    /// Appends a jump, local call or function address whose offset [`Builder::build`] fills in.
    pub fn insn_to(&mut self, insn: Insn, to: impl Into<Target>) -> &mut Builder {
        let pc = self.code.push(insn);
        self.fixups.push((pc, to.into()));
        self
    }

    /// `dst op= src`
    pub fn alu(
        &mut self,
        width: Width,
        op: AluOp,
        dst: Reg,
        src: impl Into<Operand>,
    ) -> &mut Builder {
        self.insn(Insn::Alu { width, op, dst, src: src.into() })
    }

    /// `dst = src`, 64 bits
    pub fn mov(&mut self, dst: Reg, src: impl Into<Operand>) -> &mut Builder {
        self.alu(Width::W64, AluOp::Mov, dst, src)
    }

    /// `dst = src`, 32 bits; the upper half becomes zero
    pub fn mov32(&mut self, dst: Reg, src: impl Into<Operand>) -> &mut Builder {
        self.alu(Width::W32, AluOp::Mov, dst, src)
    }

    /// `dst = (signed from) src`
    pub fn movsx(&mut self, width: Width, from: Size, dst: Reg, src: Reg) -> &mut Builder {
        self.insn(Insn::Movsx { width, from, dst, src })
    }

    /// `dst += src`, 64 bits
    pub fn add(&mut self, dst: Reg, src: impl Into<Operand>) -> &mut Builder {
        self.alu(Width::W64, AluOp::Add, dst, src)
    }

    /// `dst = -dst`
    pub fn neg(&mut self, width: Width, dst: Reg) -> &mut Builder {
        self.insn(Insn::Neg { width, dst })
    }

    /// Byte-order conversion of `dst`
    pub fn endian(&mut self, op: EndianOp, size: Size, dst: Reg) -> &mut Builder {
        self.insn(Insn::Endian { op, size, dst })
    }

    /// `dst = value`, a 64-bit value, a map or an address; two slots
    pub fn load_imm(&mut self, dst: Reg, value: Imm64) -> &mut Builder {
        self.insn(Insn::LoadImm { dst, value })
    }

    /// `dst = ` the address of the function at `to`
    pub fn load_function(&mut self, dst: Reg, to: impl Into<Target>) -> &mut Builder {
        self.insn_to(Insn::LoadImm { dst, value: Imm64::Func { offset: 0 } }, to)
    }

    /// `dst = *(size *)(base + offset)`
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) -> &mut Builder {
        self.insn(Insn::Load { size, dst, base, offset })
    }

    /// `dst = *(signed size *)(base + offset)`
    pub fn load_sx(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) -> &mut Builder {
        self.insn(Insn::LoadSx { size, dst, base, offset })
    }

    /// `*(size *)(base + offset) = src`
    pub fn store(
        &mut self,
        size: Size,
        base: Reg,
        offset: i16,
        src: impl Into<Operand>,
    ) -> &mut Builder {
        self.insn(Insn::Store { size, base, offset, src: src.into() })
    }

    /// An atomic operation at `base + offset`
    pub fn atomic(
        &mut self,
        op: AtomicOp,
        size: Size,
        base: Reg,
        offset: i16,
        src: Reg,
    ) -> &mut Builder {
        self.insn(Insn::Atomic { op, size, base, offset, src })
    }

    /// `goto to`, with a 16-bit offset
    pub fn jump(&mut self, to: impl Into<Target>) -> &mut Builder {
        self.insn_to(Insn::Jump { reach: Reach::Near, offset: 0 }, to)
    }

    /// `gotol to`, with a 32-bit offset
    pub fn jump_far(&mut self, to: impl Into<Target>) -> &mut Builder {
        self.insn_to(Insn::Jump { reach: Reach::Far, offset: 0 }, to)
    }

    /// `if dst op src goto to`
    pub fn jump_if(
        &mut self,
        width: Width,
        op: JmpOp,
        dst: Reg,
        src: impl Into<Operand>,
        to: impl Into<Target>,
    ) -> &mut Builder {
        self.insn_to(Insn::JumpIf { width, op, dst, src: src.into(), offset: 0 }, to)
    }

    /// `may_goto to`
    pub fn may_goto(&mut self, to: impl Into<Target>) -> &mut Builder {
        self.insn_to(Insn::MayGoto { offset: 0 }, to)
    }

    /// Calls the helper with this number
    pub fn call(&mut self, helper: u32) -> &mut Builder {
        self.insn(Insn::Call { target: CallTarget::Helper(helper) })
    }

    /// Calls a function of this program
    pub fn call_local(&mut self, to: impl Into<Target>) -> &mut Builder {
        self.insn_to(Insn::Call { target: CallTarget::Local { offset: 0 } }, to)
    }

    /// `exit`
    pub fn exit(&mut self) -> &mut Builder {
        self.insn(Insn::Exit)
    }

    /// Fills in the offsets and checks that every instruction has an encoding.
    ///
    /// # Errors
    /// [`BuildError`] for the first thing that is wrong.
    pub fn build(&self) -> Result<Code, BuildError> {
        if let Some(error) = self.placed_twice {
            return Err(error);
        }
        let mut code = self.code.clone();
        for &(pc, target) in &self.fixups {
            let Some(&insn) = code.get(pc) else { continue };
            let offset = match target {
                Target::Offset(offset) => i64::from(offset),
                Target::Label(label) => {
                    let place = self.place_of(label).ok_or(BuildError::Unplaced { label, pc })?;
                    i64::from(place.0) - i64::from(pc.0) - 1
                }
            };
            if insn.retarget(0).is_none() {
                return Err(BuildError::NoTarget { pc, insn });
            }
            let aimed = i32::try_from(offset).ok().and_then(|offset| insn.retarget(offset));
            code.replace(pc, aimed.ok_or(BuildError::TooFar { pc, offset })?);
        }
        for (pc, insn) in code.iter() {
            encode(insn).map_err(|error| BuildError::Encode { pc, error })?;
        }
        Ok(code)
    }
}
