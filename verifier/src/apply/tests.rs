//! Random programs of arithmetic and jumps, run with numbers beside the abstract states: on the way
//! that the numbers take, some state that is to be followed holds them all.

use super::apply;
use crate::domain::tests::words;
use crate::explore::Past;
use crate::log::Log;
use crate::options::{LogLevel, Options};
use crate::state::{AT_PACKET_END, BEYOND_PACKET_END, Flags, Kind, State, SubprogId, Value};
use crate::step::{Flow, Step};
use crate::subject::Subject;
use ebpfvm_asm::{
    AluOp, ByteOrder, Code, EndianOp, Insn, JmpOp, Operand, Pc, Reg, Size, Width, semantics,
};
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::{ProgType, Program};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Registers that the programs use: numbers, then pointers.
const NUMBERS: usize = 5;
const PACKET: usize = 5;
const END: usize = 6;
const MEMORY: usize = 7;
const USED: usize = 8;

/// Where things lie when the program runs.
#[derive(Clone, Copy, Debug)]
struct World {
    packet: u64,
    end: u64,
    /// The memory, which may be missing.
    memory: Option<u64>,
}

const MEMORY_BYTES: u32 = 64;

impl World {
    /// Whether a value of a register stands for `x`.
    fn allows(&self, value: &Value, x: u64) -> bool {
        let offset = value.offset as i64 as u64;
        let variable = |base: u64| x.wrapping_sub(base).wrapping_sub(offset);
        match value.kind {
            Kind::Uninit => true,
            Kind::Scalar => value.scalar.contains(x),
            Kind::PacketEnd => x == self.end,
            Kind::Packet { range } => {
                value.scalar.contains(variable(self.packet))
                    && match range {
                        AT_PACKET_END => x >= self.end,
                        BEYOND_PACKET_END => x > self.end,
                        0 => true,
                        range => x.wrapping_sub(offset).wrapping_add(range as u64) <= self.end,
                    }
            }
            Kind::Mem { .. } => match self.memory {
                Some(base) => value.scalar.contains(variable(base)),
                None => value.may_be_null() && x == 0,
            },
            _ => false,
        }
    }

    fn allows_all(&self, state: &State, numbers: &[u64; USED]) -> bool {
        Reg::all().zip(numbers).all(|(reg, x)| self.allows(state.reg(reg), *x))
    }

    fn values(&self) -> [(Value, u64); USED - NUMBERS] {
        let memory = Value::pointer(Kind::Mem { bytes: MEMORY_BYTES, dynptr: 0 });
        [
            (Value::pointer(Kind::Packet { range: 0 }), self.packet),
            (Value::pointer(Kind::PacketEnd), self.end),
            (memory.with(Flags::MAYBE_NULL).with_id(u32::MAX), self.memory.unwrap_or(0)),
        ]
    }
}

fn world() -> impl Strategy<Value = World> {
    (0u64..40, any::<bool>()).prop_map(|(length, is_there)| World {
        packet: 0x10_0000_0000,
        end: 0x10_0000_0000 + length,
        memory: is_there.then_some(0x7000_0000_0000),
    })
}

fn reg() -> impl Strategy<Value = Reg> {
    (0..USED as u8).prop_map(|number| Reg::new(number).expect("it is below ten"))
}

fn width() -> impl Strategy<Value = Width> {
    select(Width::ALL.to_vec())
}

fn operand() -> impl Strategy<Value = Operand> {
    let near = -20i32..40;
    prop_oneof![
        3 => reg().prop_map(Operand::Reg),
        3 => near.prop_map(Operand::Imm),
        1 => any::<i32>().prop_map(Operand::Imm),
        1 => Just(Operand::Imm(0)),
    ]
}

/// An instruction; moves and sums often, so that registers are linked.
fn insn() -> impl Strategy<Value = Insn> {
    let alu = |op: BoxedStrategy<AluOp>| {
        (width(), op, reg(), operand()).prop_map(|(width, op, dst, src)| Insn::Alu {
            width,
            op,
            dst,
            src,
        })
    };
    let wide = |op| {
        (reg(), reg()).prop_map(move |(dst, src)| Insn::Alu {
            width: Width::W64,
            op,
            dst,
            src: src.into(),
        })
    };
    let jump_op = select(JmpOp::ALL.to_vec());
    let jump = (width(), jump_op, reg(), operand(), 0i16..4)
        .prop_map(|(width, op, dst, src, offset)| Insn::JumpIf { width, op, dst, src, offset });
    let sizes = select(vec![Size::H, Size::W, Size::Dw]);
    let endian = (select(EndianOp::ALL.to_vec()), sizes, reg())
        .prop_map(|(op, size, dst)| Insn::Endian { op, size, dst });
    let narrow = select(vec![Size::B, Size::H, Size::W]);
    let movsx = (width(), narrow, reg(), reg()).prop_filter_map(
        "a 32-bit move extends less than 32 bits",
        |(width, from, dst, src)| {
            (from.bits() < width.bits()).then_some(Insn::Movsx { width, from, dst, src })
        },
    );
    prop_oneof![
        6 => alu(select(AluOp::ALL.to_vec()).boxed()),
        3 => alu(select(vec![AluOp::Add, AluOp::Sub, AluOp::And]).boxed()),
        4 => wide(AluOp::Mov),
        1 => wide(AluOp::Add),
        6 => jump,
        1 => endian,
        1 => movsx,
        1 => (width(), reg()).prop_map(|(width, dst)| Insn::Neg { width, dst }),
    ]
}

/// What an instruction does with numbers: changes them and tells where it goes on.
fn run(insn: &Insn, pc: Pc, numbers: &mut [u64; USED]) -> Pc {
    let operand = |numbers: &[u64; USED], src: Operand| match src {
        Operand::Reg(reg) => numbers[reg.index()],
        Operand::Imm(imm) => semantics::immediate(imm),
    };
    match *insn {
        Insn::Alu { width, op, dst, src } => {
            let by = operand(numbers, src);
            numbers[dst.index()] = semantics::alu(width, op, numbers[dst.index()], by);
        }
        Insn::Neg { width, dst } => {
            numbers[dst.index()] = semantics::neg(width, numbers[dst.index()]);
        }
        Insn::Movsx { width, from, dst, src } => {
            numbers[dst.index()] = semantics::movsx(width, from, numbers[src.index()]);
        }
        Insn::Endian { op, size, dst } => {
            let x = numbers[dst.index()];
            numbers[dst.index()] = semantics::endian(ByteOrder::HOST, op, size, x);
        }
        Insn::JumpIf { width, op, dst, src, offset } => {
            let by = operand(numbers, src);
            if semantics::jump(width, op, numbers[dst.index()], by) {
                return Pc(pc.0 + 1 + offset as u32);
            }
        }
        _ => {}
    }
    Pc(pc.0 + 1)
}

/// Follows the numbers through the abstract states. Tells how many instructions were not refused.
fn follow(insns: &[Insn], world: World, numbers: &[(crate::domain::Scalar, u64)]) -> usize {
    let mut code = Code::default();
    for insn in insns {
        code.push(*insn);
    }
    for _ in 0..5 {
        code.push(Insn::Alu { width: Width::W64, op: AluOp::Mov, dst: Reg::R0, src: 0.into() });
    }
    code.push(Insn::Exit);
    let (platform, options) = (Platform::linux(), Options::default());
    let program = Program::from_code("test", ProgType::SocketFilter, code);
    let mut log = Log::new(LogLevel::NONE, 0);
    let subject = Subject::new(&program, &platform, &options, &mut log).expect("a shape to follow");
    let mut past = Past::new(&subject, log);
    let mut state = State::entry(SubprogId(0), Pc(0));
    let mut concrete = [0; USED];
    let numbers = numbers.iter().map(|(scalar, x)| (Value::number(*scalar), *x));
    for ((reg, place), (value, x)) in
        Reg::all().zip(&mut concrete).zip(numbers.chain(world.values()))
    {
        *state.reg_mut(reg) = value;
        *place = x;
    }
    let mut steps = 0;
    while let Some(insn) = program.code.get(state.pc).filter(|insn| **insn != Insn::Exit) {
        let pc = state.pc;
        past.pending.clear();
        let mut step = Step { subject: &subject, past: &mut past, state: &mut state, pc };
        let Ok(flow) = apply(&mut step, insn) else { return steps };
        let mut after = concrete;
        let next = run(insn, pc, &mut after);
        match flow {
            Flow::Next => state.pc.0 += 1,
            Flow::Goto(target) => state.pc = target,
            Flow::End | Flow::Return(_) => panic!("{insn:?} ends nothing"),
        }
        let mut states = vec![state.clone()];
        states.extend(past.pending.drain(..).map(|pending| pending.state));
        // One that runs the instruction once more holds the numbers before it.
        let found = states.iter().find_map(|state| {
            let numbers = match state.pc {
                at if at == next => &after,
                at if at == pc => &concrete,
                _ => return None,
            };
            world.allows_all(state, numbers).then_some((state, *numbers))
        });
        let Some((found, numbers)) = found else {
            panic!("{insn:?} at {pc}: no state holds {after:x?} at {next}: {states:#?}");
        };
        (state, concrete) = (found.clone(), numbers);
        steps += 1;
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn states_hold_what_programs_compute(
        insns in vec(insn(), 1..40),
        world in world(),
        numbers in vec(words::scalar(), NUMBERS),
    ) {
        follow(&insns, world, &numbers);
    }
}

#[test]
fn what_is_refused_is_not_everything() {
    let numbers = [(crate::domain::Scalar::TOP, 7); NUMBERS];
    let world = World { packet: 0x1000, end: 0x1020, memory: None };
    let reg = |number: usize| Reg::new(number as u8).expect("a register");
    let (packet, end, memory) = (reg(PACKET), reg(END), reg(MEMORY));
    let jump = |op, dst, src| Insn::JumpIf { width: Width::W64, op, dst, src, offset: 0 };
    let insns = [
        Insn::Alu { width: Width::W64, op: AluOp::And, dst: Reg::R1, src: 7.into() },
        Insn::Alu { width: Width::W64, op: AluOp::Add, dst: packet, src: Reg::R1.into() },
        jump(JmpOp::Gt, packet, end.into()),
        jump(JmpOp::Eq, memory, 0.into()),
        Insn::Alu { width: Width::W64, op: AluOp::Add, dst: memory, src: 8.into() },
    ];
    assert_eq!(follow(&insns, world, &numbers), insns.len() + 5);
}
