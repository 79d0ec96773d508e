//! A machine that runs programs of numbers and stacks, step by step, and knows whether what it holds
//! is what a state says.

use super::generate::Random;
use crate::state::{Byte, Kind, Slot, State, Value};
use ebpfvm_asm::semantics;
use ebpfvm_asm::slot::ByteOrder;
use ebpfvm_asm::{AtomicOp, CallTarget, Code, Imm64, Insn, Operand, Pc, Reg, Size};

/// Bytes of the stack of a frame.
const STACK_BYTES: usize = 512;
/// The frame pointer of the entry; those of others follow with gaps between the stacks.
const TOP: u64 = 0x7000_0000_0000;
const FRAME_STRIDE: u64 = 1 << 20;
/// The context, which is never read.
const CONTEXT: u64 = 0x6000_0000_0000;
/// The only helper: a random number.
const RANDOM: u32 = 7;

pub(super) enum Step {
    Next,
    End,
}

#[derive(Debug)]
struct Running {
    stack: Vec<u8>,
    /// Of a frame that called another: its registers, and where it goes on.
    caller: Option<([u64; Reg::COUNT], Pc)>,
}

pub(super) struct Machine {
    pub(super) pc: Pc,
    regs: [u64; Reg::COUNT],
    frames: Vec<Running>,
    random: Random,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} in frame {} with", self.pc, self.frames.len() - 1)?;
        self.regs.iter().enumerate().try_for_each(|(n, value)| write!(f, " r{n}={value:#x}"))
    }
}

fn top(frame: usize) -> u64 {
    TOP + frame as u64 * FRAME_STRIDE
}

impl Machine {
    pub(super) fn new(random: Random) -> Machine {
        let mut machine = Machine { pc: Pc(0), regs: [0; Reg::COUNT], frames: Vec::new(), random };
        machine.enter();
        machine.regs[1] = CONTEXT;
        machine
    }

    /// A new frame; what was not written holds anything.
    fn enter(&mut self) {
        let stack = (0..STACK_BYTES).map(|_| self.random.next() as u8).collect();
        self.frames.push(Running { stack, caller: None });
        self.regs[Reg::R10.index()] = top(self.frames.len() - 1);
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.regs[reg.index()],
            Operand::Imm(imm) => semantics::immediate(imm),
        }
    }

    fn memory(&mut self, base: Reg, offset: i16, size: Size) -> Result<&mut [u8], String> {
        let address = self.regs[base.index()].wrapping_add_signed(offset.into());
        let outside = || format!("{address:#x} is on no stack");
        for (number, frame) in self.frames.iter_mut().enumerate() {
            let start = address.wrapping_sub(top(number) - STACK_BYTES as u64);
            if start < STACK_BYTES as u64 {
                let start = start as usize;
                return frame
                    .stack
                    .get_mut(start..start + size.bytes() as usize)
                    .ok_or_else(outside);
            }
        }
        Err(outside())
    }

    fn load(&mut self, base: Reg, offset: i16, size: Size) -> Result<u64, String> {
        Ok(little_endian(self.memory(base, offset, size)?))
    }

    fn store(&mut self, base: Reg, offset: i16, size: Size, value: u64) -> Result<(), String> {
        let bytes = self.memory(base, offset, size)?;
        let count = bytes.len();
        bytes.copy_from_slice(&value.to_le_bytes()[..count]);
        Ok(())
    }

    pub(super) fn step(&mut self, code: &Code) -> Result<Step, String> {
        let insn = code.get(self.pc).ok_or("no instruction")?;
        let mut next = Pc(self.pc.0 + insn.slots() as u32);
        let jump = |offset: i32| self.pc.jump(offset).ok_or("a jump to nowhere");
        match *insn {
            Insn::Alu { width, op, dst, src } => {
                let src = self.operand(src);
                self.regs[dst.index()] = semantics::alu(width, op, self.regs[dst.index()], src);
            }
            Insn::Neg { width, dst } => {
                self.regs[dst.index()] = semantics::neg(width, self.regs[dst.index()]);
            }
            Insn::Movsx { width, from, dst, src } => {
                self.regs[dst.index()] = semantics::movsx(width, from, self.regs[src.index()]);
            }
            Insn::Endian { op, size, dst } => {
                let value = self.regs[dst.index()];
                self.regs[dst.index()] = semantics::endian(ByteOrder::Little, op, size, value);
            }
            Insn::LoadImm { dst, value: Imm64::Value(value) } => self.regs[dst.index()] = value,
            Insn::Load { size, dst, base, offset } => {
                self.regs[dst.index()] = self.load(base, offset, size)?;
            }
            Insn::LoadSx { size, dst, base, offset } => {
                let value = self.load(base, offset, size)?;
                self.regs[dst.index()] = semantics::sign_extend(size, value);
            }
            Insn::Store { size, base, offset, src } => {
                let value = self.operand(src);
                self.store(base, offset, size, value)?;
            }
            Insn::Atomic { op, size, base, offset, src } => {
                self.atomic(op, size, base, offset, src)?;
            }
            Insn::Jump { offset, .. } => next = jump(offset)?,
            Insn::JumpIf { width, op, dst, src, offset } => {
                let (left, right) = (self.regs[dst.index()], self.operand(src));
                if semantics::jump(width, op, left, right) {
                    next = jump(offset.into())?;
                }
            }
            Insn::Call { target: CallTarget::Helper(RANDOM) } => {
                self.regs[0] = self.random.next() & 0xffff_ffff;
                (1..6).for_each(|reg| self.regs[reg] = self.random.next());
            }
            Insn::Call { target: CallTarget::Local { offset } } => {
                let target = jump(offset)?;
                let caller = Some((self.regs, next));
                self.frames.last_mut().ok_or("no frame runs")?.caller = caller;
                self.enter();
                next = target;
            }
            Insn::Exit => {
                self.frames.pop();
                let Some(frame) = self.frames.last_mut() else { return Ok(Step::End) };
                let (regs, back) = frame.caller.take().ok_or("a frame without a call")?;
                let result = self.regs[0];
                self.regs = regs;
                self.regs[0] = result;
                (1..6).for_each(|reg| self.regs[reg] = self.random.next());
                next = back;
            }
            other => return Err(format!("{other} is not generated")),
        }
        self.pc = next;
        Ok(Step::Next)
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        size: Size,
        base: Reg,
        offset: i16,
        src: Reg,
    ) -> Result<(), String> {
        let old = self.load(base, offset, size)?;
        let new = semantics::atomic(op, size, old, self.regs[src.index()], self.regs[0]);
        if let Some(new) = new {
            self.store(base, offset, size, new)?;
        }
        if let Some(into) = op.fetches_into(src) {
            self.regs[into.index()] = old;
        }
        Ok(())
    }

    /// What of the machine is not as the state says; none if it lies in the state.
    pub(super) fn differs(&self, state: &State) -> Option<String> {
        let current = self.frames.len() - 1;
        if state.frames.len() != self.frames.len() {
            return Some("the number of frames".to_owned());
        }
        state.frames.iter().zip(&self.frames).enumerate().find_map(|(number, (known, frame))| {
            let regs = match &frame.caller {
                Some((regs, _)) if number < current => regs,
                _ => &self.regs,
            };
            let callsite = state.frames.get(number + 1).map(|callee| callee.callsite);
            if callsite.is_some_and(|call| call.map(|pc| pc.0 + 1) != frame.caller.map(|c| c.1.0)) {
                return Some("where a function was called".to_owned());
            }
            let mut values = known.regs.iter().zip(regs).enumerate();
            let reg = values.find(|(_, (value, x))| !contains(value, **x));
            let reg = reg.map(|(reg, (value, _))| format!("frame {number} r{reg}: {value:?}"));
            let slots = known.stack.slots().enumerate();
            reg.or_else(|| {
                slots.into_iter().find_map(|(index, slot)| {
                    let lowest = STACK_BYTES - 8 * (index + 1);
                    let bytes = &frame.stack[lowest..lowest + 8];
                    let differs = !slot_contains(slot, bytes);
                    differs
                        .then(|| format!("frame {number} slot {index}: {slot:?}, not {bytes:x?}"))
                })
            })
        })
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn contains(value: &Value, x: u64) -> bool {
    let base = match value.kind {
        Kind::Uninit => return true,
        Kind::Scalar => return value.scalar.contains(x),
        Kind::Stack { frame } => top(frame.into()),
        Kind::Ctx => CONTEXT,
        _ => return false,
    };
    value.scalar.contains(x.wrapping_sub(base).wrapping_sub(value.offset as u64))
}

/// Whether a slot says this of its bytes, the lowest address first.
fn slot_contains(slot: &Slot, bytes: &[u8]) -> bool {
    let spilled = slot.bytes.iter().rev().take_while(|byte| **byte == Byte::Spill).count();
    let known = slot.bytes.iter().rev();
    let zeros = known.zip(bytes).all(|(known, byte)| *known != Byte::Zero || *byte == 0);
    // Of a pointer only a whole one says anything, of a number that was stored in part its low bits.
    let held = little_endian(&bytes[..spilled]);
    let fits = match spilled {
        0 => true,
        8 => contains(&slot.value, held),
        _ => {
            let tnum = slot.value.scalar.tnum;
            let differs = (held ^ tnum.value()) & !tnum.mask() & !(u64::MAX << (8 * spilled));
            !slot.value.is_number() || differs == 0
        }
    };
    zeros && fits
}
