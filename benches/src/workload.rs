//! The bench programs and the memory each gets.

use crate::memory;

/// A C function compiled for the host: memory and its length in bytes.
pub type NativeEntry = unsafe extern "C" fn(*mut u8, u64) -> u64;

/// One bench program.
pub struct Workload {
    /// The stem of its file in `benches/programs`.
    pub name: &'static str,
    /// The object that clang made of it for BPF.
    pub object_file: &'static [u8],
    /// The same source for the host; `None` when the build found no C compiler.
    pub native: Option<NativeEntry>,
    /// Makes the memory that the program begins with.
    pub memory: fn() -> Vec<u8>,
}

/// One row a program: the C file's stem, and what makes its memory.
macro_rules! workloads {
    ($($name:ident: $memory:expr,)*) => {
        #[cfg(native)]
        mod native {
            // SAFETY: the build compiles each from the program's source, whose entry is declared so.
            unsafe extern "C" {
                $(#[link_name = concat!("native_", stringify!($name))]
                pub(super) fn $name(memory: *mut u8, bytes: u64) -> u64;)*
            }
        }

        /// All bench programs, in the order of the report.
        pub const WORKLOADS: &[Workload] = &[$(Workload {
            name: stringify!($name),
            object_file: include_bytes!(concat!("../programs/", stringify!($name), ".bpf.o")),
            #[cfg(native)]
            native: Some(native::$name),
            #[cfg(not(native))]
            native: None,
            memory: $memory,
        },)*];
    };
}

workloads! {
    log2: memory::small,
    xorshift: memory::small,
    atomics: memory::small,
    bubble_sort: memory::small,
    calls: memory::small,
    checksum: memory::frame_sized,
    div_mul: memory::small,
    fnv: memory::frame_sized,
    state_machine: memory::prose,
    jhash: memory::frame_sized,
    memcmp: memory::frame_sized,
    prime: memory::frame_sized,
    sieve: memory::frame_sized,
    tcp_port_80: memory::web_request,
    firewall: memory::blocklist_and_dns_query,
}
