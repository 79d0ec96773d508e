//! Programs, maps and relocated instructions are those of libbpf.
//!
//! Needs the feature `libbpf` (a C library: libelf and zlib) and the right to create maps; without
//! them it is skipped. libbpf prepares the objects: it creates maps and relocates, and loads no
//! program. `EBPFVM_OBJECTS` names a directory with more objects to compare; with
//! `EBPFVM_LIBBPF_SAYS` libbpf prints why it refuses something.

#[cfg(feature = "libbpf")]
mod compare;
#[cfg(feature = "libbpf")]
#[path = "../corpus/mod.rs"]
mod corpus;
#[cfg(feature = "libbpf")]
mod reference;
#[path = "../skip/mod.rs"]
mod skip;

#[cfg(not(feature = "libbpf"))]
#[test]
fn programs_maps_and_instructions_are_libbpfs() {
    skip::skipped("programs_maps_and_instructions_are_libbpfs", "without the feature `libbpf`");
}
