//! GDB's interface for compilers at run time: a list of object files in memory, and a function that is
//! called when it changes, where a debugger has its breakpoint ("JIT Interface" in GDB's manual).
//!
//! The two symbols are weak: a program that has another compiler with this interface has one list.
//!
//! Invariant: every entry of ours in the list is alive and in no other place; the list is changed by one
//! thread at a time, as far as this crate does it.

#![allow(unsafe_code)] // the list is one of pointers, and others read it

use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// Held while the list is changed.
static CHANGES: Mutex<()> = Mutex::new(());

const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    file: *const u8,
    bytes: u64,
}

#[repr(C)]
struct Descriptor {
    version: u32,
    /// What is done to `relevant`.
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

std::arch::global_asm!(
    ".pushsection .data.__jit_debug_descriptor, \"aw\", @progbits",
    ".balign 8",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor, @object",
    ".size __jit_debug_descriptor, 24",
    "__jit_debug_descriptor:",
    ".long 1",
    ".long 0",
    ".quad 0",
    ".quad 0",
    ".popsection",
    ".pushsection .text.__jit_debug_register_code, \"ax\", @progbits",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code, @function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, . - __jit_debug_register_code",
    ".popsection",
);

unsafe extern "C" {
    static mut __jit_debug_descriptor: Descriptor;
    fn __jit_debug_register_code();
}

/// An object file that debuggers know of, until it is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    entry: *mut Entry,
    /// What the entry points to.
    _file: Box<[u8]>,
}

// SAFETY: the entry is owned, and touched with the lock only.
unsafe impl Send for Registered {}
// SAFETY: as above; a shared one cannot do anything.
unsafe impl Sync for Registered {}

impl Registered {
    pub(super) fn new(file: Vec<u8>) -> Registered {
        let file = file.into_boxed_slice();
        let (at, bytes) = (file.as_ptr(), file.len() as u64);
        let entry = Entry { next: null_mut(), previous: null_mut(), file: at, bytes };
        let entry = Box::into_raw(Box::new(entry));
        let _held = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the list is ours while the lock is held, its entries are alive, and the new one has
        // no other owner. The function does nothing but return.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            (*entry).next = (*list).first;
            if let Some(next) = (*entry).next.as_mut() {
                next.previous = entry;
            }
            (*list).first = entry;
            ((*list).relevant, (*list).action) = (entry, REGISTER);
            __jit_debug_register_code();
        }
        Registered { entry, _file: file }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _held = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as above; the entry is in the list, and is freed once it is out of it.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            let Entry { next, previous, .. } = *self.entry;
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => (*list).first = next,
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
            ((*list).relevant, (*list).action) = (self.entry, UNREGISTER);
            __jit_debug_register_code();
            (*list).relevant = null_mut();
            drop(Box::from_raw(self.entry));
        }
    }
}

/// The files that debuggers are told of, for tests.
#[cfg(test)]
pub(super) fn files() -> Vec<Vec<u8>> {
    let _held = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut files = Vec::new();
    // SAFETY: the entries are alive, and so are their files, while the lock is held.
    unsafe {
        let list = &raw const __jit_debug_descriptor;
        let mut at = (*list).first;
        while let Some(entry) = at.as_ref() {
            files.push(std::slice::from_raw_parts(entry.file, entry.bytes as usize).to_vec());
            at = entry.next;
        }
    }
    files
}
