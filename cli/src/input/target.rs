//! The kernel that a program is for: its types, which CO-RE relocations and kernel functions ask
//! about, and its configuration.

use super::file;
use crate::failure::Failure;
use ebpfvm_loader::core_relo::CoreProblem;
use ebpfvm_loader::error::ExternProblem;
use ebpfvm_loader::{Kconfig, LinkOptions, Object, Problem, parse_btf_file};
use ebpfvm_spec::btf::Btf;
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where Linux shows its own types.
const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";
/// What a gzip file begins with.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// The most that a compressed configuration may unpack to, in bytes; real ones have 300 KB.
const CONFIG_BYTES: u64 = 16 << 20;

/// The kernel that a program is for.
#[derive(clap::Args)]
#[group(id = "target_kernel")]
pub(crate) struct Target {
    /// The types of the kernel that CO-RE relocations ask about, as raw BTF or in an ELF file; the
    /// running kernel's if not given
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// The kernel's configuration for `.kconfig` variables, as text or with gzip; Linux 6.18 without
    /// any option if not given
    #[arg(long, value_name = "FILE")]
    kconfig: Option<PathBuf>,
}

impl Target {
    /// Gives the object the values of the kernel's configuration.
    pub(crate) fn configure(&self, object: &mut Object) -> Result<(), Failure> {
        let Some(path) = &self.kconfig else { return Ok(()) };
        let name = file::name(path);
        let bytes = unpacked(&name, file::read(path)?)?;
        let config = Kconfig::parse(file::text(&name, &bytes)?);
        if config.is_empty() {
            let problem = "no line of this file sets a CONFIG_ option".into();
            let hint = Some("a file such as /proc/config.gz or /boot/config-* is expected".into());
            return Err(Failure::Input { file: name, problem, hint });
        }
        Ok(object.set_kconfig(&config)?)
    }

    /// The types, if they are given or one of these programs needs them and they can be had.
    pub(crate) fn types(
        &self,
        object: &Object,
        names: &[&str],
    ) -> Result<Option<Arc<Btf>>, Failure> {
        match &self.btf {
            Some(path) => read(path).map(Some),
            None if !Path::new(RUNNING_KERNEL).exists() => Ok(None),
            None if names.iter().any(|name| needs_target(object, name)) => {
                read(Path::new(RUNNING_KERNEL)).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The option that is given, if one is.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let btf = self.btf.as_ref().map(|_| "--btf");
        btf.or(self.kconfig.as_ref().map(|_| "--kconfig"))
    }
}

/// Whether a program cannot be linked without types, or only by leaving out what they might have.
fn needs_target(object: &Object, name: &str) -> bool {
    match object.link_for(name, &LinkOptions::default()) {
        Ok(linked) => !linked.absent.is_empty(),
        Err(error) => matches!(
            *error.problem,
            Problem::Core { problem: CoreProblem::NoTarget, .. }
                | Problem::Extern { problem: ExternProblem::NoTarget(_), .. }
        ),
    }
}

fn read(path: &Path) -> Result<Arc<Btf>, Failure> {
    let (file, bytes) = (file::name(path), file::read(path)?);
    parse_btf_file(&bytes).map(Arc::new).map_err(|problem| Failure::Input {
        file,
        problem: problem.to_string(),
        hint: Some(format!(
            "raw BTF such as {RUNNING_KERNEL} or an ELF file with a section .BTF is expected"
        )),
    })
}

/// The content of a file that may be packed with gzip.
fn unpacked(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if !bytes.starts_with(GZIP_MAGIC) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let failed = |source| Failure::Read { file: name.into(), source };
    let mut content = MultiGzDecoder::new(&bytes[..]).take(CONFIG_BYTES + 1);
    content.read_to_end(&mut text).map_err(failed)?;
    match text.len() as u64 {
        n if n > CONFIG_BYTES => {
            Err(Failure::TooLarge { file: name.into(), bytes: n, limit: CONFIG_BYTES })
        }
        _ => Ok(text),
    }
}
