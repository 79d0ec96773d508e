//! The machine: a platform with code, and a host.

use crate::context::{Context, ContextError, Layout};
use crate::helper::Helper;
use crate::host::{Host, SystemHost};
use crate::instance::{Instance, LinkError, LinkErrorKind};
use crate::map::{Budget, CreateError, Map, MapLimits, MapRef};
use crate::native::Engine;
use crate::timer::Timers;
use ebpfvm_loader::Absent;
use ebpfvm_spec::{AttachType, MapDef, MapType, Platform, ProgType, Program};
use ebpfvm_verifier::{Judgement, Options, VerifiedProgram};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Makes a [`Vm`].
pub struct Builder {
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    platform: Platform,
    helpers: BTreeMap<u32, Helper>,
    host: Arc<dyn Host>,
    cpus: u32,
    map_limits: MapLimits,
    engine: Engine,
    jit: ebpfvm_jit::Options,
    symbols: ebpfvm_jit::Symbols,
    /// What programs are given, by type: filled when the machine is built.
    layouts: BTreeMap<ProgType, Layout>,
    /// What the maps of this machine have.
    map_budget: Arc<Budget>,
    /// Set when the machine is built.
    timers: Weak<Timers>,
}

impl Builder {
    /// Adds a helper, or replaces the one with its number.
    pub fn helper(mut self, helper: Helper) -> Builder {
        self.parts.platform.add_helper(helper.proto.clone());
        self.parts.helpers.insert(helper.proto.id, helper);
        self
    }

    /// Sets the world outside; the default is [`SystemHost`] with one CPU.
    pub fn host(mut self, host: Arc<dyn Host>) -> Builder {
        self.parts.host = host;
        self
    }

    /// Sets the machine whose registers probes and perf events see; the default is x86_64. Objects do
    /// not say which one they were compiled for.
    pub fn arch(mut self, arch: ebpfvm_spec::linux::Arch) -> Builder {
        self.parts.platform = self.parts.platform.on_arch(arch);
        self
    }

    /// Sets the number of slots of per-CPU maps; the host's CPU numbers must be below it.
    pub fn cpus(mut self, cpus: u32) -> Builder {
        self.parts.cpus = cpus.max(1);
        self
    }

    /// Sets how programs run.
    pub fn engine(mut self, engine: Engine) -> Builder {
        self.parts.engine = engine;
        self
    }

    /// Sets how programs are compiled: which passes, for which features of the processor. Whether fuel
    /// is counted depends on the run; `is_metered` says for which runs an accepted program is compiled
    /// when it is bound, those with fuel (the default) or those with [`NO_FUEL_LIMIT`](crate::NO_FUEL_LIMIT).
    /// The other form is compiled when it is first needed.
    pub fn jit(mut self, options: ebpfvm_jit::Options) -> Builder {
        self.parts.jit = options;
        self
    }

    /// Sets who is told the names and source lines of programs that are compiled: profilers,
    /// debuggers; nobody by default. A program whose names cannot be told (the file for `perf` cannot be
    /// written, see [`ebpfvm_jit::Symbols::begin`]) is not compiled.
    pub fn jit_symbols(mut self, symbols: ebpfvm_jit::Symbols) -> Builder {
        self.parts.symbols = symbols;
        self
    }

    /// Sets how much memory maps may take.
    pub fn map_limits(mut self, limits: MapLimits) -> Builder {
        self.parts.map_limits = limits;
        self
    }

    /// The machine.
    pub fn build(mut self) -> Vm {
        let platform = &self.parts.platform;
        let layout = |t: &ProgType| Some((*t, Layout::of(platform, *t)?));
        self.parts.layouts = ProgType::ALL.iter().filter_map(layout).collect();
        let timers = Arc::default();
        self.parts.timers = Arc::downgrade(&timers);
        Vm { parts: Arc::new(self.parts), timers: Some(timers) }
    }
}

/// A machine: what programs may rely on, with code. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Vm {
    parts: Arc<Parts>,
    /// None in the hands of programs, which timers hold.
    timers: Option<Arc<Timers>>,
}

impl Vm {
    /// A machine with Linux's program types and helpers. A helper that is not available stops the
    /// run when it is called.
    pub fn linux() -> Builder {
        let helpers = crate::helper::linux().chain(crate::helper::absent());
        Builder {
            parts: Parts {
                platform: Platform::linux(),
                helpers: helpers.map(|h| (h.proto.id, h)).collect(),
                host: Arc::new(SystemHost::new(1)),
                cpus: 1,
                map_limits: MapLimits::default(),
                engine: Engine::default(),
                jit: ebpfvm_jit::Options::default(),
                symbols: ebpfvm_jit::Symbols::default(),
                layouts: BTreeMap::new(),
                map_budget: Arc::default(),
                timers: Weak::new(),
            },
        }
    }

    /// A machine with these program types and no helpers.
    pub fn with_platform(platform: Platform) -> Builder {
        let mut builder = Vm::linux();
        builder.parts.platform = platform;
        builder.parts.helpers.clear();
        builder
    }

    /// What programs may rely on.
    pub fn platform(&self) -> &Platform {
        &self.parts.platform
    }

    /// The context of a program of this type, as the platform has it: [`Context::linux`] for what is
    /// Linux's, or the embedder's own layout with everything zero. The bytes are what its pointers
    /// `PacketStart` and `PacketEnd` show, if it has them; of a layout that is not translated, and of
    /// plain memory, the context itself.
    ///
    /// # Errors
    /// [`ContextError`] if the platform has no such type or the bytes are not what it takes.
    pub fn context(&self, prog_type: ProgType, data: &[u8]) -> Result<Context, ContextError> {
        match (self.layout(prog_type), self.platform().prog_type(prog_type)) {
            (Some(layout), _) if layout.is_linux() => Context::linux(prog_type, data),
            (Some(layout), _) => Context::own(layout, data),
            (None, Some(_)) if prog_type == ProgType::Raw => Ok(Context::raw(data)),
            (None, _) => Err(ContextError::NoContext(prog_type.name())),
        }
    }

    /// What programs of this type are given; none if it is plain memory.
    pub(crate) fn layout(&self, prog_type: ProgType) -> Option<&Layout> {
        self.parts.layouts.get(&prog_type)
    }

    /// The machine as programs hold it: its timers end with the last that others hold.
    pub(crate) fn for_program(&self) -> Vm {
        Vm { parts: self.parts.clone(), timers: None }
    }

    /// The timers; none if only programs hold the machine.
    pub(crate) fn timers(&self) -> Option<Arc<Timers>> {
        self.timers.clone().or_else(|| self.parts.timers.upgrade())
    }

    /// The world outside.
    pub fn host(&self) -> &dyn Host {
        &*self.parts.host
    }

    /// How programs run.
    pub fn engine(&self) -> Engine {
        self.parts.engine
    }

    pub(crate) fn jit_options(&self) -> &ebpfvm_jit::Options {
        &self.parts.jit
    }

    pub(crate) fn jit_symbols(&self) -> ebpfvm_jit::Symbols {
        self.parts.symbols
    }

    /// The number of slots of per-CPU maps.
    pub fn cpus(&self) -> u32 {
        self.parts.cpus
    }

    pub(crate) fn helper(&self, id: u32) -> Result<&Helper, LinkErrorKind> {
        self.parts.helpers.get(&id).ok_or(LinkErrorKind::UnknownHelper(id))
    }

    /// The helper as programs of a type see it: some have another prototype for other types.
    ///
    /// # Errors
    /// If there is none with this number, or the type may not call it.
    pub(crate) fn helper_for(
        &self,
        id: u32,
        prog_type: ProgType,
        attach_type: AttachType,
    ) -> Result<Cow<'_, Helper>, LinkErrorKind> {
        let helper = self.helper(id)?;
        if helper.proto.allowed.contains(prog_type) {
            return Ok(Cow::Borrowed(helper));
        }
        match self.platform().helper_for(id, prog_type, attach_type) {
            Some(proto) => Ok(Cow::Owned(Helper { proto: proto.clone(), ..helper.clone() })),
            None => {
                let name = helper.proto.name.to_string();
                Err(LinkErrorKind::HelperNotAllowed { id, name, prog_type })
            }
        }
    }

    /// Makes a map. A `perf_event_array` without a capacity gets a slot for each CPU, as libbpf
    /// has it.
    ///
    /// # Errors
    /// [`CreateError`] if the definition is not one that the kernel takes, or too large for itself or
    /// beside the other maps.
    pub fn create_map(&self, def: &MapDef) -> Result<MapRef, CreateError> {
        let Parts { cpus, map_limits: limits, map_budget: budget, host, .. } = &*self.parts;
        if def.map_type == MapType::PerfEventArray && def.max_entries == 0 {
            let def = MapDef { max_entries: *cpus, ..def.clone() };
            return Map::create_counted(&def, *cpus, limits, host.map_seed(), budget);
        }
        Map::create_counted(def, *cpus, limits, host.map_seed(), budget)
    }

    /// The bytes of the maps that this machine has made and that are still there.
    pub fn map_bytes(&self) -> u64 {
        self.parts.map_budget.in_use()
    }

    /// Binds a program to its maps, in the order in which it names them.
    ///
    /// # Errors
    /// [`LinkError`], with the first instruction that cannot be bound.
    pub fn link(&self, program: Program, maps: &[MapRef]) -> Result<Arc<Instance>, LinkError> {
        self.link_with(program, maps, &[])
    }

    /// As [`Vm::link`], with the instructions that must not be reached
    /// ([`ebpfvm_loader::LinkedProgram::absent`]): they trap with their reason.
    ///
    /// # Errors
    /// As [`Vm::link`].
    pub fn link_with(
        &self,
        program: Program,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Arc<Instance>, LinkError> {
        let instance = Instance::link(self, program, maps, absent)?;
        self.ready(instance)
    }

    /// Judges a program as Linux would, by what programs may rely on here.
    pub fn verify(&self, program: Program, options: &Options) -> Judgement {
        ebpfvm_verifier::verify(program, self.platform(), options)
    }

    /// Binds a program that the verifier accepted to its maps, in the order in which it names them.
    ///
    /// # Errors
    /// As [`Vm::link`]; and [`LinkErrorKind::OtherMap`] if a map is not the one that the verdict is
    /// about: its kind, sizes, capacity and flags count, and of one that nobody can write also its
    /// contents.
    pub fn link_verified(
        &self,
        program: VerifiedProgram,
        maps: &[MapRef],
    ) -> Result<Arc<Instance>, LinkError> {
        let instance = Instance::link_verified(self, program, maps, &[])?;
        self.ready(instance)
    }

    /// Makes an instance ready to run and shares it.
    pub(crate) fn ready(&self, instance: Instance) -> Result<Arc<Instance>, LinkError> {
        Ok(match self.engine() {
            Engine::Interpreter => instance.lower(),
            Engine::Auto | Engine::Jit => instance.compile()?,
        }
        .share())
    }
}
