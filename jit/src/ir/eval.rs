//! What every operation means: runs a [`Unit`] on registers and a few bytes of memory. Passes are
//! tested by what units give before and after them.
//!
//! Values that a program must not rely on (the arguments after a call in a verified program, the
//! spare register, registers at the entry) are garbage that differs with [`Input::salt`], so that a
//! pass that relies on them is found out.

use super::{Address, Binary, Check, Cond, Edge, End, Fill, Op, Operand, Place, Reg, RegSet, Unit};
use crate::link::{Callee, Link, Runtime};
use crate::state::{FRAME_BYTES, MAX_FRAMES};
use crate::{Source, lower};
use ebpfvm_asm::semantics::{alu, atomic, jump, movsx, neg, sign_extend, zero_extend};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{AtomicOp, CallTarget, Code, Imm64, Insn, Pc, Size, Width};
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::{ProgType, Program};
use ebpfvm_verifier::VerifiedProgram;

/// Where the memory of runs is: what the entry gets in `r1`, and its length in `r2`.
pub(crate) const WINDOW: u64 = 0x10_0000;
/// Where memory is that cannot be written.
pub(crate) const CONSTANTS: u64 = 0x20_0000;
/// Where the stack is; frames are filled from the top.
pub(crate) const FRAMES: u64 = 0x30_0000;
/// The bytes of the memory that cannot be written.
pub(crate) const CONSTANT_BYTES: u64 = 64;

/// What a run begins with.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The memory at [`WINDOW`].
    pub window: Vec<u8>,
    /// What edges and calls may cost together.
    pub fuel: i64,
    /// Decides what undefined values are.
    pub salt: u64,
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A checked access was outside of the memory.
    Access(Pc),
    /// An access that is not checked was.
    Wild(Pc),
    OutOfFuel,
    CallDepth(Pc),
    FellOff,
}

/// All that a run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub result: Result<u64, Stop>,
    pub window: Vec<u8>,
    /// Calls of the machine: which, and their arguments with the memory that these point to.
    pub calls: Vec<(Callee, Vec<u64>)>,
    pub fuel: i64,
}

struct Run<'a> {
    unit: &'a Unit,
    regs: [u64; Reg::COUNT],
    window: Vec<u8>,
    constants: Vec<u8>,
    frames: Vec<u8>,
    depth: usize,
    calls: Vec<(Callee, Vec<u64>)>,
    fuel: i64,
    garbage: u64,
    /// Blocks that may still be entered: a unit that goes round for nothing is found out.
    blocks_left: u32,
}

/// Rounds of a `may_goto`, in all of a function's.
pub(crate) const MAY_GOTO_ROUNDS: u32 = 3;

/// The memory that cannot be written.
pub(crate) fn constants() -> Vec<u8> {
    (0..CONSTANT_BYTES as u8).map(|byte| byte * 3 + 1).collect()
}

/// What `r10` is in a frame, by how many are above it.
pub(crate) fn frame_top(depth: usize) -> u64 {
    FRAMES + (FRAME_BYTES * (MAX_FRAMES - depth)) as u64
}

/// The addresses of the frame in use that has an address.
pub(crate) fn frame_of(address: u64, depth: usize) -> Option<std::ops::Range<u64>> {
    (0..=depth).map(|depth| frame_top(depth + 1)..frame_top(depth)).find(|f| f.contains(&address))
}

/// What a call gives that sees these values: its result, and the byte that it writes.
pub(crate) fn call_result(seen: &[u64]) -> (u64, u8) {
    let mix = |sum: u64, value: &u64| (sum ^ value).wrapping_mul(0x0100_0000_01b3);
    let result = seen.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (result >> (result & 63), result as u8)
}

/// Runs a unit.
pub(crate) fn run(unit: &Unit, input: &Input) -> Outcome {
    let mut run = Run {
        unit,
        regs: [0; Reg::COUNT],
        window: input.window.clone(),
        constants: constants(),
        frames: vec![0; FRAME_BYTES * MAX_FRAMES],
        depth: 0,
        calls: Vec::new(),
        fuel: input.fuel,
        garbage: input.salt,
        blocks_left: 1 << 20,
    };
    run.forget(RegSet::CALL | RegSet::KEPT);
    run.regs[1] = WINDOW;
    run.regs[2] = input.window.len() as u64;
    let result = run.function(0).map(|()| run.regs[0]);
    Outcome { result, window: run.window, calls: run.calls, fuel: run.fuel }
}

/// How an operation went.
enum Then {
    GoOn,
    Return,
}

impl Run<'_> {
    /// Values nobody may rely on; zeros in units with defined values.
    fn forget(&mut self, regs: RegSet) {
        for reg in regs.iter() {
            self.garbage = self.garbage.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(12345);
            let is_defined = self.unit.is_checked && !reg.is_spare();
            self.regs[reg.index()] = if is_defined { 0 } else { self.garbage ^ self.garbage >> 29 };
        }
    }

    fn get(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    fn set(&mut self, reg: Reg, value: u64) {
        assert_ne!(reg, Reg::FP, "the frame pointer is not written");
        self.regs[reg.index()] = value;
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.get(reg),
            Operand::Imm(imm) => i64::from(imm) as u64,
        }
    }

    fn address(&self, at: Address) -> u64 {
        let index = at.index.map_or(0, |(index, scale)| self.get(index) << scale);
        self.get(at.base).wrapping_add(index).wrapping_add(i64::from(at.offset) as u64)
    }

    /// The bytes at an address, as many as there are to the end of their object.
    fn memory(&mut self, address: u64, writes: bool) -> Option<&mut [u8]> {
        let (base, bytes) = match address {
            FRAMES.. => {
                let frame = frame_of(address, self.depth)?;
                let bytes = &mut self.frames[(frame.start - FRAMES) as usize..];
                (frame.start, &mut bytes[..FRAME_BYTES])
            }
            CONSTANTS..FRAMES if !writes => (CONSTANTS, &mut self.constants[..]),
            WINDOW..CONSTANTS => (WINDOW, &mut self.window[..]),
            _ => return None,
        };
        bytes.get_mut((address - base) as usize..)
    }

    fn access(&mut self, at: Address, size: Size, writes: bool) -> Option<&mut [u8]> {
        let address = self.address(at);
        self.memory(address, writes)?.get_mut(..size.bytes() as usize)
    }

    fn load(&mut self, at: Address, size: Size, check: Check, pc: Pc) -> Result<u64, Stop> {
        let mut bytes = [0; 8];
        let from = self.access(at, size, false).ok_or(missed(check, pc))?;
        bytes[..from.len()].copy_from_slice(from);
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(
        &mut self,
        at: Address,
        size: Size,
        check: Check,
        pc: Pc,
        value: u64,
    ) -> Result<(), Stop> {
        let to = self.access(at, size, true).ok_or(missed(check, pc))?;
        to.copy_from_slice(&value.to_le_bytes()[..size.bytes() as usize]);
        Ok(())
    }

    fn holds(&mut self, cond: Cond, pc: Pc) -> Result<bool, Stop> {
        let rhs = self.operand(cond.rhs);
        let lhs = match cond.lhs {
            Place::Reg(reg) => self.get(reg),
            Place::Memory(at) => self.load(at, cond.size, Check::None, pc)?,
        };
        Ok(match cond.size {
            Size::Dw => jump(Width::W64, cond.op, lhs, rhs),
            Size::W => jump(Width::W32, cond.op, lhs, rhs),
            // As if both were filled up with their sign: the order of unsigned values is the same.
            size => {
                let (lhs, rhs) = (sign_extend(size, lhs), sign_extend(size, rhs));
                jump(Width::W64, cond.op, lhs, rhs)
            }
        })
    }

    fn pay(&mut self, cost: u32) -> Result<(), Stop> {
        self.fuel -= i64::from(cost);
        if self.fuel < 0 { Err(Stop::OutOfFuel) } else { Ok(()) }
    }

    fn function(&mut self, number: u32) -> Result<(), Stop> {
        let unit = self.unit;
        self.regs[10] = frame_top(self.depth);
        let lowest = frame_top(self.depth + 1) - FRAMES;
        self.frames[lowest as usize..][..FRAME_BYTES].fill(0);
        self.forget(RegSet::of(Reg::SPARE));
        let mut rounds = MAY_GOTO_ROUNDS;
        let mut number = unit.functions[number as usize].entry;
        loop {
            self.blocks_left = self.blocks_left.checked_sub(1).expect("a unit that ends");
            let block = &unit.blocks[number as usize];
            let mut is_inside = true;
            for guard in &block.guards {
                let (address, bytes) = (self.address(guard.at), guard.bytes as usize);
                let memory = self.memory(address, guard.writes);
                is_inside &= memory.is_some_and(|memory| memory.len() >= bytes);
                is_inside &= match guard.check {
                    Check::Window => (WINDOW..CONSTANTS).contains(&address),
                    Check::Frame => address >= FRAMES,
                    _ => (CONSTANTS..FRAMES).contains(&address),
                };
            }
            if !is_inside {
                number = block.otherwise;
                continue;
            }
            for inst in &block.insts {
                if let Then::Return = self.one(&inst.op, inst.pc)? {
                    return Ok(());
                }
            }
            let edge: Edge = match block.end {
                End::Jump(edge) => edge,
                End::Branch { cond, then, other } => {
                    if self.holds(cond, block.end_pc)? {
                        then
                    } else {
                        other
                    }
                }
                End::MayGoto { then, other } => match rounds.checked_sub(1) {
                    Some(left) => {
                        rounds = left;
                        other
                    }
                    None => then,
                },
                End::Exit => return Ok(()),
                End::FellOff => return Err(Stop::FellOff),
            };
            self.pay(edge.cost)?;
            number = edge.to;
        }
    }

    fn one(&mut self, op: &Op, pc: Pc) -> Result<Then, Stop> {
        match *op {
            Op::Nop => {}
            Op::Const { dst, value } => self.set(dst, value),
            Op::Move { width: Width::W64, dst, src } => self.set(dst, self.get(src)),
            Op::Move { width: Width::W32, dst, src } => {
                self.set(dst, zero_extend(Size::W, self.get(src)));
            }
            Op::Extend { size, fill, dst, src } => {
                self.set(dst, extended(size, fill, self.get(src)));
            }
            Op::Swap { size, dst, src } => self.set(dst, swapped(size, self.get(src))),
            Op::Neg { width, dst, src } => self.set(dst, neg(width, self.get(src))),
            Op::Bits { shift, bits, dst, src } => {
                assert!(bits >= 1 && shift + bits <= 64, "bits that a register has");
                self.set(dst, self.get(src) >> shift & u64::MAX >> (64 - bits));
            }
            Op::Binary { op, width, dst, lhs, rhs } => {
                self.set(dst, binary(op, width, self.get(lhs), self.operand(rhs)));
            }
            Op::BinaryLoad { op, width, dst, lhs, at } => {
                let size = if width == Width::W32 { Size::W } else { Size::Dw };
                let rhs = self.load(at, size, Check::None, pc)?;
                self.set(dst, binary(op, width, self.get(lhs), rhs));
            }
            Op::Update { op, size, at, rhs } => {
                let old = self.load(at, size, Check::None, pc)?;
                let new = binary(op, Width::W64, old, self.operand(rhs));
                self.store(at, size, Check::None, pc, new)?;
            }
            Op::Lea { width, dst, at } => {
                let address = self.address(at);
                self.set(dst, if width == Width::W32 { address & 0xffff_ffff } else { address });
            }
            Op::Load { size, fill, swap, check, dst, at } => {
                let value = self.load(at, size, check, pc)?;
                self.set(
                    dst,
                    if swap { swapped(size, value) } else { extended(size, fill, value) },
                );
            }
            Op::Store { size, swap, check, src, at } => {
                let value = self.operand(src);
                let value = if swap { swapped(size, value) } else { value };
                self.store(at, size, check, pc, value)?;
            }
            Op::Atomic { op, size, check, src, at } => {
                // Memory that cannot be written is refused even if nothing is stored.
                self.access(at, size, true).ok_or(missed(check, pc))?;
                let old = self.load(at, size, check, pc)?;
                if let Some(new) = atomic(op, size, old, self.get(src), self.get(Reg::R0)) {
                    self.store(at, size, check, pc, new)?;
                }
                match op {
                    AtomicOp::Rmw(_) => {}
                    AtomicOp::Fetch(_) | AtomicOp::Xchg => self.set(src, old),
                    AtomicOp::Cmpxchg => self.set(Reg::R0, old),
                }
            }
            Op::LoadAcquire { size, check, dst, at } => {
                let value = self.load(at, size, check, pc)?;
                self.set(dst, value);
            }
            Op::StoreRelease { size, check, src, at } => {
                self.store(at, size, check, pc, self.get(src))?;
            }
            Op::Select { cond, dst, then, other } => {
                let from = if self.holds(cond, pc)? { then } else { other };
                self.set(dst, self.get(from));
            }
            Op::Packet { size, index, offset } => {
                let index = index.map_or(0, |index| self.get(index));
                let offset = index.wrapping_add(i64::from(offset) as u64) as u32;
                let at = Address::new(Reg::R0, 0);
                self.set(Reg::R0, WINDOW.wrapping_add(i64::from(offset as i32) as u64));
                let value = self.load(at, size, Check::Window, pc);
                self.after_call();
                self.set(Reg::R0, value.map_or(0, |value| swapped(size, value)));
                if value.is_err() {
                    return Ok(Then::Return);
                }
            }
            Op::Call { callee } => return Ok(self.call(self.unit.callees[callee as usize])),
            Op::CallLocal { function } => {
                if self.depth + 1 == MAX_FRAMES {
                    return Err(Stop::CallDepth(pc));
                }
                let kept: Vec<u64> = self.regs[6..11].to_vec();
                self.depth += 1;
                if !self.unit.is_checked {
                    self.forget(RegSet::KEPT.with(Reg::R0));
                }
                self.pay(self.unit.functions[function as usize].cost)?;
                self.function(function)?;
                self.depth -= 1;
                self.regs[6..11].copy_from_slice(&kept);
                let result = self.get(Reg::R0);
                self.after_call();
                self.set(Reg::R0, result);
            }
        }
        Ok(Then::GoOn)
    }

    /// What a call leaves behind.
    fn after_call(&mut self) {
        let regs = if self.unit.is_checked { RegSet::of(Reg::SPARE) } else { RegSet::CALL };
        self.forget(regs);
    }

    /// A call of the machine: its result depends on all that it can see, it writes where the third
    /// argument points to.
    fn call(&mut self, callee: Callee) -> Then {
        let mut seen = Vec::new();
        for reg in callee.uses().iter() {
            let value = self.get(reg);
            seen.push(value);
            if let Some(bytes) = self.memory(value, false) {
                seen.extend(bytes.iter().map(|byte| u64::from(*byte)));
            }
        }
        let (result, byte) = call_result(&seen);
        let to = self.get(Reg::new(3));
        if callee.uses().has(Reg::new(3))
            && let Some([first, ..]) = self.memory(to, true)
        {
            *first = byte;
        }
        self.calls.push((callee, seen));
        self.after_call();
        self.set(Reg::R0, result);
        match callee {
            Callee::TailCall { .. } if result & 1 == 0 => Then::Return,
            _ => Then::GoOn,
        }
    }
}

fn missed(check: Check, pc: Pc) -> Stop {
    if check == Check::None { Stop::Wild(pc) } else { Stop::Access(pc) }
}

fn extended(size: Size, fill: Fill, value: u64) -> u64 {
    match fill {
        Fill::Zero => zero_extend(size, value),
        Fill::Sign(width) => movsx(width, size, value),
    }
}

fn swapped(size: Size, value: u64) -> u64 {
    value.swap_bytes() >> (64 - size.bits())
}

/// What an operation with two operands gives.
pub(crate) fn binary(op: Binary, width: Width, lhs: u64, rhs: u64) -> u64 {
    let (l32, r32) = (lhs as u32, rhs as u32);
    match (op, width) {
        (Binary::Alu(op), _) => alu(width, op, lhs, rhs),
        (Binary::Rotl, Width::W32) => l32.rotate_left(r32 % 32).into(),
        (Binary::Rotl, Width::W64) => lhs.rotate_left(r32 % 64),
        (Binary::MulHigh, Width::W32) => (u64::from(l32) * u64::from(r32)) >> 32,
        (Binary::MulHigh, Width::W64) => ((u128::from(lhs) * u128::from(rhs)) >> 64) as u64,
        (Binary::SmulHigh, Width::W32) => {
            ((i64::from(l32 as i32) * i64::from(r32 as i32)) >> 32) as u32 as u64
        }
        (Binary::SmulHigh, Width::W64) => {
            ((i128::from(lhs as i64) * i128::from(rhs as i64)) >> 64) as u64
        }
        (Binary::AndNot, Width::W32) => (l32 & !r32).into(),
        (Binary::AndNot, Width::W64) => lhs & !rhs,
    }
}

/// A machine for tests: helpers are helpers by their number, but 5 is a plain C function without
/// arguments and 12 a tail call; maps are numbers.
pub(crate) struct TestLink;

impl Link for TestLink {
    fn imm64(&self, _: Pc, value: Imm64) -> Result<u64, String> {
        Ok(match value {
            Imm64::Value(value) => value,
            Imm64::MapIdxValue { offset, .. } => CONSTANTS + u64::from(offset),
            _ => 0xffff_8880_0000_1000,
        })
    }

    fn callee(&self, _: Pc, target: CallTarget, _: Option<u32>) -> Result<Callee, String> {
        match target {
            CallTarget::Helper(5) => Ok(Callee::Direct { address: 5, args: 0 }),
            CallTarget::Helper(12) => Ok(Callee::TailCall { site: 12, args: 5 }),
            CallTarget::Helper(site) => Ok(Callee::Helper { site, args: 5, takes_unnamed: false }),
            CallTarget::Reg(reg) => Ok(Callee::ByNumber { register: reg.into() }),
            CallTarget::Local { .. } | CallTarget::Kfunc { .. } => Err("no such thing".into()),
        }
    }

    fn context(&self, _: &Insn) -> Option<(u16, Size)> {
        None
    }

    fn runtime(&self) -> &Runtime {
        &Runtime { helper: 0, tail_call: 0, by_number: 0, find: 0, commit: 0, packet: 0 }
    }
}

pub(crate) fn program(code: Code) -> Program {
    Program::from_code("test", ProgType::SocketFilter, code)
}

fn code(text: &str) -> Code {
    assemble(text, Dialect::PseudoC).unwrap_or_else(|error| panic!("{}", error.render()))
}

/// The blocks of a program with checks.
pub(crate) fn checked_unit(code: Code) -> Unit {
    lower(&Source::checked(&program(code)), &TestLink).expect("a program that can be compiled")
}

/// The blocks of a text in the assembler's pseudo-C, with checks.
pub(crate) fn checked_unit_of(text: &str) -> Unit {
    checked_unit(code(text))
}

/// The same as of a verified program: without checks. Nobody has verified it, though, so that a
/// test can have programs that read any memory.
pub(crate) fn unit_of(text: &str) -> Unit {
    without_checks(checked_unit_of(text))
}

/// A unit as if its program had been verified.
pub(crate) fn without_checks(mut unit: Unit) -> Unit {
    unit.is_checked = false;
    for inst in unit.blocks.iter_mut().flat_map(|block| &mut block.insts) {
        match &mut inst.op {
            Op::Load { check, .. }
            | Op::Store { check, .. }
            | Op::Atomic { check, .. }
            | Op::LoadAcquire { check, .. }
            | Op::StoreRelease { check, .. } => *check = Check::None,
            _ => {}
        }
    }
    unit
}

/// A program that the verifier accepts, and its blocks; none if it does not.
pub(crate) fn verified(code: Code) -> Option<(VerifiedProgram, Unit)> {
    let mut options = ebpfvm_verifier::Options::default();
    options.limits.processed = 5000;
    let judgement = ebpfvm_verifier::verify(program(code.clone()), &Platform::linux(), &options);
    let program = judgement.verdict.ok()?;
    let unit = lower(&Source::verified(&program, &code), &TestLink);
    Some((program, unit.expect("a verified program can be compiled")))
}

/// The same of a text; it must be accepted.
pub(crate) fn verified_of(text: &str) -> (VerifiedProgram, Unit) {
    verified(code(text)).expect("a program that the verifier accepts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Result<u64, Stop> {
        let input = Input { window: vec![1, 2, 3, 4, 5, 6, 7, 8], fuel: 100, salt: 1 };
        let outcome = run(&checked_unit_of(text), &input);
        let unchecked = run(&unit_of(text), &input);
        if outcome.result.is_ok() {
            assert_eq!(outcome, unchecked);
        }
        outcome.result
    }

    #[test]
    fn programs_run() {
        assert_eq!(result("r0 = *(u16 *)(r1 + 2)\nr0 += r2\nexit"), Ok(0x0403 + 8));
        assert_eq!(result("r0 = 0\nagain: r0 += 3\nr2 -= 1\nif r2 != 0 goto again\nexit"), Ok(24));
        assert_eq!(result("r1 = 5\ncall f\nr0 += 1\nexit\nf: r0 = r1\nexit"), Ok(6));
        assert_eq!(
            result("*(u64 *)(r10 - 8) = -2\nr1 = r10\nr0 = *(s32 *)(r1 - 8)\nexit"),
            Ok(-2_i64 as u64)
        );
        assert_eq!(result("r0 = 7\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit"), Ok(10));
    }

    #[test]
    fn runs_stop_for_a_reason() {
        assert_eq!(result("r0 = *(u64 *)(r1 + 1)\nexit"), Err(Stop::Access(Pc(0))));
        assert_eq!(result("again: goto again"), Err(Stop::OutOfFuel));
        assert_eq!(result("f: call f\nexit"), Err(Stop::CallDepth(Pc(0))));
        assert_eq!(result("r0 = 0"), Err(Stop::FellOff));
    }
}
