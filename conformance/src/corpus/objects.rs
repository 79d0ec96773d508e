//! The objects of a corpus and their programs, linked as libbpf loads them.

use super::truth::Truth;
use ebpfvm_loader::{Kconfig, KernelSymbols, LinkOptions, Object, parse_btf_file};
use ebpfvm_spec::btf::Btf;
use ebpfvm_spec::{AttachType, MapDef, MapType, ProgType, Program};
use flate2::read::MultiGzDecoder;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// What programs are linked against.
#[derive(Debug, Default)]
pub struct TargetKernel {
    /// Its types.
    pub btf: Option<Btf>,
    /// Its configuration.
    pub config: Kconfig,
    /// Its symbols.
    pub symbols: KernelSymbols,
}

impl TargetKernel {
    /// The running kernel, as far as it can be read.
    pub fn running() -> TargetKernel {
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").ok();
        let config = std::fs::read("/proc/config.gz").ok().and_then(|packed| {
            let mut text = String::new();
            MultiGzDecoder::new(&packed[..]).read_to_string(&mut text).ok()?;
            Some(Kconfig::parse(&text))
        });
        let symbols = std::fs::read_to_string("/proc/kallsyms").ok();
        TargetKernel {
            btf: btf.and_then(|bytes| parse_btf_file(&bytes).ok()),
            config: config.unwrap_or_default(),
            symbols: symbols.map(|text| KernelSymbols::parse(&text)).unwrap_or_default(),
        }
    }
}

type Opened = Arc<OnceLock<Result<Opening, String>>>;

#[derive(Debug)]
struct Opening {
    object: Object,
    maps: Arc<[MapDef]>,
}

/// The objects of a directory. Each is opened once, when it is first asked for.
#[derive(Debug)]
pub struct Objects {
    directory: PathBuf,
    kernel: TargetKernel,
    opened: Mutex<HashMap<String, Opened>>,
}

impl Objects {
    /// The objects in a directory.
    pub fn new(directory: &Path, kernel: TargetKernel) -> Objects {
        Objects { directory: directory.into(), kernel, opened: Mutex::default() }
    }

    /// The program that a line is about, linked, with the type and flags of its load.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn program(&self, truth: &Truth) -> Result<Program, String> {
        let name = truth.object();
        let cell = {
            let mut opened = self.opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            opened.entry(name.clone()).or_default().clone()
        };
        let opening = cell.get_or_init(|| self.open(&name)).as_ref().map_err(String::clone)?;
        let options = LinkOptions {
            target_btf: self.kernel.btf.as_ref(),
            symbols: Some(&self.kernel.symbols),
        };
        let linked = opening.object.link_for(&truth.program, &options);
        let mut program = linked.map_err(|e| e.to_string())?.program;
        program.prog_type = ProgType::from_number(truth.prog_type)
            .ok_or_else(|| format!("there is no program type {}", truth.prog_type))?;
        program.attach_type = AttachType(truth.attach_type);
        program.flags |= truth.flags;
        program.maps = opening.maps.clone();
        Ok(program)
    }

    fn open(&self, name: &str) -> Result<Opening, String> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut object = Object::parse(&bytes, name).map_err(|e| e.to_string())?;
        object.set_kconfig(&self.kernel.config).map_err(|e| e.to_string())?;
        let maps = object.maps().iter().map(sized).collect();
        Ok(Opening { object, maps })
    }
}

/// A map whose size is left to the program's user side has one entry, without which it cannot be
/// made.
fn sized(def: &MapDef) -> MapDef {
    use MapType::*;
    const UNSIZED: [MapType; 8] = [
        PerfEventArray,
        CgroupStorage,
        PercpuCgroupStorage,
        SkStorage,
        InodeStorage,
        TaskStorage,
        CgrpStorage,
        StructOps,
    ];
    let mut def = def.clone();
    if def.max_entries == 0 && !UNSIZED.contains(&def.map_type) {
        def.max_entries = 1;
    }
    def
}
