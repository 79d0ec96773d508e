//! Every program of the bpf_conformance suite assembles, to the given bytes where there are any.

use ebpfvm_asm::text::{Dialect, NoSymbols, Style, assemble, listing};
use std::path::Path;

/// The lines of a section of a data file.
fn section(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|l| l.trim() != format!("-- {name}"));
    lines.next()?;
    Some(lines.take_while(|l| !l.starts_with("-- ")).map(|l| format!("{l}\n")).collect())
}

#[test]
fn all_programs_assemble() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/bpf_conformance");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        eprintln!("SKIPPED bpf_conformance::all_programs_assemble: no {}", dir.display());
        return;
    };
    let (mut programs, mut raw_programs) = (0, 0);
    for path in entries.map(|e| e.expect("a readable directory").path()) {
        if path.extension().is_none_or(|e| e != "data") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let Some(source) = section(&text, "asm") else { continue };
        programs += 1;
        let code = assemble(&source, Dialect::Mnemonic)
            .unwrap_or_else(|e| panic!("{}:\n{}", path.display(), e.render()));
        assert_eq!(assemble(&source, Dialect::Auto).as_ref(), Ok(&code), "{}", path.display());
        for (style, dialect) in
            [(Style::Mnemonic, Dialect::Mnemonic), (Style::PseudoC, Dialect::PseudoC)]
        {
            let text = listing(&code, style, &NoSymbols);
            assert_eq!(assemble(&text, dialect).as_ref(), Ok(&code), "{}\n{text}", path.display());
        }
        if let Some(raw) = section(&text, "raw") {
            raw_programs += 1;
            let wanted: Vec<u64> = raw
                .lines()
                .filter_map(|l| l.trim().strip_prefix("0x"))
                .map(|hex| u64::from_str_radix(hex, 16).expect("a slot as a hexadecimal number"))
                .collect();
            let slots = code.encode().expect("assembled code has an encoding");
            let got: Vec<u64> = slots
                .iter()
                .map(|s| u64::from_le_bytes(s.to_bytes(ebpfvm_asm::ByteOrder::Little)))
                .collect();
            assert_eq!(got, wanted, "{}", path.display());
        }
    }
    assert!(programs > 200 && raw_programs > 0, "{programs} programs, {raw_programs} with bytes");
}
