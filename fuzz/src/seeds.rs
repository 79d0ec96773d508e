//! What the project has anyway: objects, their types, vectors. Fuzzing starts from them.

use ebpfvm_conformance::files::files_below;
use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The files with an ending in some directories of the workspace, as far as they are there.
fn files(dirs: &[&str], ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let below = |dir: &&str| files_below(&root.join(dir), ending).unwrap_or_default();
    dirs.iter().flat_map(below).collect()
}

fn contents(dirs: &[&str], ending: &str) -> Vec<Vec<u8>> {
    files(dirs, ending).iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// The object files of the examples, the benches and the loader's tests.
pub fn objects() -> &'static [Vec<u8>] {
    static OBJECTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    OBJECTS
        .get_or_init(|| contents(&["examples", "benches/programs", "loader/tests/objects"], ".o"))
}

/// The type sections of the objects.
pub fn types() -> &'static [Vec<u8>] {
    static TYPES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    TYPES.get_or_init(|| objects().iter().filter_map(|bytes| section(bytes, ".BTF")).collect())
}

fn section(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let file = object::File::parse(bytes).ok()?;
    let data = file.section_by_name(name)?.data().ok()?;
    Some(data.to_vec())
}

/// The text of the vectors' programs.
pub fn texts() -> &'static [String] {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let vectors = contents(&["conformance/vectors"], ".data");
        let texts = vectors.into_iter().filter_map(|bytes| String::from_utf8(bytes).ok());
        texts.map(|text| program_of(&text)).filter(|text| !text.is_empty()).collect()
    })
}

/// The lines of a vector's section `asm`.
fn program_of(vector: &str) -> String {
    let lines = vector.lines().skip_while(|line| line.trim() != "-- asm").skip(1);
    let lines = lines.take_while(|line| !line.starts_with("-- "));
    lines.flat_map(|line| [line, "\n"]).collect()
}
