//! The Linux kernel as an engine.
//!
//! A program becomes a socket filter whose first instructions give it its memory, the value of an
//! array map, and whose exits store the whole of `r0` in another map, since a test run reports only
//! half of it:
//!
//! ```text
//!         r1 = address of the memory, r2 = its length     (both 0 without memory)
//!         goto program
//! finish: r1 = address of the result
//!         *(u64 *)(r1 + 0) = r0
//!         r0 = 1
//!         exit
//! program: …                                              (every exit becomes goto finish)
//! ```
//!
//! Exits of other functions than the first stay. A program with legacy packet loads gets the
//! context in `r1`, as the kernel demands, and the memory as its packet.

use crate::engine::{Engine, Outcome, Verdicts};
use ebpfvm_asm::{
    AluOp, ByteOrder, Code, EncodeError, Imm64, Insn, Operand, Pc, Reach, Reg, Size, Slot, Width,
};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, TestRun, Unavailable};
use ebpfvm_spec::{MapType, ProgType};

/// The running kernel, with its verifier and JIT as they are configured.
#[derive(Clone, Debug)]
pub struct KernelEngine {
    kernel: Kernel,
}

/// The Ethernet header that a socket filter does not see.
const ETH_HEADER_BYTES: usize = 14;

impl KernelEngine {
    /// The engine, if the kernel lets us.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason.
    pub fn new() -> Result<KernelEngine, Unavailable> {
        Ok(KernelEngine { kernel: Kernel::probe()? })
    }

    fn array(&self, value_bytes: usize) -> Result<Map, String> {
        let bytes = u32::try_from(value_bytes).map_err(|_| "the memory is too large")?;
        self.kernel
            .map_create(&MapRequest::new(MapType::Array, 4, bytes, 1))
            .map_err(|e| format!("creating a map of {bytes} bytes failed: {e}"))
    }

    fn try_run(&self, program: &[Slot], memory: Option<&[u8]>) -> Result<Outcome, String> {
        let memory = memory.unwrap_or_default();
        let code = Code::decode(program);
        let has_packet_loads = code.as_ref().is_ok_and(|code| {
            code.iter().any(|(_, insn)| matches!(insn, Insn::LoadAbs { .. } | Insn::LoadInd { .. }))
        });
        let result = self.array(8)?;
        let source = match (has_packet_loads, memory) {
            (true, _) => Source::Context { bytes: memory.len() },
            (false, []) => Source::Nothing,
            (false, _) => {
                let map = self.array(memory.len())?;
                map.update(&[0; 4], memory, 0).map_err(|e| e.to_string())?;
                Source::Map { map, bytes: memory.len() }
            }
        };
        let slots = wrap(program, code.as_ref().ok(), &source, &result)
            .map_err(|e| format!("the program cannot be wrapped: {e}"))?;
        let insns: Vec<u8> = slots.iter().flat_map(|slot| slot.to_bytes(ByteOrder::HOST)).collect();
        let mut request = LoadRequest::new(ProgType::SocketFilter, &insns);
        request.name = "conformance";
        // A log costs more than the rest, so it is made only when there is something to read.
        let prog = match self.kernel.prog_load(&request) {
            Ok(prog) => prog,
            Err(_) => {
                request.log_level = log_level::PATH;
                match self.kernel.prog_load(&request) {
                    Ok(prog) => prog,
                    Err(e) => {
                        let why = e.reason().map_or(e.errno.to_string(), str::to_string);
                        return Ok(Outcome::Refused(why));
                    }
                }
            }
        };
        let mut packet = vec![0; ETH_HEADER_BYTES];
        match source {
            Source::Context { .. } => packet.extend(memory),
            _ => packet.resize(64, 0),
        }
        let run = prog
            .test_run(&TestRun { data_in: &packet, ..TestRun::default() })
            .map_err(|e| format!("the test run failed: {e}"))?;
        // A packet load out of range ends the program with 0 on the spot, before the result is kept.
        if run.retval == 0 {
            return Ok(Outcome::Value(0));
        }
        let value = result.lookup(&[0; 4]).map_err(|e| e.to_string())?.unwrap_or_default();
        let value = value.try_into().map_err(|_| "the result has no 8 bytes")?;
        Ok(Outcome::Value(u64::from_ne_bytes(value)))
    }
}

impl Engine for KernelEngine {
    fn name(&self) -> &str {
        "kernel"
    }

    fn run(&self, program: &[Slot], memory: Option<&[u8]>) -> Outcome {
        self.try_run(program, memory).unwrap_or_else(Outcome::Unsupported)
    }

    fn verdicts(&self) -> Verdicts {
        Verdicts::Foreign
    }
}

/// What a program's first registers are made of.
enum Source {
    /// No memory.
    Nothing,
    /// The value of a map.
    Map { map: Map, bytes: usize },
    /// The packet, through the context.
    Context { bytes: usize },
}

fn set(dst: Reg, value: i32) -> Insn {
    Insn::Alu { width: Width::W64, op: AluOp::Mov, dst, src: Operand::Imm(value) }
}

fn value_of(map: &Map) -> Insn {
    let value = Imm64::MapFdValue { fd: map.fd(), offset: 0 };
    Insn::LoadImm { dst: Reg::R1, value }
}

/// Puts the program behind its prologue. One that never exits, or that cannot be decoded, gets no
/// `finish`, which would be dead code: the kernel is to refuse the program for its own faults.
fn wrap(
    program: &[Slot],
    code: Option<&Code>,
    source: &Source,
    result: &Map,
) -> Result<Vec<Slot>, EncodeError> {
    let mut wrapped = Code::default();
    let bytes = match source {
        Source::Nothing => {
            wrapped.push(set(Reg::R1, 0));
            0
        }
        Source::Map { map, bytes } => {
            wrapped.push(value_of(map));
            *bytes
        }
        Source::Context { bytes } => *bytes,
    };
    wrapped.push(set(Reg::R2, bytes as i32));
    let code = code.filter(|code| code.iter().any(|(_, insn)| *insn == Insn::Exit));
    let Some(code) = code else {
        let mut slots = wrapped.encode()?;
        slots.extend(program);
        return Ok(slots);
    };
    let finish = [
        value_of(result),
        Insn::Store { size: Size::Dw, base: Reg::R1, offset: 0, src: Operand::Reg(Reg::R0) },
        set(Reg::R0, 1),
        Insn::Exit,
    ];
    let finish_slots = finish.iter().map(|insn| insn.slots() as i32).sum();
    let over = wrapped.push(Insn::Jump { reach: Reach::Near, offset: finish_slots });
    for insn in finish {
        wrapped.push(insn);
    }
    let first_function = code
        .iter()
        .filter_map(|(pc, insn)| pc.jump(insn.function_offset()?))
        .filter(|start| *start > Pc(0))
        .min()
        .unwrap_or(Pc(u32::MAX));
    for (pc, insn) in code.iter() {
        let insn = match insn {
            Insn::Exit if pc < first_function => {
                let offset = over.index() as i32 - wrapped.len() as i32;
                let reach = if i16::try_from(offset).is_ok() { Reach::Near } else { Reach::Far };
                Insn::Jump { reach, offset }
            }
            insn => *insn,
        };
        wrapped.push(insn);
    }
    wrapped.encode()
}
