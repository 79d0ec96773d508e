//! A bench program's object file as one run of instructions that every engine can take: the entry
//! first, the functions it calls behind it, calls resolved to relative ones.

use object::elf::R_BPF_64_32;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget};

/// Where the entry lies.
const ENTRY_SECTION: &str = "raw";
/// Where the functions lie that it calls.
const FUNCTION_SECTION: &str = ".text";
const SLOT_BYTES: usize = 8;
/// `call` with a relative target in `imm` (RFC 9669 section 4.3.3).
const CALL: u8 = 0x85;
const CALL_LOCAL: u8 = 1;

/// The instructions of `object_file`, linked.
///
/// # Errors
/// What is wrong with the file, in words. The files are this crate's own.
pub fn link(object_file: &[u8]) -> Result<Vec<u8>, String> {
    let file = object::File::parse(object_file).map_err(|error| error.to_string())?;
    let section = |name| file.section_by_name(name);
    let entry = section(ENTRY_SECTION).ok_or("no section `raw`")?;
    let mut code = entry.data().map_err(|error| error.to_string())?.to_vec();
    let functions_at = code.len();
    if let Some(functions) = section(FUNCTION_SECTION) {
        code.extend_from_slice(functions.data().map_err(|error| error.to_string())?);
    }

    for (at, relocation) in entry.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return Err(format!("relocation at {at:#x} without a symbol"));
        };
        let symbol = file.symbol_by_index(index).map_err(|error| error.to_string())?;
        let in_functions = symbol.section_index() == section(FUNCTION_SECTION).map(|s| s.index());
        let at = at as usize;
        let is_call = RelocationFlags::Elf { r_type: R_BPF_64_32 } == relocation.flags();
        let slot = code.get_mut(at..at + SLOT_BYTES).ok_or("relocation behind the code")?;
        if !is_call || !in_functions || slot[0] != CALL {
            return Err(format!("relocation at {at:#x} is not a call into `.text`"));
        }
        // The addend stands in the instruction: the function's slot in its section, less one.
        let addend = i32::from_le_bytes(slot[4..8].try_into().expect("four bytes"));
        let target = functions_at as i64 + symbol.address() as i64;
        let slots = target / SLOT_BYTES as i64 + i64::from(addend) + 1;
        let relative = i32::try_from(slots - (at / SLOT_BYTES) as i64 - 1)
            .map_err(|_| format!("call at {at:#x} goes too far"))?;
        slot[1] = CALL_LOCAL << 4 | slot[1] & 0xf;
        slot[4..8].copy_from_slice(&relative.to_le_bytes());
    }
    Ok(code)
}
