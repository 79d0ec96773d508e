//! The kernel that CO-RE relocations are about.

use super::file;
use crate::failure::Failure;
use ebpfvm_loader::core_relo::CoreProblem;
use ebpfvm_loader::{LoadError, Object, Problem, parse_btf};
use ebpfvm_spec::btf::Btf;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where Linux shows its own types.
const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The types of a kernel.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// The types of the kernel that CO-RE relocations ask about, as raw BTF; the running kernel's if
    /// not given
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
}

impl Target {
    /// The types, if they are given or one of these programs needs them and they can be had.
    pub(crate) fn types(
        &self,
        object: &Object,
        names: &[&str],
    ) -> Result<Option<Arc<Btf>>, Failure> {
        match &self.btf {
            Some(path) => read(path).map(Some),
            None if !Path::new(RUNNING_KERNEL).exists() => Ok(None),
            None if names.iter().any(|name| needs_target(object.link(name).err().as_ref())) => {
                read(Path::new(RUNNING_KERNEL)).map(Some)
            }
            None => Ok(None),
        }
    }
}

fn needs_target(error: Option<&LoadError>) -> bool {
    error.is_some_and(|error| {
        matches!(*error.problem, Problem::Core { problem: CoreProblem::NoTarget, .. })
    })
}

fn read(path: &Path) -> Result<Arc<Btf>, Failure> {
    let (file, bytes) = (file::name(path), file::read(path)?);
    parse_btf(&bytes, None).map(Arc::new).map_err(|problem| Failure::Input {
        file,
        problem: problem.to_string(),
        hint: Some(format!("raw BTF is expected, such as {RUNNING_KERNEL}")),
    })
}
