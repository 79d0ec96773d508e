//! A program as text reads back as the same program; any text gives a program or an error.

use super::{Failure, Seen, bounded, expect};
use ebpfvm_asm::Code;
use ebpfvm_asm::text::{Dialect, NoSymbols, Style, assemble, listing};

/// The styles that read back, with their dialects.
const LOSSLESS: [(Style, Dialect); 2] =
    [(Style::PseudoC, Dialect::PseudoC), (Style::Mnemonic, Dialect::Mnemonic)];
/// The styles that only people read.
const LOSSY: [Style; 2] = [Style::Llvm, Style::Kernel];

/// Prints a program in every style and reads it back.
///
/// # Errors
/// The first difference.
pub fn check_code(code: &Code) -> Result<Seen, Failure> {
    for (style, dialect) in LOSSLESS {
        let text = listing(code, style, &NoSymbols);
        let again = assemble(&text, dialect);
        expect("print", again.as_ref() == Ok(code), || match &again {
            Ok(_) => format!("reads back as another program:\n{text}"),
            Err(e) => format!("does not read back: {}\n{text}", e.render()),
        })?;
    }
    for style in LOSSY {
        listing(code, style, &NoSymbols);
    }
    Ok("printed")
}

/// Reads a text in every dialect; what it gives reads back.
///
/// # Errors
/// The first difference.
pub fn check_text(text: &str) -> Result<Seen, Failure> {
    let mut seen = "refused";
    for dialect in [Dialect::Auto, Dialect::PseudoC, Dialect::Mnemonic] {
        match bounded("assemble", || assemble(text, dialect))? {
            Ok(code) => {
                check_code(&code)?;
                seen = if code.is_empty() { "empty" } else { "assembled" };
            }
            Err(error) => drop(error.render()),
        }
    }
    Ok(seen)
}
