//! The objects that tests go through.

use ebpfvm_loader::{LoadError, Object, parse_btf};
use ebpfvm_spec::btf::Btf;
use std::path::{Path, PathBuf};

/// Where the test objects are.
pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects")
}

/// The test objects and those of the examples and benches, in order of their names.
pub(crate) fn objects() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = objects_in(&dir());
    found.extend(objects_in(&root.join("benches/programs")));
    let examples = std::fs::read_dir(root.join("examples")).unwrap();
    let folders = examples.map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    found.extend(folders.flat_map(|folder| objects_in(&folder)));
    found.sort_by_key(|p| name(p));
    found
}

/// The objects of a directory.
pub(crate) fn objects_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|p| p.extension().is_some_and(|e| e == "o")).collect()
}

/// The name of a file without its directory.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Opens an object.
pub(crate) fn open(path: &Path) -> Result<Object, LoadError> {
    let bytes = std::fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    Object::parse(&bytes, &name(path))
}

/// The types of the made-up kernel (`objects/target.c`).
pub(crate) fn target() -> Btf {
    parse_btf(&std::fs::read(dir().join("target.btf")).unwrap(), None).unwrap()
}
