//! Helpers: the functions that programs call.
//!
//! A helper is declared once, prototype and code side by side. Its code sees the program only
//! through [`Call`], which checks what it hands out against the memory that the program was given
//! (in checked mode), so that the code itself has no `unsafe`.
//!
//! Linux's helpers are in files by family. To add one: its prototype in `spec`'s table, its code
//! in the file of its family, a row in `linux.rs`.

mod call;
mod callback;
mod cgroup;
mod checksum;
mod dynptr;
mod fib;
mod format;
mod host;
mod linux;
mod lock;
mod lwt;
mod maps;
mod mtu;
mod output;
mod packet_cgroup;
mod print;
mod probe;
mod redirect;
mod seg6;
mod skb;
mod skb_shape;
mod sock;
mod sock_find;
mod sock_map;
mod sock_options;
mod stack;
mod storage;
mod string;
mod syncookie;
mod tail_call;
mod task;
mod tcp_options;
mod timer;
mod tunnel;
mod user_ringbuf;
mod xdp;

pub use call::Call;
pub(crate) use linux::absent;
pub use linux::{REFUSED, linux, refusal};
pub(crate) use tunnel::XFRM_STATE_BYTES;

use crate::trap::TrapKind;
use ebpfvm_spec::{Errno, HelperProto};
use smallvec::SmallVec;
use std::sync::Arc;

/// Bytes copied from a program's memory.
pub type Bytes = SmallVec<[u8; 64]>;

/// The code of a helper: what goes into `r0`, or why the run stops.
pub type HelperCode = dyn Fn(&mut Call<'_, '_>) -> Result<u64, TrapKind> + Send + Sync;

/// A helper.
#[derive(Clone)]
pub struct Helper {
    /// What it takes and gives.
    pub proto: HelperProto,
    /// What it does.
    pub(crate) code: Arc<HelperCode>,
    /// What an engine may do instead of calling it: the same.
    pub(crate) shortcut: Option<Shortcut>,
}

/// A helper that engines know how to do without calling it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shortcut {
    /// Linux's `map_lookup_elem`.
    MapLookup,
    /// A function of the host that sees nothing but its arguments.
    Direct(DirectCode),
    /// The same that also sees the memory that its arguments point to: for programs that the verifier
    /// has held against the prototype.
    Trusting(TrustingCode),
    /// Linux's `get_smp_processor_id`.
    Cpu,
}

/// A helper that sees nothing but its arguments. It must not unwind.
pub type DirectCode = extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// A helper that sees its arguments and the memory that they point to. Its caller promises that they are
/// what the prototype says. It must not unwind.
pub(crate) type TrustingCode = unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64;

impl Helper {
    /// A helper with this prototype and code.
    pub fn new(
        proto: HelperProto,
        code: impl Fn(&mut Call<'_, '_>) -> Result<u64, TrapKind> + Send + Sync + 'static,
    ) -> Helper {
        Helper { proto, code: Arc::new(code), shortcut: None }
    }

    /// A helper that computes something from its arguments and nothing else: compiled programs call it
    /// without a detour.
    pub fn direct(proto: HelperProto, code: DirectCode) -> Helper {
        let call = move |call: &mut Call<'_, '_>| {
            let [r1, r2, r3, r4, r5] = [1, 2, 3, 4, 5].map(|number| call.arg(number));
            Ok(code(r1, r2, r3, r4, r5))
        };
        Helper { shortcut: Some(Shortcut::Direct(code)), ..Helper::new(proto, call) }
    }
}

/// Why a helper does not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The program gets an error number in `r0` and goes on.
    Errno(Errno),
    /// The run ends.
    Trap(TrapKind),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

impl From<TrapKind> for Stop {
    fn from(trap: TrapKind) -> Stop {
        Stop::Trap(trap)
    }
}

/// What a helper brings: `r0`, or why not.
pub type Outcome = Result<u64, Stop>;

/// An outcome as the machine takes it: an error number goes into `r0`, negated.
///
/// # Errors
/// The trap, if it is one.
pub fn result(outcome: Outcome) -> Result<u64, TrapKind> {
    match outcome {
        Ok(value) => Ok(value),
        Err(Stop::Errno(errno)) => Ok(errno.to_ret()),
        Err(Stop::Trap(trap)) => Err(trap),
    }
}
