//! The programs and maps of an object on a machine: what libbpf's `bpf_object__load` does.

use crate::instance::{Instance, LinkError};
use crate::map::{CreateError, MapRef, ProgArray, UpdateFlags, struct_ops};
use crate::vm::Vm;
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::{Absent, LinkOptions, LoadError, Object};
use ebpfvm_spec::btf::Btf;
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{Errno, MapDef, MapType, Program};
use ebpfvm_verifier::{Options, Rejection, Report};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why an object or one of its programs cannot be brought onto a machine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadedError {
    /// The object's program cannot be had.
    #[error(transparent)]
    Object(#[from] LoadError),
    /// The object is for machines of the other byte order.
    #[error("{file}: the object is {found}-endian, this machine is not; compile it with {compile}")]
    ByteOrder {
        /// The object file.
        file: String,
        /// `little` or `big`.
        found: &'static str,
        /// The option of clang that makes what fits.
        compile: &'static str,
    },
    /// [`LoadOptions::maps`] are not one for each map of the object.
    #[error("{file}: {given} definitions were given for {maps} maps")]
    MapCount {
        /// The object file.
        file: String,
        /// How many definitions there are.
        given: usize,
        /// How many maps the object has.
        maps: usize,
    },
    /// A map cannot be created.
    #[error("{file}: {error}")]
    Map {
        /// The object file.
        file: String,
        /// Why.
        error: CreateError,
    },
    /// A program cannot be bound to its maps and helpers.
    #[error("{file}: program '{program}': {error}")]
    Link {
        /// The object file.
        file: String,
        /// Name of the program.
        program: String,
        /// Why, and at which instruction.
        error: LinkError,
        /// The source line, as `file:line: text`, if the object has it.
        line: Option<String>,
    },
    /// A map cannot take an initial value.
    #[error("{file}: map '{map}': initial value {index}: {value} cannot be put there: {errno}")]
    Value {
        /// The object file.
        file: String,
        /// Name of the map.
        map: String,
        /// Index of the value.
        index: u32,
        /// The program or map that should be the value.
        value: String,
        /// What the system call would give.
        errno: Errno,
    },
    /// The verifier does not accept the program.
    #[error("{file}: program '{}': {rejection}", .program.name)]
    NotAccepted {
        /// The object file.
        file: String,
        /// The program.
        program: Box<Program>,
        /// Why, and at which instruction.
        rejection: Box<Rejection>,
        /// What is told beside it.
        report: Box<Report>,
    },
}

/// What is loaded in place of what the object says, and against what.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Definitions in place of the object's: the same number in the same order, with another
    /// capacity, say, or other initial values of globals. None for the object's.
    pub maps: Option<Vec<MapDef>>,
    /// The types of the kernel that CO-RE relocations ask about.
    pub target_btf: Option<Arc<Btf>>,
    /// How programs are judged when they are linked: they run without checks, and one that is not
    /// accepted is not linked. None: programs are not judged and run with checks.
    pub verify: Option<Options>,
}

/// An object on a machine: its maps created and filled, its programs linked when asked for.
///
/// Arrays of programs keep their programs alive, and those their maps: a circle if a program calls
/// through the array that it is in. As in the kernel, where an array is emptied when user space
/// holds it no more, the arrays are emptied when this value drops; instances that live longer find
/// them empty.
pub struct Loaded {
    vm: Vm,
    object: Arc<Object>,
    defs: Arc<[MapDef]>,
    target_btf: Option<Arc<Btf>>,
    verify: Option<Options>,
    maps: Vec<MapRef>,
    programs: Mutex<BTreeMap<String, Arc<Instance>>>,
}

impl Loaded {
    /// Creates the maps of an object and gives them their initial values.
    ///
    /// # Errors
    /// A map cannot be created or filled, or a program that is an initial value cannot be linked.
    pub fn new(vm: &Vm, object: impl Into<Arc<Object>>) -> Result<Loaded, LoadedError> {
        Loaded::with(vm, object, LoadOptions::default())
    }

    /// As [`Loaded::new`], with options.
    ///
    /// # Errors
    /// As [`Loaded::new`]; the options have fewer or more maps than the object.
    pub fn with(
        vm: &Vm,
        object: impl Into<Arc<Object>>,
        options: LoadOptions,
    ) -> Result<Loaded, LoadedError> {
        let object = object.into();
        let LoadOptions { maps, target_btf, verify } = options;
        let mut defs = maps.unwrap_or_else(|| object.maps().to_vec());
        if defs.len() != object.maps().len() {
            let (file, given, maps) = (object.file().into(), defs.len(), object.maps().len());
            return Err(LoadedError::MapCount { file, given, maps });
        }
        if object.byte_order() != ByteOrder::HOST {
            let (found, compile) = match object.byte_order() {
                ByteOrder::Little => ("little", "--target=bpfeb"),
                ByteOrder::Big => ("big", "--target=bpfel"),
            };
            let file = object.file().into();
            return Err(LoadedError::ByteOrder { file, found, compile });
        }
        defs.iter_mut().for_each(|def| fit(def, vm.cpus()));
        let create = |def| {
            let failed = |error| LoadedError::Map { file: object.file().into(), error };
            vm.create_map(def).map_err(failed)
        };
        let maps = defs.iter().map(create).collect::<Result<_, _>>()?;
        let programs = Mutex::default();
        let (vm, defs) = (vm.clone(), defs.into());
        let loaded = Loaded { vm, object, defs, target_btf, verify, maps, programs };
        loaded.fill()?;
        Ok(loaded)
    }

    /// Gives arrays of programs and of maps their initial values.
    fn fill(&self) -> Result<(), LoadedError> {
        // The programs of a table of functions go into the value that registers it.
        let filled = |map: &&MapRef| map.def().map_type != MapType::StructOps;
        for map in self.maps.iter().filter(filled) {
            for (index, value) in &map.def().values {
                let outcome = match value {
                    InitialValue::Program(name) => {
                        let program = self.program(name)?;
                        map.as_kind::<ProgArray>()
                            .map_or(Err(Errno::EINVAL), |array| array.set(*index, program))
                    }
                    InitialValue::Map(inner) => match self.maps.get(*inner as usize) {
                        Some(inner) => map
                            .set_inner(&index.to_ne_bytes(), inner.clone(), UpdateFlags::ANY)
                            .map_err(|error| error.errno()),
                        None => Err(Errno::ENOENT),
                    },
                };
                outcome.map_err(|errno| LoadedError::Value {
                    file: self.object.file().into(),
                    map: map.def().name.clone(),
                    index: *index,
                    value: match value {
                        InitialValue::Program(name) => format!("program '{name}'"),
                        InitialValue::Map(index) => {
                            let def = self.defs.get(*index as usize);
                            def.map_or(format!("map {index}"), |def| format!("map '{}'", def.name))
                        }
                    },
                    errno,
                })?;
            }
        }
        Ok(())
    }

    /// A program, bound to the maps; the same instance each time.
    ///
    /// # Errors
    /// There is no such program, it needs what this machine does not have, or it is not accepted.
    pub fn program(&self, name: &str) -> Result<Arc<Instance>, LoadedError> {
        let programs = || self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = programs().get(name) {
            return Ok(instance.clone());
        }
        let (platform, options) = (self.vm.platform(), self.link_options());
        let linked = self.object.linked_program_for(name, platform, &options)?;
        let (mut program, absent) = (linked.program, linked.absent);
        program.maps = self.defs.clone();
        let instance = match self.verify {
            Some(options) => self.judged(program, &absent, &options)?,
            None => self.vm.link_with(program, &self.maps, &absent),
        };
        let instance = instance.map_err(|error| LoadedError::Link {
            file: self.object.file().into(),
            program: name.into(),
            line: self.line(name, &error),
            error,
        })?;
        Ok(programs().entry(name.into()).or_insert(instance).clone())
    }

    /// Links a program if the verifier accepts it.
    fn judged(
        &self,
        program: Program,
        absent: &[Absent],
        options: &Options,
    ) -> Result<Result<Arc<Instance>, LinkError>, LoadedError> {
        let judgement = self.vm.verify(program.clone(), options);
        match judgement.verdict {
            Ok(verified) => {
                let instance = Instance::link_verified(&self.vm, verified, &self.maps, absent);
                Ok(instance.and_then(|instance| self.vm.ready(instance)))
            }
            Err(rejection) => Err(LoadedError::NotAccepted {
                file: self.object.file().into(),
                program: Box::new(program),
                rejection: Box::new(rejection),
                report: Box::new(judgement.report),
            }),
        }
    }

    fn link_options(&self) -> LinkOptions<'_> {
        LinkOptions { target_btf: self.target_btf.as_deref(), ..LinkOptions::default() }
    }

    /// The source line of the instruction that an error is about.
    fn line(&self, name: &str, error: &LinkError) -> Option<String> {
        let program = self.object.link_for(name, &self.link_options()).ok()?.program;
        let line = program.line(error.pc?)?;
        Some(format!("{}:{}: {}", line.file, line.line, line.text.trim()))
    }

    /// The maps in the order of the object's definitions.
    pub fn maps(&self) -> &[MapRef] {
        &self.maps
    }

    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&MapRef> {
        self.maps.iter().find(|map| map.def().name == name)
    }

    /// The object.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The machine.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Loaded { object, maps, .. } = self;
        f.debug_struct("Loaded").field("file", &object.file()).field("maps", maps).finish()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.maps.iter().filter_map(|map| map.as_kind::<ProgArray>()).for_each(ProgArray::clear);
    }
}

/// Fits a definition to the machine, as libbpf does when it creates a map: a perf event array
/// without a capacity gets a slot for each CPU, a ring buffer whose size is not a power of two of
/// whole pages the next one that is (`adjust_ringbuf_sz`), and a table of functions the size of the
/// kernel's value with such a table (`bpf_map__init_kern_struct_ops`), of whose type the object
/// knows nothing.
fn fit(def: &mut MapDef, cpus: u32) {
    /// The page of the kernel that this machine follows.
    const PAGE_BYTES: u32 = 4096;
    match def.map_type {
        MapType::PerfEventArray if def.max_entries == 0 => def.max_entries = cpus,
        MapType::Ringbuf | MapType::UserRingbuf if def.max_entries > 0 => {
            let pages = def.max_entries.div_ceil(PAGE_BYTES);
            let bytes = pages.checked_next_power_of_two().and_then(|p| p.checked_mul(PAGE_BYTES));
            def.max_entries = bytes.unwrap_or(def.max_entries);
        }
        MapType::StructOps => {
            if let MapOrigin::Section { data, .. } = &def.origin
                && let Some(bytes) = struct_ops::value_bytes(data.len())
            {
                (def.value_bytes, def.value_type) = (bytes, None);
            }
        }
        _ => {}
    }
}
