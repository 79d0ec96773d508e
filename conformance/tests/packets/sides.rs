//! One program on both sides: on this machine, with and without checks, and on the kernel.

use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::map::MapDef;
use ebpfvm::spec::{AttachType, MapType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, Vm};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Code};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, MapRequest, TestRun};
use ebpfvm_spec::{Errno, ProgType};

/// The value that programs write their findings to, in bytes.
pub(crate) const RESULTS_BYTES: usize = 1024;

/// More than any packet has.
const DATA_CAPACITY: usize = 80_000;

/// A program that finds the address of its results in `r9` and its context in `r6`.
pub(crate) struct Trial {
    pub(crate) prog_type: ProgType,
    pub(crate) attach_type: AttachType,
    pub(crate) source: String,
    pub(crate) data: Vec<u8>,
    /// The kernel's form of the context that goes in; none if empty.
    pub(crate) ctx: Vec<u8>,
}

/// What a run left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) retval: u32,
    pub(crate) results: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) ctx: Vec<u8>,
}

impl Trial {
    fn code(&self) -> Code {
        let source = format!("r6 = r1\nr9 = map[idx:0][0]+0\n{}", self.source);
        let code = assemble(&source.replace("+ -", "- "), Dialect::PseudoC);
        code.unwrap_or_else(|e| panic!("{e}\n{source}"))
    }

    /// # Errors
    /// The number with which the kernel refuses the test-run.
    ///
    /// # Panics
    /// If the kernel does not load the program.
    pub(crate) fn on_kernel(&self, kernel: &Kernel) -> Result<Seen, Errno> {
        let results =
            kernel.map_create(&MapRequest::new(MapType::Array, 4, RESULTS_BYTES as u32, 1));
        let results = results.expect("a map");
        let bytes = self.code().to_bytes(ByteOrder::HOST).expect("code");
        let request = LoadRequest {
            expected_attach_type: self.attach_type,
            fd_array: &[results.fd()],
            log_level: log_level::PATH,
            ..LoadRequest::new(self.prog_type, &bytes)
        };
        let program = kernel.prog_load(&request);
        let program = program.unwrap_or_else(|e| panic!("{e}\n{}\n{}", e.log, self.source));
        let run = TestRun {
            data_in: &self.data,
            data_out_capacity: DATA_CAPACITY,
            ctx_in: &self.ctx,
            ctx_out_capacity: self.ctx.len(),
            ..TestRun::default()
        };
        let run = program.test_run(&run)?;
        let results = results.lookup(&[0; 4]).expect("a value").unwrap_or_default();
        Ok(Seen { retval: run.retval, results, data: run.data_out, ctx: run.ctx_out })
    }

    /// On this machine, on contexts made by `context`: without checks and with them, interpreted and
    /// as machine code, which must leave the same.
    ///
    /// # Panics
    /// If the program is not accepted or traps.
    pub(crate) fn here(&self, context: impl Fn() -> Context) -> (Seen, Context) {
        let (compiled, _) = self.here_on(Engine::Jit, &context);
        let (seen, ctx) = self.here_on(Engine::Interpreter, &context);
        assert_eq!(compiled, seen, "machine code does something else:\n{}", self.source);
        (seen, ctx)
    }

    fn here_on(&self, engine: Engine, context: &impl Fn() -> Context) -> (Seen, Context) {
        let vm = Vm::linux().engine(engine).build();
        let map =
            vm.create_map(&MapDef::new("results", MapType::Array, 4, RESULTS_BYTES as u32, 1));
        let maps = [map.expect("a map")];
        let mut program = Program::from_code("trial", self.prog_type, self.code());
        program.attach_type = self.attach_type;
        program.maps = maps.iter().map(|map| map.def().clone()).collect();
        let judged = vm.verify(program, &Options::default()).verdict;
        let accepted = judged.unwrap_or_else(|e| panic!("{e:?}\n{}", self.source));
        let instance = vm.link_verified(accepted, &maps).expect("it links");
        assert!(instance.is_verified(), "it runs with checks only");
        let run = |checked: bool| {
            maps[0].write(&[0; 4], &[0; RESULTS_BYTES], UpdateFlags::ANY).expect("a value");
            let mut ctx = context();
            let outcome = match checked {
                true => instance.run_checked(&mut ctx, DEFAULT_FUEL),
                false => instance.run(&mut ctx, DEFAULT_FUEL),
            };
            let outcome = outcome.unwrap_or_else(|trap| panic!("{trap}\n{}", self.source));
            let results = maps[0].read(&[0; 4]).expect("a value");
            let (retval, data) = (outcome.retval as u32, ctx.data_out());
            (Seen { retval, results, data, ctx: Vec::new() }, ctx)
        };
        let ((checked, _), (seen, ctx)) = (run(true), run(false));
        assert_eq!(checked, seen, "checks change what happens:\n{}", self.source);
        (seen, ctx)
    }
}
