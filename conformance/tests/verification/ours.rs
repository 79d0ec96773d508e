//! The programs of this repository's objects, and what the verifier says of them.

use super::root;
use ebpfvm_asm::ByteOrder;
use ebpfvm_conformance::corpus::TargetKernel;
use ebpfvm_conformance::files::files_below;
use ebpfvm_conformance::judge::ours::with_log;
use ebpfvm_conformance::judge::{Judged, guarded, judge};
use ebpfvm_loader::{LinkOptions, Object};
use ebpfvm_spec::{Platform, Program};
use std::time::Duration;

/// Where the objects are.
const FOLDERS: [&str; 4] =
    ["conformance/objects", "conformance/projects", "examples", "loader/tests/objects"];
/// For one program; only what hangs takes as long.
const LIMIT: Duration = Duration::from_secs(300);

/// One program of an object.
pub(crate) struct Subject {
    /// Path from the root of the repository.
    object: String,
    pub(crate) program: Program,
}

impl Subject {
    /// Object and program, with a space between.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.object, self.program.name)
    }
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) judged: Vec<(Subject, Judged)>,
    /// Objects and programs that could not be brought to a verifier, with reasons.
    pub(crate) skipped: Vec<String>,
}

/// Judges all programs that link without a kernel's types, or with those that are given.
pub(crate) fn subjects(target: Option<&TargetKernel>) -> Found {
    let (root, platform) = (root(), Platform::linux());
    let mut found = Found::default();
    let below = |folder: &&str| files_below(&root.join(folder), ".o").expect("a folder");
    for path in FOLDERS.iter().flat_map(below) {
        let name = path.strip_prefix(&root).expect("below the root").display().to_string();
        let bytes = std::fs::read(&path).expect("an object file");
        let object = match Object::parse(&bytes, &name) {
            Ok(object) if object.byte_order() == ByteOrder::Little => object,
            Ok(_) => {
                found.skipped.push(format!("{name}: big-endian"));
                continue;
            }
            Err(why) => {
                found.skipped.push(why.to_string());
                continue;
            }
        };
        for info in object.programs() {
            let own = LinkOptions::default();
            let mut linked = object.linked_program_for(&info.name, &platform, &own);
            if let (Err(_), Some(target)) = (&linked, target) {
                let options =
                    LinkOptions { target_btf: target.btf.as_ref(), symbols: Some(&target.symbols) };
                linked = object.linked_program_for(&info.name, &platform, &options);
            }
            match linked {
                Ok(linked) => {
                    let subject = Subject { object: name.clone(), program: linked.program };
                    let program = subject.program.clone();
                    let work = move || judge(program, &Platform::linux(), &with_log(0));
                    let judged = guarded(LIMIT, work)
                        .unwrap_or_else(|mishap| panic!("{}: {mishap}", subject.name()));
                    found.judged.push((subject, judged));
                }
                Err(why) => found.skipped.push(why.to_string()),
            }
        }
    }
    found
}

/// A verdict with its count of instructions, on one line.
pub(crate) fn line(judged: &Judged) -> String {
    let processed = judged.processed.unwrap_or(0);
    match judged {
        Judged { accepted: true, .. } => format!("accepted {processed}"),
        Judged { unsupported: true, message, .. } => format!("unsupported {message}"),
        Judged { message, .. } => format!("rejected {processed} {message}"),
    }
}
