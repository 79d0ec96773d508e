//! Maps and helpers in plain C (`native/host.c`), for programs that run natively and on engines that
//! have none of their own.

use crate::workload::Workload;
use ebpfvm::spec::{MapDef, MapType};
use std::ffi::c_int;
use std::ptr::NonNull;

/// A function that engines can register as a helper.
pub struct HostHelper {
    /// Its number.
    pub number: u32,
    /// As engines in Rust call it.
    pub in_rust: fn(u64, u64, u64, u64, u64) -> u64,
    /// As engines in C call it.
    pub in_c: unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64,
}

/// What C calls `struct host_map`.
#[repr(C)]
pub struct RawMap {
    _opaque: [u8; 0],
}

#[cfg(native)]
mod c {
    use super::{RawMap, c_int};
    use std::ffi::c_void;

    unsafe extern "C" {
        pub(super) fn host_map_new(
            hashed: c_int,
            key_bytes: u32,
            value_bytes: u32,
            entries: u32,
        ) -> *mut RawMap;
        pub(super) fn host_map_free(map: *mut RawMap);
        pub(super) fn host_map_values(map: *mut RawMap, bytes: *mut u64) -> *mut c_void;
        pub(super) fn host_map_lookup(map: *mut RawMap, key: *const c_void) -> *mut c_void;
        pub(super) fn host_map_update(
            map: *mut RawMap,
            key: *const c_void,
            value: *const c_void,
        ) -> i64;
        pub(super) fn host_csum_diff(
            from: *const c_void,
            from_bytes: u32,
            to: *const c_void,
            to_bytes: u32,
            seed: u32,
        ) -> i64;
    }
}

/// The maps of a program, with their first entries. They live as long as this does.
pub struct HostMaps(Vec<NonNull<RawMap>>);

impl HostMaps {
    /// The maps of the program of a workload.
    ///
    /// # Errors
    /// A kind of map that is not there, or the build found no C compiler.
    pub fn new(workload: &Workload, defs: &[MapDef]) -> Result<HostMaps, String> {
        let mut maps = HostMaps(Vec::new());
        for def in defs {
            maps.push(def)?;
        }
        for entry in (workload.entries)() {
            let (map, def) = maps.0.get(entry.map).zip(defs.get(entry.map)).ok_or("no such map")?;
            assert_eq!(
                (entry.key.len(), entry.value.len()),
                (def.key_bytes as usize, def.value_bytes as usize),
                "an entry of {} has the sizes of its map",
                workload.name
            );
            update(*map, &entry.key, &entry.value)?;
        }
        Ok(maps)
    }

    /// What a native program is given: the maps in order.
    pub fn pointers(&self) -> &[NonNull<RawMap>] {
        &self.0
    }

    /// The same as numbers.
    pub fn addresses(&self) -> Vec<u64> {
        self.0.iter().map(|map| map.as_ptr() as u64).collect()
    }

    /// Where the values of each map lie.
    pub fn values(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.0.iter().map(|map| values(*map))
    }
}

/// A row of a helper: its number and the function.
#[cfg(native)]
macro_rules! helper {
    ($number:literal, $function:ident) => {{
        extern "C" fn in_c(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
            $function(a, b, c, d, e)
        }
        HostHelper { number: $number, in_rust: $function, in_c }
    }};
}

/// The helpers that bench programs call.
#[cfg(native)]
pub const HELPERS: &[HostHelper] = &[helper!(1, lookup), helper!(28, csum_diff)];

/// Without a C compiler there are none.
#[cfg(not(native))]
pub const HELPERS: &[HostHelper] = &[];

#[cfg(native)]
impl HostMaps {
    fn push(&mut self, def: &MapDef) -> Result<(), String> {
        let hashed = match def.map_type {
            MapType::Hash => 1,
            // There is one CPU.
            MapType::Array | MapType::PercpuArray => 0,
            other => return Err(format!("no {} natively", other.name())),
        };
        // SAFETY: the function asks nothing of its caller.
        let map =
            unsafe { c::host_map_new(hashed, def.key_bytes, def.value_bytes, def.max_entries) };
        self.0.push(NonNull::new(map).ok_or("there is no memory for a map")?);
        Ok(())
    }
}

#[cfg(native)]
impl Drop for HostMaps {
    fn drop(&mut self) {
        for map in &self.0 {
            // SAFETY: the map was made by `host_map_new` and nobody else frees it.
            unsafe { c::host_map_free(map.as_ptr()) }
        }
    }
}

#[cfg(native)]
fn update(map: NonNull<RawMap>, key: &[u8], value: &[u8]) -> Result<(), String> {
    // SAFETY: the map is alive; key and value are as long as its keys and values.
    match unsafe { c::host_map_update(map.as_ptr(), key.as_ptr().cast(), value.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err("there is no room in a map".into()),
    }
}

#[cfg(native)]
fn values(map: NonNull<RawMap>) -> std::ops::Range<u64> {
    let mut bytes = 0;
    // SAFETY: the map is alive; the length is written to a variable of ours.
    let start = unsafe { c::host_map_values(map.as_ptr(), &raw mut bytes) } as u64;
    start..start + bytes
}

#[cfg(native)]
fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: bench programs call it with a map of theirs, as loaded by `with_addresses`, and the
    // address of a key on their stack or in a map; engines that check run the same source.
    unsafe { c::host_map_lookup(map as *mut RawMap, key as *const _) as u64 }
}

#[cfg(native)]
fn csum_diff(from: u64, from_bytes: u64, to: u64, to_bytes: u64, seed: u64) -> u64 {
    let (from_bytes, to_bytes) = (from_bytes as u32, to_bytes as u32);
    // SAFETY: bench programs call it with words on their stack; engines that check run the same
    // source.
    let sum = unsafe {
        c::host_csum_diff(from as *const _, from_bytes, to as *const _, to_bytes, seed as u32)
    };
    sum as u64
}

#[cfg(not(native))]
impl HostMaps {
    fn push(&mut self, _: &MapDef) -> Result<(), String> {
        Err("maps for engines without maps need a C compiler".into())
    }
}

#[cfg(not(native))]
fn update(_: NonNull<RawMap>, _: &[u8], _: &[u8]) -> Result<(), String> {
    unreachable!("there are no maps")
}

#[cfg(not(native))]
fn values(_: NonNull<RawMap>) -> std::ops::Range<u64> {
    unreachable!("there are no maps")
}
