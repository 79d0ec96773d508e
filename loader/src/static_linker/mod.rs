//! Several object files to one, as `bpftool gen object` (`bpf_linker` of libbpf) makes it: the result
//! is an object file that this crate, libbpf and bpftool open like any other.
//!
//! - Sections of one name follow one another, aligned; `license` and `version` have to agree.
//! - Static symbols stay what they are. Of several definitions of a global symbol one may be strong,
//!   and the weak ones give way to it, or else to the first; declarations become the definition. What
//!   is declared only stays an extern, for another link or for the kernel.
//! - The bytes of a definition that gave way remain, without name, relocations and records: what
//!   stands beside them is addressed relative to them.
//! - Types of a symbol have to be compatible between files, definitions of a map the same.
//! - Types are merged with one of each ([`crate::btf::dedup`]), and the records of functions, lines and
//!   CO-RE relocations follow.
//!
//! Debugging information other than BTF is left out.

mod compatible;
mod elf_write;
mod error;
mod records;
mod sections;
mod symbols;
mod types;

pub use error::LinkError;

use crate::btf::ext::{self, Ext};
use crate::btf::read;
use crate::elf::Elf;
use crate::error::{BtfProblem, Fault, LoadError};
use ebpfvm_spec::btf::Btf;
use sections::Sections;
use std::collections::{HashMap, HashSet};
use symbols::Symbols;

/// A file to link.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its name in messages.
    pub file: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// Links object files to one, in this order.
///
/// # Errors
/// [`LinkError`]: a file cannot be read, or files do not fit together; both are named.
pub fn link_objects(inputs: &[Input<'_>]) -> Result<Vec<u8>, LinkError> {
    let files = inputs.iter().map(File::read).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = files.first() else { return Err(LinkError::Nothing) };
    let order = first.elf.order;
    if let Some(other) = files.iter().find(|f| f.elf.order != order) {
        return Err(LinkError::Order {
            first: first.name.into(),
            first_order: error::order_name(order),
            second: other.name.into(),
            second_order: error::order_name(other.elf.order),
        });
    }
    let mut sections = Sections::join(&files)?;
    let symbols = Symbols::resolve(&files, &sections)?;
    compatible::check(&files, &symbols)?;
    sections.relocate(&files, &symbols)?;
    let types = types::merge(&files, &sections, &symbols)?;
    elf_write::write(order, &sections, &symbols, types)
}

/// A file that is linked.
struct File<'a> {
    name: &'a str,
    elf: Elf<'a>,
    /// The types as the compiler wrote them: offsets of global variables are not filled in.
    btf: Option<Btf>,
    ext: Ext,
    /// The first section with each name.
    by_name: HashMap<String, usize>,
}

impl<'a> File<'a> {
    fn read(input: &Input<'a>) -> Result<File<'a>, LoadError> {
        File::try_read(input).map_err(|fault| fault.named(input.file))
    }

    fn try_read(input: &Input<'a>) -> Result<File<'a>, Box<Fault>> {
        let elf = Elf::parse(input.bytes)?;
        let btf = match elf.section(".BTF") {
            Some(section) => {
                let btf = read::builder(section.data, None)
                    .and_then(|b| b.finish().map_err(BtfProblem::from));
                Some(read::in_section(".BTF", btf)?)
            }
            None => None,
        };
        let ext = match (elf.section(".BTF.ext"), &btf) {
            (Some(section), Some(btf)) => {
                let names: HashSet<&str> = elf.sections.iter().map(|s| s.name.as_str()).collect();
                read::in_section(".BTF.ext", ext::parse(section.data, btf, &names))?
            }
            _ => Ext::new(),
        };
        let mut by_name = HashMap::new();
        for (i, section) in elf.sections.iter().enumerate() {
            by_name.entry(section.name.clone()).or_insert(i);
        }
        Ok(File { name: input.file, elf, btf, ext, by_name })
    }
}
