//! The bench programs and the memory each gets.

use crate::host::RawMap;
use crate::memory::{self, Entry};
use std::ptr::NonNull;

/// A C function compiled for the host: memory, its length in bytes, and the maps in order.
pub type NativeEntry = unsafe extern "C" fn(*mut u8, u64, *const NonNull<RawMap>) -> u64;

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
    /// Makes the entries that its maps begin with.
    pub entries: fn() -> Vec<Entry>,
}

/// The program that does nothing: what a call costs.
pub const EMPTY: &Workload = &ALL[0];

/// All bench programs, in the order of the report.
pub const WORKLOADS: &[Workload] = ALL.split_at(1).1;

macro_rules! entries {
    () => {
        Vec::new
    };
    ($entries:ident) => {
        memory::$entries
    };
}

/// One row a program: the C file's stem, what makes its memory, and what makes its maps' entries if
/// they are not empty.
macro_rules! workloads {
    ($($name:ident: $memory:ident $(, $entries:ident)?;)*) => {
        #[cfg(native)]
        mod native {
            // SAFETY: the build compiles each from the program's source, whose entry is declared so.
            unsafe extern "C" {
                $(#[link_name = concat!("native_", stringify!($name))]
                pub(super) fn $name(memory: *mut u8, bytes: u64, maps: *const super::NonNull<super::RawMap>) -> u64;)*
            }
        }

        const ALL: &[Workload] = &[$(Workload {
            name: stringify!($name),
            object_file: include_bytes!(concat!("../programs/", stringify!($name), ".bpf.o")),
            #[cfg(native)]
            native: Some(native::$name),
            #[cfg(not(native))]
            native: None,
            memory: memory::$memory,
            entries: entries!($($entries)?),
        },)*];
    };
}

workloads! {
    empty: small;
    log2: small;
    xorshift: small;
    atomics: small;
    bubble_sort: small;
    calls: small;
    checksum: frame_sized;
    div_mul: small;
    fnv: frame_sized;
    state_machine: prose;
    jhash: frame_sized;
    memcmp: frame_sized;
    prime: frame_sized;
    sieve: frame_sized;
    helper_calls: small;
    array_map: small;
    hash_map: small, thousand_counters;
    histogram: latencies;
    crc32: crc_table_and_frame;
    siphash: frame_sized;
    sha256: sha_constants_and_blocks;
    base64: alphabet_and_bytes;
    string_search: word_and_prose;
    toeplitz: hash_key_and_flows;
    routes: routing_table;
    tls_sni: client_hello;
    dns_query: dns_query;
    tcp_port_80: web_request;
    firewall: blocklist_and_dns_query;
    nat: web_request, translations;
    load_balancer: web_request, services_and_servers;
}
