//! The machine to compare with: small, slow, and made of [`semantics`] alone.
//!
//! It knows no address. A pointer is a region and an offset, and what a program computes from the
//! bits of an address is [`Value::Unknown`]. A run that comes to depend on such a value ends as
//! [`Outcome::Undetermined`]; all others have an outcome that every engine has to give. There are
//! no helpers and no maps here.

mod bytes;
mod value;

pub use value::{Pointer, Region, Value};

use bytes::Bytes;
use ebpfvm_asm::{
    AtomicOp, ByteOrder, CallTarget, Code, Imm64, Insn, Operand, Pc, Reg, RmwOp, Size, Width,
    semantics,
};
use ebpfvm_spec::context::Direction;

/// Size of a stack frame in bytes (`MAX_BPF_STACK`).
const FRAME_BYTES: usize = 512;
/// Nested calls, with the entry (`MAX_CALL_FRAMES`).
const MAX_FRAMES: usize = 8;
/// How often a `may_goto` falls through in one frame (`BPF_MAX_LOOPS`).
const MAY_GOTO_LOOPS: u64 = 8 * 1024 * 1024;

/// Why a run was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An access outside the memory of the program.
    Access {
        /// Its size in bytes.
        bytes: u64,
        /// Load or store.
        direction: Direction,
    },
    /// More than eight nested calls.
    CallDepth,
    /// Control ran over the end.
    FellOff,
    /// A call of a helper by a number that no helper has.
    NoSuchHelper,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program returned `r0`.
    Returned(Value),
    /// It was stopped.
    Trapped {
        /// The instruction at fault.
        pc: Pc,
        /// What was wrong.
        fault: Fault,
    },
    /// The program cannot be linked to a machine without helpers and maps.
    Refused,
    /// What happens at this instruction depends on addresses.
    Undetermined(Pc),
    /// The steps are used up.
    OutOfSteps,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The memory after it; none for bytes that depend on addresses.
    pub memory: Vec<Option<u8>>,
    /// How many instructions were executed.
    pub steps: u64,
}

/// Runs a program from its first instruction, for a number of instructions at most.
pub fn run(code: &Code, memory: &[u8], max_steps: u64) -> Report {
    let mut machine = Machine::new(code, memory);
    let outcome = if links(code) { machine.run(max_steps) } else { Outcome::Refused };
    Report { outcome, memory: machine.memory.numbers(), steps: machine.steps }
}

/// Whether a machine without helpers and maps takes the program.
fn links(code: &Code) -> bool {
    let leads = |pc: Pc, insn: &Insn| {
        let offset = insn.jump_offset().or(insn.function_offset());
        let target = |offset| pc.jump(offset).is_some_and(|to| code.get(to).is_some());
        offset.is_none_or(target)
    };
    !code.is_empty() && code.iter().all(|(pc, insn)| runs_alone(insn) && leads(pc, insn))
}

/// Whether an instruction needs no helper and no map, and leaves the frame pointer alone.
pub(crate) fn runs_alone(insn: &Insn) -> bool {
    let alone = match insn {
        Insn::AddrSpaceCast { .. } => false,
        Insn::LoadImm { value, .. } => matches!(value, Imm64::Value(_) | Imm64::Func { .. }),
        Insn::Call { target } => matches!(target, CallTarget::Local { .. } | CallTarget::Reg(_)),
        _ => true,
    };
    alone && insn.written() != Some(Reg::R10)
}

/// A function that has not returned.
struct Frame {
    entry: u64,
    stack: Bytes,
    may_goto: u64,
    /// Where the caller goes on, and its `r6` to `r9`.
    caller: Option<(Pc, [Value; 4])>,
}

/// Where an access goes.
enum Place {
    Memory(usize),
    Stack { frame: usize, at: usize },
}

struct Machine<'a> {
    code: &'a Code,
    regs: [Value; Reg::COUNT],
    memory: Bytes,
    frames: Vec<Frame>,
    entries: u64,
    pc: Pc,
    steps: u64,
}

impl<'a> Machine<'a> {
    fn new(code: &'a Code, memory: &[u8]) -> Machine<'a> {
        let mut machine = Machine {
            code,
            regs: [Value::Number(0); Reg::COUNT],
            memory: Bytes::new(memory),
            frames: Vec::new(),
            entries: 0,
            pc: Pc(0),
            steps: 0,
        };
        if !memory.is_empty() {
            machine.regs[1] = Value::Pointer(Pointer { region: Region::Memory, offset: 0 });
            machine.regs[2] = Value::Number(memory.len() as u64);
        }
        machine.enter(None);
        machine
    }

    fn enter(&mut self, caller: Option<(Pc, [Value; 4])>) {
        self.entries += 1;
        let (entry, stack) = (self.entries, Bytes::new(&[0; FRAME_BYTES]));
        self.frames.push(Frame { entry, stack, may_goto: MAY_GOTO_LOOPS, caller });
        self.point_to_frame();
    }

    fn point_to_frame(&mut self) {
        if let Some(frame) = self.frames.last() {
            let region = Region::Frame(frame.entry);
            let offset = FRAME_BYTES as u64;
            self.regs[10] = Value::Pointer(Pointer { region, offset });
        }
    }

    fn run(&mut self, max_steps: u64) -> Outcome {
        loop {
            if self.steps == max_steps {
                return Outcome::OutOfSteps;
            }
            let Some(insn) = self.code.get(self.pc).copied() else {
                return self.trap(Fault::FellOff);
            };
            self.steps += 1;
            match self.step(insn) {
                Ok(next) => self.pc = next,
                Err(outcome) => return outcome,
            }
        }
    }

    fn trap(&self, fault: Fault) -> Outcome {
        Outcome::Trapped { pc: self.pc, fault }
    }

    fn undetermined(&self) -> Outcome {
        Outcome::Undetermined(self.pc)
    }

    fn operand(&self, src: Operand) -> Value {
        match src {
            Operand::Reg(reg) => self.regs[reg.index()],
            Operand::Imm(imm) => Value::Number(semantics::immediate(imm)),
        }
    }

    /// Executes an instruction; gives the next one's position.
    fn step(&mut self, insn: Insn) -> Result<Pc, Outcome> {
        let next = Pc(self.pc.0 + insn.slots() as u32);
        // `links` has checked that targets exist.
        let to = |offset: i32| self.pc.jump(offset).unwrap_or_default();
        match insn {
            Insn::Alu { width, op, dst, src } => {
                let src = self.operand(src);
                let dst = &mut self.regs[dst.index()];
                *dst = dst.alu(width, op, src);
            }
            Insn::Neg { width, dst } => self.set(dst, dst, |v| semantics::neg(width, v)),
            Insn::Movsx { width, from, dst, src } => {
                self.set(dst, src, |v| semantics::movsx(width, from, v));
            }
            Insn::Endian { op, size, dst } => {
                self.set(dst, dst, |v| semantics::endian(ByteOrder::HOST, op, size, v));
            }
            Insn::LoadImm { dst, value } => {
                self.regs[dst.index()] = match value {
                    Imm64::Value(value) => Value::Number(value),
                    _ => Value::Unknown,
                };
            }
            Insn::Load { size, dst, base, offset }
            | Insn::LoadAcquire { size, dst, base, offset } => {
                self.regs[dst.index()] = self.load(size, base, offset)?;
            }
            Insn::LoadSx { size, dst, base, offset } => {
                let value = self.load(size, base, offset)?;
                self.regs[dst.index()] = value.map(|v| semantics::sign_extend(size, v));
            }
            Insn::Store { size, base, offset, src } => {
                let place = self.place(size, base, offset, Direction::Write)?;
                self.put(place, size, self.operand(src));
            }
            Insn::StoreRelease { size, base, offset, src } => {
                let place = self.place(size, base, offset, Direction::Write)?;
                self.put(place, size, self.regs[src.index()]);
            }
            Insn::Atomic { op, size, base, offset, src } => {
                let place = self.place(size, base, offset, Direction::Write)?;
                self.atomic(op, size, place, src)?;
            }
            Insn::LoadAbs { size, offset } => {
                if !self.load_packet(size, offset) {
                    return self.leave();
                }
            }
            Insn::LoadInd { size, index, offset } => {
                let index = self.regs[index.index()].number();
                let index = index.ok_or(self.undetermined())? as u32;
                if !self.load_packet(size, index.wrapping_add(offset as u32) as i32) {
                    return self.leave();
                }
            }
            Insn::Jump { offset, .. } => return Ok(to(offset)),
            Insn::JumpIf { width, op, dst, src, offset } => {
                let taken = self.regs[dst.index()].compare(width, op, self.operand(src));
                if taken.ok_or(self.undetermined())? {
                    return Ok(to(offset.into()));
                }
            }
            Insn::MayGoto { offset } => {
                let target = to(offset.into());
                match self.frames.last_mut() {
                    Some(frame) if frame.may_goto > 0 => frame.may_goto -= 1,
                    _ => return Ok(target),
                }
            }
            Insn::Call { target: CallTarget::Local { offset } } => {
                if self.frames.len() == MAX_FRAMES {
                    return Err(self.trap(Fault::CallDepth));
                }
                let target = to(offset);
                let [.., r6, r7, r8, r9, _] = self.regs;
                self.enter(Some((next, [r6, r7, r8, r9])));
                return Ok(target);
            }
            Insn::Call { .. } => return Err(self.trap(Fault::NoSuchHelper)),
            Insn::Exit => return self.leave(),
            Insn::AddrSpaceCast { .. } => return Err(Outcome::Refused),
        }
        Ok(next)
    }

    fn set(&mut self, dst: Reg, src: Reg, f: impl FnOnce(u64) -> u64) {
        self.regs[dst.index()] = self.regs[src.index()].map(f);
    }

    /// Where an access of the program goes.
    fn place(
        &self,
        size: Size,
        base: Reg,
        offset: i16,
        direction: Direction,
    ) -> Result<Place, Outcome> {
        let bytes = u64::from(size.bytes());
        let fault = self.trap(Fault::Access { bytes, direction });
        let pointer = match self.regs[base.index()] {
            Value::Number(_) => return Err(fault),
            Value::Unknown => return Err(self.undetermined()),
            Value::Pointer(pointer) => pointer,
        };
        let at = pointer.offset.wrapping_add(offset as i64 as u64);
        let inside = |len: usize| at <= (len as u64).saturating_sub(bytes) && bytes <= len as u64;
        match pointer.region {
            Region::Memory if inside(self.memory.len()) => Ok(Place::Memory(at as usize)),
            Region::Memory => Err(fault),
            Region::Frame(entry) => {
                let frame = self.frames.iter().position(|frame| frame.entry == entry);
                // Where another frame may be, it is not said what is found.
                let frame = frame.ok_or(self.undetermined())?;
                if inside(FRAME_BYTES) {
                    return Ok(Place::Stack { frame, at: at as usize });
                }
                let stack = (MAX_FRAMES * FRAME_BYTES) as i64;
                let beside = (-stack..=stack).contains(&(at as i64));
                let alone = self.frames.len() == 1;
                Err(if alone || !beside { fault } else { self.undetermined() })
            }
        }
    }

    fn get(&self, place: &Place, size: Size) -> Value {
        match *place {
            Place::Memory(at) => self.memory.load(at, size),
            Place::Stack { frame, at } => self.frames[frame].stack.load(at, size),
        }
    }

    fn put(&mut self, place: Place, size: Size, value: Value) {
        match place {
            Place::Memory(at) => self.memory.store(at, size, value),
            Place::Stack { frame, at } => self.frames[frame].stack.store(at, size, value),
        }
    }

    fn load(&self, size: Size, base: Reg, offset: i16) -> Result<Value, Outcome> {
        Ok(self.get(&self.place(size, base, offset, Direction::Read)?, size))
    }

    fn atomic(&mut self, op: AtomicOp, size: Size, place: Place, src: Reg) -> Result<(), Outcome> {
        let old = self.get(&place, size);
        let (operand, r0) = (self.regs[src.index()], self.regs[0]);
        let new = match (op, old, operand, r0) {
            (AtomicOp::Cmpxchg, Value::Number(old), _, Value::Number(r0)) => {
                // The operand does not matter to whether it is stored.
                let hits = semantics::atomic(op, size, old, 0, r0).is_some();
                hits.then_some(operand)
            }
            (AtomicOp::Cmpxchg, ..) => return Err(self.undetermined()),
            (AtomicOp::Xchg, ..) => Some(operand),
            (_, Value::Number(old), Value::Number(src), _) => {
                semantics::atomic(op, size, old, src, 0).map(Value::Number)
            }
            (AtomicOp::Rmw(RmwOp::Add) | AtomicOp::Fetch(RmwOp::Add), ..) if size == Size::Dw => {
                Some(old.alu(Width::W64, ebpfvm_asm::AluOp::Add, operand))
            }
            _ => Some(Value::Unknown),
        };
        if let Some(new) = new {
            self.put(place, size, new);
        }
        if let Some(result) = op.fetches_into(src) {
            self.regs[result.index()] = old;
        }
        Ok(())
    }

    /// Returns from a function: where its caller goes on; or ends the program.
    fn leave(&mut self) -> Result<Pc, Outcome> {
        let frame = self.frames.pop();
        let Some((back, saved)) = frame.and_then(|frame| frame.caller) else {
            return Err(Outcome::Returned(self.regs[0]));
        };
        self.regs[6..10].copy_from_slice(&saved);
        self.point_to_frame();
        Ok(back)
    }

    /// A legacy packet load: the memory is the packet. Out of range it sets `r0` to 0 and is false:
    /// the function that makes it returns.
    fn load_packet(&mut self, size: Size, offset: i32) -> bool {
        self.regs[0] = Value::Number(0);
        let Ok(at) = usize::try_from(offset) else { return false };
        let n = size.bytes() as usize;
        if at.checked_add(n).is_none_or(|end| end > self.memory.len()) {
            return false;
        }
        let mut value = Value::Number(0);
        for i in at..at + n {
            let byte = self.memory.load(i, Size::B);
            value = match (value, byte) {
                (Value::Number(high), Value::Number(low)) => Value::Number(high << 8 | low),
                _ => Value::Unknown,
            };
        }
        self.regs[0] = value;
        true
    }
}
