//! Maps as programs see them, here and in the kernel.

use super::{Action, BATCH, Keys, Kind};
use ebpfvm::{Context, Instance, MapRef, Vm};
use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, Prog, TestRun};
use ebpfvm_spec::{ProgType, Program};
use ebpfvm_verifier::{Options, VerifiedProgram};
use std::sync::Arc;

/// What a program does in its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Draws keys and nothing else, as the measure of the loop.
    Nothing,
    /// Something with each key.
    On(Action),
}

/// The program: a loop over a batch of keys, the first from the random helper. It returns how many
/// keys were found or written.
fn text(kind: &Kind, work: Work) -> String {
    let action = if let Work::On(action) = work { action } else { Action::Lookup };
    let size = if kind.key_bytes == 4 { "u32" } else { "u64" };
    let (factor, step, shift) = (Keys::FACTOR as i64, Keys::STEP, 64 - kind.bits(action));
    let act = match work {
        Work::Nothing => "r9 += 1\n",
        Work::On(Action::Lookup) => {
            "r2 = r10\nr2 += -8\nr1 = map[idx:0]\ncall 1\nif r0 == 0 goto next\n\
             r1 = *(u64 *)(r0 + 0)\nr9 += 1\n"
        }
        Work::On(Action::Update) => {
            "*(u64 *)(r10 - 16) = r6\nr2 = r10\nr2 += -8\nr3 = r10\nr3 += -16\nr4 = 0\n\
             r1 = map[idx:0]\ncall 2\nif r0 != 0 goto next\nr9 += 1\n"
        }
    };
    format!(
        "call 7\nr6 = r0\nr7 = 0\nr9 = 0\nr8 = {factor} ll\n\
         loop:\nr6 *= r8\nr6 += {step}\nr1 = r6\nr1 >>= {shift}\n*({size} *)(r10 - 8) = r1\n\
         {act}next:\nr7 += 1\nif r7 < {BATCH} goto loop\nr0 = r9\nexit\n"
    )
}

fn program(kind: &Kind, work: Work) -> Program {
    let code = assemble(&text(kind, work), Dialect::PseudoC).expect("the text is a program");
    let mut program = Program::from_code("measured", ProgType::SocketFilter, code);
    program.maps = [kind.def()].into();
    program
}

/// The program as the verifier accepts it.
fn judged(vm: &Vm, kind: &Kind, work: Work) -> VerifiedProgram {
    vm.verify(program(kind, work), &Options::default()).verdict.expect("the program is accepted")
}

/// A program of ours on a map of ours.
pub struct Ours(Arc<Instance>);

impl Ours {
    /// The program on this map.
    pub fn new(vm: &Vm, kind: &Kind, work: Work, map: &MapRef) -> Ours {
        let linked = vm.link_verified(judged(vm, kind, work), std::slice::from_ref(map));
        Ours(linked.expect("the map is the program's"))
    }

    /// Runs it once; returns how many keys were found or written.
    pub fn batch(&self) -> u64 {
        let mut context = Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet");
        self.0.run(&mut context, ebpfvm::DEFAULT_FUEL).expect("the program runs").retval
    }
}

/// The kernel's map of a kind, with its keys.
///
/// # Errors
/// What the kernel refuses.
pub(super) fn kernel_map(kernel: &Kernel, kind: &Kind) -> Result<Map, String> {
    let def = kind.def();
    let request = MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries);
    let map = kernel.map_create(&request).map_err(|errno| errno.to_string())?;
    let value = vec![1; map.value_bytes()];
    for key in kind.present() {
        let key = &key.to_ne_bytes()[..kind.key_bytes as usize];
        map.update(key, &value, 0).map_err(|error| error.to_string())?;
    }
    Ok(map)
}

/// The program in the kernel.
pub struct Theirs(Prog);

impl Theirs {
    /// The program on this map.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(kernel: &Kernel, kind: &Kind, work: Work, map: &Map) -> Result<Theirs, String> {
        let code = program(kind, work).code;
        let insns = code.to_bytes(ByteOrder::HOST).map_err(|error| error.to_string())?;
        let fds = [map.fd()];
        let request =
            LoadRequest { fd_array: &fds, ..LoadRequest::new(ProgType::SocketFilter, &insns) };
        kernel.prog_load(&request).map(Theirs).map_err(|error| error.to_string())
    }

    /// Runs it `repeat` times; returns how many keys were found or written the last time, and the
    /// nanoseconds of a run as the kernel measures them.
    pub fn run(&self, repeat: u32) -> (u64, u32) {
        let request = TestRun { data_in: &[0; 64], repeat, ..TestRun::default() };
        let result = self.0.test_run(&request).expect("the program runs");
        (result.retval.into(), result.duration_ns)
    }
}

/// Fills a map of ours with the keys of its kind.
pub(super) fn fill(kind: &Kind, map: &MapRef) {
    let value = vec![1; map.host_value_bytes()];
    for key in kind.present() {
        let key = &key.to_ne_bytes()[..kind.key_bytes as usize];
        map.write(key, &value, ebpfvm::map::UpdateFlags::ANY).expect("there is room");
    }
}
