//! What the threads that share a map use: the standard library's, or in models `loom`'s, which tries
//! the ways in which threads can meet (`vm/tests/map_models.rs`).

#[cfg(ebpfvm_model)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
    sync::{Condvar, Mutex, MutexGuard},
};
#[cfg(not(ebpfvm_model))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
    sync::{Condvar, Mutex, MutexGuard},
};
