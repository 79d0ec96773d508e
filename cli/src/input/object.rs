//! Object files, and which of their programs is meant.

use crate::failure::{Failure, Instead};
use crate::model::verify::{Judged, Wanted};
use ebpfvm::LoadedError;
use ebpfvm_loader::{LoadError, Object, ProgramInfo};
use ebpfvm_spec::ProgType;
use ebpfvm_verifier::Judgement;

/// What an ELF file begins with.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Whether bytes are meant to be an object file.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(ELF_MAGIC)
}

/// Opens an object file whose bytes were read already.
pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<Object, Failure> {
    if !is_elf(bytes) && std::str::from_utf8(bytes).is_ok_and(|text| !text.is_empty()) {
        return Err(not_an_object(name));
    }
    Object::parse(bytes, name).map_err(Failure::from)
}

/// The failure for a text where an object was expected.
pub(crate) fn not_an_object(name: &str) -> Failure {
    let hint = match name.rsplit('.').next() {
        Some("c" | "h") => "compile it: clang -O2 -g --target=bpf -c FILE.c -o FILE.o",
        _ => "`ebpfvm asm` makes instructions of text; objects come from clang --target=bpf",
    };
    Failure::Input {
        file: name.into(),
        problem: "this is text, not an object file".into(),
        hint: Some(hint.into()),
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        let message = error.to_string();
        let (section, offset) =
            error.place.map_or((None, None), |place| (Some(place.section), place.offset));
        Failure::Object { file: error.file, section, offset, message }
    }
}

impl From<LoadedError> for Failure {
    fn from(error: LoadedError) -> Failure {
        let message = error.to_string();
        match error {
            LoadedError::Object(error) => error.into(),
            LoadedError::NotAccepted { file, program, rejection, report } => {
                let judgement = Judgement { verdict: Err(*rejection), report: *report };
                let judged = Judged::new(&file, &program, &judgement, Wanted::default());
                Failure::NotAccepted { judged: Box::new(judged), instead: Instead::Run }
            }
            LoadedError::Link { file, error, line, .. } => {
                Failure::Link { file, message, pc: error.pc.map(|pc| pc.0), source_line: line }
            }
            LoadedError::ByteOrder { file, .. }
            | LoadedError::MapCount { file, .. }
            | LoadedError::Map { file, .. }
            | LoadedError::Value { file, .. } => {
                Failure::Object { file, section: None, offset: None, message }
            }
        }
    }
}

/// Which program of an object.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// The program, by the name of its function; not needed if there is only one
    #[arg(short, long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// The program, by its section
    #[arg(short, long, value_name = "SECTION", conflicts_with = "program")]
    pub(crate) section: Option<String>,
}

impl Choice {
    /// The programs that are meant: all if none is named.
    pub(crate) fn all<'o>(&self, object: &'o Object) -> Result<Vec<&'o ProgramInfo>, Failure> {
        let programs = object.programs();
        let unknown = |what, name: &str, known: Vec<String>| Failure::Unknown {
            what,
            name: name.into(),
            place: object.file().into(),
            known,
        };
        let chosen: Vec<&ProgramInfo> = match (&self.program, &self.section) {
            (Some(name), _) => programs.iter().filter(|p| p.name == *name).collect(),
            (None, Some(section)) => programs.iter().filter(|p| p.section == *section).collect(),
            (None, None) => programs.iter().collect(),
        };
        match (chosen.is_empty(), &self.program, &self.section) {
            (false, ..) => Ok(chosen),
            (true, Some(name), _) => {
                Err(unknown("program", name, programs.iter().map(|p| p.name.clone()).collect()))
            }
            (true, None, Some(section)) => {
                let mut known: Vec<String> = programs.iter().map(|p| p.section.clone()).collect();
                known.dedup();
                Err(unknown("section", section, known))
            }
            (true, None, None) => Err(Failure::NoPrograms { file: object.file().into() }),
        }
    }

    /// The only program that is meant.
    pub(crate) fn one<'o>(&self, object: &'o Object) -> Result<&'o ProgramInfo, Failure> {
        match self.all(object)?[..] {
            [program] => Ok(program),
            ref several => {
                let describe = |p: &&ProgramInfo| {
                    let kind = p.prog_type.map_or("unknown type", ProgType::name);
                    (p.name.clone(), format!("section {}, {kind}", p.section))
                };
                Err(Failure::ManyPrograms {
                    file: object.file().into(),
                    programs: several.iter().map(describe).collect(),
                })
            }
        }
    }
}
