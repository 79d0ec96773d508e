//! What the verifier accepts Linux accepts too, and it runs without a trap.

use super::{Failure, Seen};
use crate::draw::Draw;
use crate::generate::{Judged, maps};
use ebpfvm::{Context, DEFAULT_FUEL, Engine, MapRef, TrapKind, Vm};
use ebpfvm_asm::Insn;
use ebpfvm_conformance::judge::{self, LiveJudge};
use ebpfvm_kernel::Kernel;
use ebpfvm_kernel::prog::log_level;
use ebpfvm_spec::{Platform, Program};
use ebpfvm_verifier::Options;
use std::sync::OnceLock;
use std::time::Duration;

/// Packets that accepted programs run on, by length in bytes.
const PACKETS: [usize; 3] = [14, 40, 200];

/// Time that no program may take, on a busy machine and without optimisation: a program may keep the
/// verifier at work for a million instructions.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Who judges and runs: made once for a thread.
pub struct Judges {
    linux: LiveJudge,
    platform: &'static Platform,
    vm: Vm,
    maps: Vec<MapRef>,
    /// Whether messages and counts are compared too, which takes a log.
    detail: bool,
}

impl Judges {
    /// All of them.
    ///
    /// # Errors
    /// A map cannot be made.
    pub fn new(kernel: &Kernel) -> Result<Judges, String> {
        static PLATFORM: OnceLock<Platform> = OnceLock::new();
        let vm = Vm::linux().engine(Engine::Interpreter).build();
        let defs = maps();
        let maps = defs.iter().map(|def| vm.create_map(def).map_err(|e| e.to_string()));
        let maps = maps.collect::<Result<_, _>>()?;
        Ok(Judges {
            linux: LiveJudge::new(kernel, defs, None)?,
            platform: PLATFORM.get_or_init(Platform::linux),
            vm,
            maps,
            detail: std::env::var_os("EBPFVM_FUZZ_DETAIL").is_some(),
        })
    }

    /// Compares the verdicts; what is accepted runs.
    ///
    /// # Errors
    /// Accepted here but not there, or a trap.
    pub fn check(&mut self, judged: &Judged, bytes: &[u8]) -> Result<Seen, Failure> {
        let mut program = Program::from_code("fuzz", judged.prog_type, judged.code.clone());
        program.flags = judged.flags;
        program.maps = maps();
        program.funcs.truncate(1);
        let here = judge::judge(program.clone(), self.platform, &Options::default());
        if here.time > TIME_LIMIT {
            return Err(Failure::new("verifier", format!("took {:?}", here.time)));
        }
        let level = if self.detail { log_level::STATS } else { 0 };
        let linux = self.linux.judge(&program, level).map_err(|e| Failure::new("kernel", e))?;
        match (here.accepted, linux.accepted) {
            (true, false) => {
                let linux = self.linux.judge(&program, log_level::STATS);
                let why = linux.map_or_else(|e| e, |linux| linux.message);
                return Err(Failure::new("verdict", format!("accepted; Linux: {why}")));
            }
            (false, _) if here.unsupported => return Ok("unsupported"),
            (false, true) => {
                if self.detail {
                    eprintln!("refused here only: {}", here.message);
                }
                return Ok("refused here only");
            }
            _ => {}
        }
        if self.detail && here.processed != linux.processed {
            let (here, linux) = (here.processed.unwrap_or(0), linux.processed.unwrap_or(0));
            eprintln!("other count: {here} here, {linux} Linux");
            return Ok("other count");
        }
        if !here.accepted {
            if self.detail && here.message != linux.message {
                eprintln!("other message: {} | {}", here.message, linux.message);
                return Ok("other message");
            }
            return Ok("refused");
        }
        self.run(program, bytes)?;
        Ok("accepted")
    }

    /// Runs an accepted program in the checked interpreter on packets and map values of the bytes.
    fn run(&self, program: Program, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |what: String| Failure::new("run", what);
        let prog_type = program.prog_type;
        // A loop with `may_goto` is only bound to end after eight million rounds.
        let may_run_long =
            program.code.iter().any(|(_, insn)| matches!(insn, Insn::MayGoto { .. }));
        let fuel = if may_run_long { 1 << 20 } else { DEFAULT_FUEL };
        let instance = self.vm.link(program, &self.maps).map_err(|e| failed(e.to_string()))?;
        let mut draw = Draw::new(bytes);
        for length in PACKETS {
            let packet: Vec<u8> = (0..length)
                .map(|i| bytes.get(i * 3 % bytes.len().max(1)).copied().unwrap_or(0))
                .collect();
            for map in &self.maps[..2] {
                let size = map.host_value_bytes();
                let value: Vec<u8> =
                    (0..size / 8).flat_map(|_| draw.number().to_ne_bytes()).collect();
                let written = map.write(&[0; 4], &value, ebpfvm::map::UpdateFlags::ANY);
                written.map_err(|e| failed(e.to_string()))?;
            }
            let context = Context::packet(prog_type, &packet);
            let mut context = context.map_err(|e| failed(e.to_string()))?;
            match instance.run(&mut context, fuel) {
                Ok(_) => {}
                Err(trap) if may_run_long && matches!(trap.kind, TrapKind::OutOfFuel(_)) => {}
                Err(trap) => return Err(failed(format!("packet of {length} bytes: {trap}"))),
            }
        }
        Ok(())
    }
}
