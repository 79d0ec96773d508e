//! An object on both sides.

use ebpfvm_conformance::object::{Input, Live, Machine, Mode, ObjectError, Side};
use ebpfvm_kernel::Kernel;
use ebpfvm_loader::Object;
use ebpfvm_spec::btf::Kind;
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, ProgType};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What was compared.
#[derive(Default)]
pub(crate) struct Counts {
    pub programs: usize,
    /// Runs on both sides.
    pub runs: usize,
    /// Inputs that the kernel's test-run does not take.
    pub refused: usize,
    /// Runs by verdict.
    pub verdicts: BTreeMap<u32, usize>,
}

impl Counts {
    /// The five most frequent verdicts, with how often each was given.
    pub(crate) fn most_often(&self) -> Vec<(u32, usize)> {
        let mut all: Vec<_> =
            self.verdicts.iter().map(|(verdict, runs)| (*verdict, *runs)).collect();
        all.sort_by_key(|(_, runs)| std::cmp::Reverse(*runs));
        all.truncate(5);
        all
    }
}

pub(crate) struct Pair {
    pub object: Arc<Object>,
    /// The machine in every mode.
    pub machines: [Machine; MODES.len()],
    pub live: Live,
}

const MODES: [Mode; 4] = Mode::ALL;

pub(crate) fn open(path: &Path) -> Arc<Object> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.file_name().expect("a file").to_string_lossy();
    Arc::new(Object::parse(&bytes, &name).unwrap_or_else(|e| panic!("{e}")))
}

/// The programs that can be test-run on a packet.
pub(crate) fn packet_programs(object: &Object) -> Vec<String> {
    use ProgType::*;
    let runs = |t| matches!(t, Xdp | SchedCls | SchedAct | SocketFilter | CgroupSkb);
    let programs = object.programs().iter();
    programs.filter(|p| p.prog_type.is_some_and(runs)).map(|p| p.name.clone()).collect()
}

impl Pair {
    pub(crate) fn new(kernel: &Kernel, object: &Arc<Object>, defs: Vec<MapDef>) -> Pair {
        Pair::try_new(kernel, object, defs).unwrap_or_else(|e| panic!("{}, {e}", object.file()))
    }

    /// The object on all sides, or why not.
    pub(crate) fn try_new(
        kernel: &Kernel,
        object: &Arc<Object>,
        defs: Vec<MapDef>,
    ) -> Result<Pair, String> {
        let cpu = kernel.pin_thread().expect("a CPU");
        let machine = |mode| {
            let machine =
                Machine::new(object.clone(), defs.clone(), kernel.possible_cpus(), cpu, mode);
            machine.map_err(|e| format!("here: {e}"))
        };
        let [a, b, c, d] = MODES;
        let machines = [machine(a)?, machine(b)?, machine(c)?, machine(d)?];
        let live = Live::new(kernel, object.clone(), machines[0].defs());
        let live = live.map_err(|e| format!("the kernel: {e}"))?;
        Ok(Pair { object: object.clone(), machines, live })
    }

    pub(crate) fn sides(&mut self) -> [&mut dyn Side; MODES.len() + 1] {
        let [a, b, c, d] = &mut self.machines;
        [a, b, c, d, &mut self.live]
    }

    /// Whether the program sees a socket buffer, of which the host may set numbers.
    pub(crate) fn is_skb(&self, program: &str) -> bool {
        let program = self.object.programs().iter().find(|p| p.name == program);
        program.is_some_and(|p| p.prog_type != Some(ProgType::Xdp))
    }

    /// Runs a program on both; the difference, if there is one.
    pub(crate) fn compare(
        &mut self,
        program: &str,
        input: &Input,
        counts: &mut Counts,
    ) -> Option<String> {
        let theirs = self.live.run(program, input);
        if matches!(theirs, Err(ObjectError::Input(_)))
            && self.is_skb(program)
            && (header_is_cut(&input.packet) || input.packet.len() > SKB_TEST_RUN_BYTES)
        {
            counts.refused += 1;
            return None;
        }
        let ours = MODES.into_iter().zip(self.machines.each_mut().map(|m| m.run(program, input)));
        let mut difference = None;
        for (mode, ours) in ours {
            let differs = match (ours, &theirs) {
                (Ok(ours), Ok(theirs)) => ours.difference(theirs),
                (ours, theirs) => {
                    let show = |side: Result<_, &ObjectError>| match side {
                        Ok(()) => "it ran".into(),
                        Err(e) => e.to_string(),
                    };
                    let (here, there) = (ours.as_ref().map(drop), theirs.as_ref().map(drop));
                    Some(format!("  here: {}\n  the kernel: {}\n", show(here), show(there)))
                }
            };
            difference = difference.or(differs.map(|text| format!("  {mode:?}:\n{text}")));
        }
        if let Ok(theirs) = theirs {
            counts.runs += 1;
            *counts.verdicts.entry(theirs.retval).or_default() += 1;
        }
        difference
    }
}

/// No kernel's test-run of a program on socket buffers takes more: what a page holds besides the
/// headroom and the kernel's own part (`bpf_test_init`, Linux 6.18).
const SKB_TEST_RUN_BYTES: usize = 3_500;

/// What the kernel's test-run does not take but a network would: an IPv4 or IPv6 packet that ends
/// within its fixed header (`bpf_prog_test_run_skb`, Linux 6.18).
fn header_is_cut(packet: &[u8]) -> bool {
    match packet[12..] {
        [0x08, 0x00, ref rest @ ..] => rest.len() < 20,
        [0x86, 0xdd, ref rest @ ..] => rest.len() < 40,
        _ => false,
    }
}

/// Sets bytes of a global variable in the definitions.
pub(crate) fn set_global(object: &Object, defs: &mut [MapDef], name: &str, bytes: &[u8]) {
    let btf = object.btf().expect("types");
    for def in defs {
        let MapOrigin::Section { data, .. } = &mut def.origin else { continue };
        let Some(Kind::Datasec { vars, .. }) = def.value_type.and_then(|t| btf.kind(t)) else {
            continue;
        };
        if let Some(var) = btf.list(vars).iter().find(|var| btf.name(var.type_id) == name) {
            let mut new = data.to_vec();
            new[var.offset as usize..][..bytes.len()].copy_from_slice(bytes);
            *data = new.into();
            return;
        }
    }
    panic!("{}: there is no variable {name}", object.file());
}
