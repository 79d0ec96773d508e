//! The files that comparisons, benches and fuzzers start from.

use std::io;
use std::path::{Path, PathBuf};

/// What object files of this project end with: programs compiled from C.
pub const OBJECT: &str = ".bpf.o";

/// The files below a folder, however deep, whose names end with `ending`, in order of their paths. A
/// path that is a file is itself the answer, whatever its name.
///
/// # Errors
/// A folder that cannot be read.
pub fn files_below(path: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.into()]);
    }
    let (mut open, mut found) = (vec![path.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // A link to a folder may lead back: only folders themselves are opened.
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_however_deep_and_in_order() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = files_below(&here.join("src"), ".rs").unwrap();
        assert!(found.is_sorted());
        for name in ["src/files.rs", "src/judge/live.rs"] {
            assert!(found.contains(&here.join(name)), "{name}");
        }
        assert!(found.iter().all(|path| path.extension().is_some_and(|e| e == "rs")));
        assert_eq!(
            files_below(&here.join("Cargo.toml"), ".rs").unwrap(),
            [here.join("Cargo.toml")]
        );
        assert!(files_below(&here.join("nothing"), "").is_err());
    }
}
