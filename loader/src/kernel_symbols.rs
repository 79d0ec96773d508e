//! Addresses of the kernel's symbols, which `.ksyms` variables without a type ask for.

use std::collections::HashMap;

/// The symbols of a kernel with their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSymbols {
    /// None for a name that stands for several addresses.
    addresses: HashMap<String, Option<u64>>,
}

/// What a kernel says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolAddress {
    /// It has one such symbol.
    At(u64),
    /// It has several at different addresses.
    Ambiguous,
    /// It has none.
    Absent,
}

impl KernelSymbols {
    /// Reads the form of `/proc/kallsyms`: lines of an address in hex, a letter and a name; others are
    /// skipped. Suffixes that link-time optimisation adds to names do not count
    /// (`bpf_object__read_kallsyms_file` of libbpf).
    pub fn parse(text: &str) -> KernelSymbols {
        let mut addresses: HashMap<String, Option<u64>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
            addresses
                .entry(name.to_string())
                .and_modify(|known| *known = known.filter(|known| *known == address))
                .or_insert(Some(address));
        }
        KernelSymbols { addresses }
    }

    /// The address of a symbol.
    pub fn address(&self, name: &str) -> SymbolAddress {
        match self.addresses.get(name) {
            Some(Some(address)) => SymbolAddress::At(*address),
            Some(None) => SymbolAddress::Ambiguous,
            None => SymbolAddress::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_read() {
        let text = "ffffffff81000000 T _stext\n0000000000000010 d twice\n0000000000000020 d twice\n\
                    junk\nffff0 t same\tmodule\nffff0 t same\nff t long.llvm.123\n";
        let symbols = KernelSymbols::parse(text);
        assert_eq!(symbols.address("_stext"), SymbolAddress::At(0xffff_ffff_8100_0000));
        assert_eq!(symbols.address("twice"), SymbolAddress::Ambiguous);
        assert_eq!(symbols.address("same"), SymbolAddress::At(0xffff0));
        assert_eq!(symbols.address("long"), SymbolAddress::At(0xff));
        assert_eq!(symbols.address("junk"), SymbolAddress::Absent);
    }
}
