//! Timers fire here as they do in the kernel: in the same order, with the same effects.
//!
//! The kernel's fire by themselves while the test waits; those here when the test says so. Times lie
//! far enough apart that a busy kernel does not swap them.

use ebpfvm_conformance::object::{Input, Live, Machine, Mode, Side};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_loader::Object;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// When the last timer of the program has fired, and a while later.
const ALL_FIRED: Duration = Duration::from_millis(450);

/// What timers of the program do in total.
const FIRED: usize = 17;

#[test]
fn timers_fire_as_in_the_kernel() {
    let Some(kernel) = linux_6_18_or_skip("timers_fire_as_in_the_kernel") else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("objects/timers.bpf.o");
    let object = Object::parse(&std::fs::read(path).expect("the object"), "timers.bpf.o");
    let object = Arc::new(object.expect("an object"));
    let cpu = kernel.pin_thread().expect("a CPU");
    let input = Input::packet(vec![0; 64]);
    let defs = object.maps().to_vec();
    let mut live = Live::new(&kernel, object.clone(), defs.clone()).expect("live maps");
    live.load("counted").expect("loaded");
    live.run("clocks", &input).expect("a run");
    std::thread::sleep(ALL_FIRED);
    let theirs = live.run("counted", &input).expect("a run");
    for mode in Mode::ALL {
        let cpus = kernel.possible_cpus();
        let mut machine =
            Machine::new(object.clone(), defs.clone(), cpus, cpu, mode).expect("maps");
        machine.run("clocks", &input).expect("a run");
        let fired = machine.fire_timers(ALL_FIRED.as_nanos() as u64).fired;
        for fired in &fired {
            assert!(fired.outcome.as_ref().is_ok_and(|o| o.retval == 0), "{fired:?}");
        }
        assert!(fired.is_sorted_by_key(|fired| fired.due_ns));
        assert_eq!(fired.len(), FIRED);
        let ours = machine.run("counted", &input).expect("a run");
        assert!(ours.retval > 40);
        assert_eq!(ours.difference(&theirs), None, "{mode:?}");
    }
}
