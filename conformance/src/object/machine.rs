//! An object on this machine.

use super::{Contents, Input, ObjectError, Observation, SKB_FIELDS, Side, View, for_host, view};
use ebpfvm::map::{Cpu, Ringbuf, UpdateFlags};
use ebpfvm::timer::TimerRun;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, Host, LoadOptions, Loaded, LoadedError, MapRef, Vm};
use ebpfvm_loader::Object;
use ebpfvm_spec::{MapDef, ProgType};
use ebpfvm_verifier::Options;
use std::sync::Arc;

/// An object on this machine.
#[derive(Debug)]
pub struct Machine {
    loaded: Loaded,
}

/// How programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Judged first, and then interpreted without checks.
    Verified,
    /// Interpreted as they are, every access checked.
    Checked,
    /// Judged first, and then as machine code without checks.
    Compiled,
    /// As machine code, every access checked.
    CompiledChecked,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] =
        [Mode::Verified, Mode::Checked, Mode::Compiled, Mode::CompiledChecked];

    const fn engine(self) -> Engine {
        match self {
            Mode::Verified | Mode::Checked => Engine::Interpreter,
            Mode::Compiled | Mode::CompiledChecked => Engine::Jit,
        }
    }

    const fn is_judged(self) -> bool {
        matches!(self, Mode::Verified | Mode::Compiled)
    }
}

/// A quiet host on one CPU.
struct OnCpu(Cpu);

impl Host for OnCpu {
    fn cpu(&self) -> Cpu {
        self.0
    }
}

impl Machine {
    /// Creates the maps. Programs run on the CPU `cpu` of `cpus`.
    ///
    /// # Errors
    /// A map cannot be created or filled.
    pub fn new(
        object: Arc<Object>,
        defs: Vec<MapDef>,
        cpus: u32,
        cpu: u32,
        mode: Mode,
    ) -> Result<Machine, ObjectError> {
        let host = Arc::new(OnCpu(Cpu(cpu)));
        let vm = Vm::linux().cpus(cpus).host(host).engine(mode.engine()).build();
        let verify = mode.is_judged().then(|| Options { cpus: Some(cpus), ..Options::default() });
        let options = LoadOptions { maps: Some(defs), verify, ..LoadOptions::default() };
        let loaded = Loaded::with(&vm, object, options).map_err(|e| match &e {
            LoadedError::Link { program, .. } => ObjectError::program(program, &e),
            _ => ObjectError::Map { map: String::new(), why: e.to_string() },
        })?;
        Ok(Machine { loaded })
    }

    /// The definitions of the maps, as they were created.
    pub fn defs(&self) -> Vec<MapDef> {
        self.loaded.maps().iter().map(|map| map.def().clone()).collect()
    }

    /// Fires the timers that programs have started and that are due then; the clock stands at 0.
    pub fn fire_timers(&self, until_ns: u64) -> TimerRun {
        self.loaded.vm().fire_timers(until_ns, DEFAULT_FUEL)
    }

    fn map(&self, name: &str) -> Result<&MapRef, ObjectError> {
        let missing = || ObjectError::Map { map: name.into(), why: "there is none".into() };
        self.loaded.map(name).ok_or_else(missing)
    }
}

impl Side for Machine {
    fn write(&mut self, name: &str, key: &[u8], value: &[u8]) -> Result<(), ObjectError> {
        let map = self.map(name)?;
        let value = for_host(map.def(), value, map.host_value_bytes());
        let written = map.write(key, &value, UpdateFlags::ANY);
        written.map_err(|e| ObjectError::map(name, e.errno()))
    }

    fn remove(&mut self, name: &str, key: &[u8]) -> Result<(), ObjectError> {
        self.map(name)?.remove(key).map_err(|e| ObjectError::map(name, e.errno()))
    }

    fn load(&mut self, program: &str) -> Result<(), ObjectError> {
        self.loaded.program(program).map(drop).map_err(|e| ObjectError::program(program, e))
    }

    fn run(&mut self, program: &str, input: &Input) -> Result<Observation, ObjectError> {
        let loaded = self.loaded.program(program);
        let instance = loaded.map_err(|e| ObjectError::program(program, e))?;
        let refused = |e: ebpfvm::ContextError| ObjectError::Input(e.to_string());
        let mut context = Context::packet(instance.prog_type(), &input.packet).map_err(refused)?;
        for (field, value) in &input.fields {
            context.set_field(field, u64::from(*value)).map_err(refused)?;
        }
        let outcome = instance.run(&mut context, DEFAULT_FUEL);
        let trap = |e: Box<ebpfvm::Trap>| ObjectError::Trap {
            program: program.into(),
            why: e.to_string(),
        };
        let mut observed = Observation {
            retval: outcome.map_err(trap)?.retval as u32,
            packet: context.data_out(),
            ..Observation::default()
        };
        match (instance.prog_type(), context.visible_packet()) {
            (ProgType::Xdp, Some(packet)) => {
                let (all, data) = (packet.data_with_meta().len(), packet.data().len());
                observed.context.insert("data".into(), (all - data) as u64);
                observed.context.insert("data_end".into(), all as u64);
            }
            _ => {
                for name in SKB_FIELDS {
                    let value = context.field(name).map_err(refused)?;
                    observed.context.insert((*name).into(), value);
                }
            }
        }
        for map in self.loaded.maps() {
            if let Some(contents) = contents(map) {
                observed.maps.insert(map.def().name.clone(), contents);
            }
        }
        Ok(observed)
    }
}

fn contents(map: &MapRef) -> Option<Contents> {
    match view(map.def()) {
        View::Entries => Some(Contents::Entries(map.entries().collect())),
        View::Keys => {
            Some(Contents::Entries(map.entries().map(|(key, _)| (key, Vec::new())).collect()))
        }
        View::Sequence => Some(Contents::Sequence(map.values())),
        View::Records => {
            let mut records = Vec::new();
            map.as_kind::<Ringbuf>()?.consume(|record| records.push(record.to_vec()));
            Some(Contents::Sequence(records))
        }
        View::Hidden => None,
    }
}
