//! The verifier's domain against the kernel's: random programs put registers into random ranges and
//! the states that the kernel's log shows must be spelled as ours are, letter for letter.

use ebpfvm::host::Random;
use ebpfvm_asm::{
    AluOp, Builder, ByteOrder, EndianOp, Imm64, Insn, JmpOp, Operand, Pc, Reg, Size, Width,
};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, report_skip};
use ebpfvm_spec::ProgType;
use ebpfvm_verifier::domain::{
    Branch, Refined, Scalar, alu, branch_taken, endian, fork_sign, movsx, neg, refine, refine_same,
};
use std::collections::HashMap;

const PROGRAMS: u64 = 4000;
const STEPS: u32 = 14;
/// The registers that are followed.
const REGS: [Reg; 3] = [Reg::R6, Reg::R7, Reg::R8];
const PRANDOM_U32: u32 = 7;

/// One instruction of a random program.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Arithmetic on followed registers.
    Compute(Insn),
    /// A comparison, and which of its sides the program goes on with; the other one ends.
    Compare { width: Width, op: JmpOp, dst: Reg, src: Operand, taken: bool },
}

struct Generator(Random);

impl Generator {
    fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// Mostly values at the edges of intervals, widths and masks.
    fn number(&mut self) -> u64 {
        let any = u64::from(self.0.next_u32()) << 32 | u64::from(self.0.next_u32());
        match self.below(6) {
            0 => any,
            1 => any >> self.below(64),
            2 => (any as i64 >> self.below(64)) as u64,
            3 => u64::from(self.below(20)).wrapping_sub(8),
            4 => 1u64.rotate_left(self.below(64)).wrapping_sub(u64::from(self.below(4))),
            _ => self.one(&[u64::MAX, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, 1 << 32]),
        }
    }

    fn operand(&mut self) -> Operand {
        match self.below(3) {
            0 => Operand::Reg(self.one(&REGS)),
            _ => Operand::Imm(self.number() as i32),
        }
    }

    fn compute(&mut self) -> Insn {
        let width = self.one(&Width::ALL);
        let (dst, src) = (self.one(&REGS), self.one(&REGS));
        match self.below(24) {
            0 | 1 => Insn::Neg { width, dst },
            2 | 3 => {
                let from = match width {
                    Width::W32 => self.one(&[Size::B, Size::H]),
                    Width::W64 => self.one(&[Size::B, Size::H, Size::W]),
                };
                Insn::Movsx { width, from, dst, src }
            }
            4 => Insn::LoadImm { dst, value: Imm64::Value(self.number()) },
            5 if self.below(4) == 0 => {
                let size = self.one(&[Size::H, Size::W, Size::Dw]);
                Insn::Endian { op: self.one(&EndianOp::ALL), size, dst }
            }
            _ => {
                let op = self.one(&AluOp::ALL);
                let src = match (op, self.operand()) {
                    (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(count)) => {
                        let usual = self.one(&[8, 16, 24, 31, 32, 48, 56, 63, count]);
                        Operand::Imm(usual & (width.bits() as i32 - 1))
                    }
                    (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Imm(0)) => {
                        Operand::Imm(3)
                    }
                    // These forget everything; less often, then.
                    (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Reg(_))
                        if self.below(4) != 0 =>
                    {
                        return Insn::Alu { width, op: AluOp::And, dst, src: Operand::Reg(src) };
                    }
                    (_, src) => src,
                };
                Insn::Alu { width, op, dst, src }
            }
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            if self.below(5) < 3 {
                steps.push(Step::Compare {
                    width: self.one(&Width::ALL),
                    op: self.one(&JmpOp::ALL),
                    dst: self.one(&REGS),
                    src: self.operand(),
                    taken: self.below(2) == 0,
                });
                continue;
            }
            let insn = self.compute();
            steps.push(Step::Compute(insn));
            // Copies share a number, and what is learned of one is then learned of the other. An
            // operation that changes nothing takes the copy its number.
            if let Insn::Alu { op: AluOp::Mov, dst, src: Operand::Reg(_), .. }
            | Insn::Movsx { dst, .. } = insn
            {
                let (width, op, src) = (Width::W64, AluOp::Xor, Operand::Imm(0));
                steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
            }
        }
        steps
    }
}

/// Where the log shows a state: after an instruction, or before the target of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    After(u32),
    Jump(u32, u32),
}

/// A program and the states expected in its log.
#[derive(Default)]
struct Case {
    bytes: Vec<u8>,
    /// Register states by place, with the step's spelling for messages.
    expected: Vec<(Place, Reg, String, String)>,
    /// Contradictions that the log complains about, in order; those of later instructions may follow.
    violations: Vec<String>,
    /// Instructions never reached.
    dead: Vec<u32>,
}

fn build(steps: &[Step]) -> Case {
    let mut b = Builder::new();
    for reg in REGS {
        b.call(PRANDOM_U32).mov(reg, Reg::R0);
    }
    b.mov(Reg::R0, 0);
    let mut states: HashMap<Reg, Scalar> = REGS.iter().map(|reg| (*reg, Scalar::TOP)).collect();
    let mut case = Case::default();
    // What is still reached: computed until a jump whose way is known or a fork.
    let mut followed = true;
    let mut ends = Vec::new();
    for step in steps {
        let pc = slot(&b);
        match *step {
            Step::Compute(insn) => {
                b.insn(insn);
                if !followed {
                    continue;
                }
                let Some((dst, mut value)) = compute(&states, insn) else {
                    followed = false;
                    continue;
                };
                let spelled = format!("{insn:?} of {:?}", spell(&states));
                match value.settle() {
                    // The state is not told at this place then.
                    Some(violation) => case.violations.push(format!("(alu): {violation}")),
                    None => {
                        let text = value.text().to_string();
                        case.expected.push((Place::After(pc), dst, text, spelled));
                    }
                }
                states.insert(dst, value);
            }
            Step::Compare { width, op, dst, src, taken } => {
                // One side goes on, the other one ends; no two jumps have one target, so that
                // nothing is pruned.
                let (target, next) = (b.new_label(), pc + 1);
                b.jump_if(width, op, dst, src, target);
                let target_pc = if taken {
                    b.mov(Reg::R0, 0).exit().label(target);
                    slot(&b)
                } else {
                    ends.push((target, pc));
                    u32::MAX
                };
                if !followed {
                    continue;
                }
                let (a, c) = (states[&dst], source(&states, src));
                let spelled = format!("{step:?} of {:?}", spell(&states));
                let mut expect = |taken: bool, place, dead: &mut Vec<u32>| {
                    let refined = if src == Operand::Reg(dst) {
                        refine_same(width, op, taken, a)
                    } else {
                        refine(width, op, taken, a, c)
                    };
                    match branch_taken(width, op, &a, &c) {
                        Branch::Unknown => {
                            let Refined { dst: x, src: y, violations } = refined;
                            for (i, violation) in violations.iter().enumerate() {
                                if let Some(violation) = violation {
                                    let name = format!("({taken}_reg{})", i + 1);
                                    case.violations.push(format!("{name}: {violation}"));
                                }
                            }
                            let text = |x: Scalar| x.text().to_string();
                            if let Operand::Reg(src) = src {
                                case.expected.push((place, src, text(y), spelled.clone()));
                            }
                            case.expected.push((place, dst, text(x), spelled.clone()));
                            Some((x, y))
                        }
                        Branch::Always if taken => Some((a, c)),
                        Branch::Never if !taken => Some((a, c)),
                        _ => {
                            let Place::Jump(_, pc) = place else {
                                dead.push(next);
                                return None;
                            };
                            dead.push(pc);
                            None
                        }
                    }
                };
                let mut dead = Vec::new();
                let on_jump = expect(true, Place::Jump(pc, target_pc), &mut dead);
                let on_next = expect(false, Place::After(pc), &mut dead);
                case.dead.extend(dead);
                let kept = if taken { on_jump } else { on_next };
                followed = kept.is_some();
                if let Some((x, y)) = kept {
                    if let Operand::Reg(src) = src {
                        states.insert(src, y);
                    }
                    states.insert(dst, x);
                }
            }
        }
    }
    b.exit();
    for (label, from) in ends {
        b.label(label);
        let pc = slot(&b);
        b.mov(Reg::R0, 0).exit();
        for (place, ..) in &mut case.expected {
            if *place == Place::Jump(from, u32::MAX) {
                *place = Place::Jump(from, pc);
            }
        }
    }
    case.dead.retain(|pc| *pc != u32::MAX);
    case.bytes = b.build().unwrap().to_bytes(ByteOrder::HOST).unwrap();
    case
}

fn slot(b: &Builder) -> u32 {
    let Pc(pc) = b.pc();
    pc
}

fn source(states: &HashMap<Reg, Scalar>, src: Operand) -> Scalar {
    match src {
        Operand::Reg(reg) => states[&reg],
        Operand::Imm(imm) => Scalar::constant(imm as i64 as u64),
    }
}

/// The instruction's result; none where the kernel follows two.
fn compute(states: &HashMap<Reg, Scalar>, insn: Insn) -> Option<(Reg, Scalar)> {
    Some(match insn {
        Insn::Alu { width, op, dst, src } => {
            let (a, b) = (states[&dst], source(states, src));
            if fork_sign(op, a, b).is_some() {
                return None;
            }
            (dst, alu(width, op, a, b))
        }
        Insn::Neg { width, dst } => (dst, neg(width, states[&dst])),
        Insn::Movsx { width, from, dst, src } => (dst, movsx(width, from, states[&src])),
        Insn::Endian { op, size, dst } => (dst, endian(ByteOrder::HOST, op, size, states[&dst])),
        Insn::LoadImm { dst, value: Imm64::Value(value) } => (dst, Scalar::constant(value)),
        other => unreachable!("{other:?} is not generated"),
    })
}

fn spell(states: &HashMap<Reg, Scalar>) -> Vec<String> {
    REGS.iter().map(|reg| format!("{reg}={}", states[reg].text())).collect()
}

/// The register states that a log shows, without marks of precision and shared numbers.
fn parse(log: &str) -> HashMap<Place, HashMap<u8, String>> {
    let mut states = HashMap::new();
    for line in log.lines() {
        let Some((place, text)) = place(line) else { continue };
        let mut regs = HashMap::new();
        for (at, _) in text.match_indices(" R") {
            let Some((name, value)) = text[at + 2..].split_once('=') else { continue };
            let Ok(number) = name.trim_end_matches("_w").parse() else { continue };
            let mut depth = 0;
            let end = value.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                c == ' ' && depth == 0
            });
            regs.insert(number, unmarked(&value[..end.unwrap_or(value.len())]));
        }
        states.insert(place, regs);
    }
    states
}

/// `12: (b7) r0 = 0 ; R0_w=0` or `from 12 to 14: R0=0 R10=fp0`. After a complaint, the states follow
/// in a line of their own, `12: R0_w=0`; the lines of this kind before an instruction come too early
/// to stay.
fn place(line: &str) -> Option<(Place, &str)> {
    let (head, rest) = line.split_once(':')?;
    if let Some(jump) = head.strip_prefix("from ") {
        let (from, to) = jump.split_once(" to ")?;
        return Some((Place::Jump(from.parse().ok()?, to.parse().ok()?), rest));
    }
    let pc = head.parse().ok()?;
    (rest.starts_with(" (") || rest.starts_with(" R")).then_some((Place::After(pc), rest))
}

fn unmarked(value: &str) -> String {
    let value = value.strip_prefix('P').unwrap_or(value);
    let Some(inner) = value.strip_prefix("scalar(id=") else { return value.into() };
    let end = inner.find([',', ')']).unwrap_or(inner.len());
    let rest = &inner[end..];
    format!("scalar({}", rest.strip_prefix(',').unwrap_or(rest))
}

fn kernel_log(kernel: &Kernel, bytes: &[u8]) -> String {
    let mut request = LoadRequest::new(ProgType::SocketFilter, bytes);
    request.log_level = log_level::FULL;
    match kernel.prog_load(&request) {
        Ok(prog) => prog.log().into(),
        Err(e) => panic!("the kernel refuses a program of scalars: {}\n{}", e.errno, e.log),
    }
}

#[test]
fn states_are_spelled_as_in_the_kernels_log() {
    let kernel = match Kernel::probe() {
        Ok(kernel) => kernel,
        Err(e) => return report_skip("states_are_spelled_as_in_the_kernels_log", e),
    };
    let programs = std::env::var("EBPFVM_PROGRAMS").map_or(PROGRAMS, |n| n.parse().unwrap());
    let (mut compared, mut violations, mut wrong) = (0, 0, Vec::new());
    for seed in 0..programs {
        let steps = Generator(Random::new(seed)).steps();
        let case = build(&steps);
        let log = kernel_log(&kernel, &case.bytes);
        let states = parse(&log);
        for (place, reg, ours, of) in &case.expected {
            let theirs = states.get(place).and_then(|regs| regs.get(&reg.number()));
            compared += 1;
            if theirs != Some(ours) {
                let theirs = theirs.map_or("nothing", String::as_str);
                wrong.push(format!(
                    "program {seed}, {place:?}: {of}\n    {reg} ours   {ours}\n    {reg} kernel {theirs}"
                ));
                break;
            }
        }
        let complaint = "verifier bug: REG INVARIANTS VIOLATION ";
        let told = log.lines().filter_map(|line| line.strip_prefix(complaint));
        let told: Vec<&str> = told.take(case.violations.len()).collect();
        violations += told.len();
        if told != case.violations {
            wrong.push(format!("program {seed}: {:#?}\n    kernel {told:#?}", case.violations));
        }
        for pc in &case.dead {
            if states.contains_key(&Place::After(*pc)) {
                wrong.push(format!("program {seed}: the kernel reaches {pc}"));
            }
        }
    }
    if let Ok(seed) = std::env::var("EBPFVM_SHOW") {
        let case = build(&Generator(Random::new(seed.parse().unwrap())).steps());
        eprintln!("{}", kernel_log(&kernel, &case.bytes));
    }
    let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{shown}", wrong.len());
    assert!(compared as u64 > programs * 5, "only {compared} states compared");
    eprintln!("{programs} programs: {compared} states and {violations} contradictions compared");
}
