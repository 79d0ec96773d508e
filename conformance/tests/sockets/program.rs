//! A program on both sides: its only array takes input and results.

use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::{MapDef, MapType, ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, MapRef, Vm};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Code};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, TestRun};

/// Size of the array's only value.
pub(crate) const VALUE_BYTES: usize = 512;
/// Where results begin in it.
pub(crate) const RESULTS: usize = 128;

/// A program as text. It begins with `r6` the context and `r9` the value.
pub(crate) struct Case {
    pub(crate) prog_type: ProgType,
    pub(crate) source: String,
}

/// What a run gave: what the program returned, and the value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) retval: u32,
    pub(crate) results: Vec<u64>,
}

fn ran(retval: u32, value: &[u8]) -> Ran {
    let words = value[RESULTS..].as_chunks::<8>().0;
    Ran { retval, results: words.iter().map(|word| u64::from_ne_bytes(*word)).collect() }
}

fn value_of(input: &[u8]) -> Vec<u8> {
    let mut value = input.to_vec();
    value.resize(VALUE_BYTES, 0);
    value
}

impl Case {
    fn code(&self) -> Code {
        let source = format!("r6 = r1\nr9 = map[idx:0][0]+0\n{}", self.source);
        let source = source.replace("+ -", "- ");
        assemble(&source, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{source}"))
    }

    /// Runs in the kernel; further maps have the numbers from 1 on.
    pub(crate) fn in_kernel(
        &self,
        kernel: &Kernel,
        maps: &[&Map],
        input: &[u8],
        run: &TestRun<'_>,
    ) -> Result<Ran, String> {
        let request = MapRequest::new(MapType::Array, 4, VALUE_BYTES as u32, 1);
        let value = kernel.map_create(&request).map_err(|e| e.to_string())?;
        value.update(&[0; 4], &value_of(input), 0).map_err(|e| e.to_string())?;
        let fds: Vec<i32> = [&value].iter().chain(maps).map(|map| map.fd()).collect();
        let bytes = self.code().to_bytes(ByteOrder::HOST).map_err(|e| e.to_string())?;
        let request = LoadRequest {
            fd_array: &fds,
            log_level: log_level::PATH,
            license: "GPL",
            expected_attach_type: attach_type(self.prog_type),
            ..LoadRequest::new(self.prog_type, &bytes)
        };
        let program = kernel.prog_load(&request).map_err(|e| format!("{e}\n{}", self.source))?;
        let result = program.test_run(run).map_err(|e| e.to_string())?;
        let value = value.lookup(&[0; 4]).map_err(|e| e.to_string())?.unwrap_or_default();
        Ok(ran(result.retval, &value))
    }

    /// Runs here: judged and checked, interpreted and as machine code, which must give the same.
    pub(crate) fn here(
        &self,
        vms: &[Vm; 2],
        maps: &[MapRef],
        input: &[u8],
        context: impl Fn() -> Context,
    ) -> Result<Ran, String> {
        let [interpreted, compiled] =
            vms.each_ref().map(|vm| self.here_on(vm, maps, input, &context));
        match interpreted == compiled {
            true => interpreted,
            false => Err(format!("interpreted {interpreted:?}\nas machine code {compiled:?}")),
        }
    }

    fn here_on(
        &self,
        vm: &Vm,
        maps: &[MapRef],
        input: &[u8],
        context: &impl Fn() -> Context,
    ) -> Result<Ran, String> {
        let def = MapDef::new("value", MapType::Array, 4, VALUE_BYTES as u32, 1);
        let value = vm.create_map(&def).map_err(|e| e.to_string())?;
        let all: Vec<MapRef> = std::iter::once(&value).chain(maps).cloned().collect();
        let mut program = Program::from_code("test", self.prog_type, self.code());
        program.maps = all.iter().map(|map| map.def().clone()).collect();
        program.license = "GPL".into();
        program.attach_type = attach_type(self.prog_type);
        let verdict = vm.verify(program, &Options::default()).verdict;
        let verified = verdict.map_err(|e| format!("{e}\n{}", self.source))?;
        let instance = vm.link_verified(verified, &all).map_err(|e| e.to_string())?;
        if !instance.is_verified() {
            return Err("it does not run as verified".into());
        }
        let run = |checked: bool| -> Result<Ran, String> {
            let full = value_of(input);
            value.write(&[0; 4], &full, UpdateFlags::ANY).map_err(|e| e.to_string())?;
            let mut ctx = context();
            let outcome = match checked {
                true => instance.run_checked(&mut ctx, DEFAULT_FUEL),
                false => instance.run(&mut ctx, DEFAULT_FUEL),
            };
            let outcome = outcome.map_err(|e| e.to_string())?;
            let full = value.read(&[0; 4]).map_err(|e| e.to_string())?;
            Ok(ran(outcome.retval as u32, &full))
        };
        let (fast, checked) = (run(false)?, run(true)?);
        if fast != checked {
            return Err(format!("verified {fast:?}\nchecked {checked:?}"));
        }
        Ok(fast)
    }
}

fn attach_type(prog_type: ProgType) -> ebpfvm::spec::AttachType {
    use ebpfvm::spec::AttachType;
    if prog_type == ProgType::SkLookup { AttachType::SK_LOOKUP } else { AttachType::NONE }
}

/// Stores a register as a result.
pub(crate) fn save(register: &str, result: usize) -> String {
    format!("*(u64 *)(r9 + {}) = {register}\n", RESULTS + 8 * result)
}
