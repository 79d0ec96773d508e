//! The state of one run, and the paths of an access that are not the usual one.

use crate::NO_FUEL_LIMIT;
use crate::cells::Cells;
use crate::context::{Context, Room};
use crate::dynptr::Dynptrs;
use crate::instance::Instance;
use crate::interp::op::Op;
use crate::map::MapRef;
use crate::map::lock::{self, Guard};
use crate::memory::{Range, Regions};
use crate::packet::MIN_BYTES;
use crate::shown::Shown;
use crate::socket::Socket;
use crate::timer::Firing;
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::semantics::zero_extend;
use ebpfvm_asm::{AtomicOp, RmwOp, Size};
use ebpfvm_spec::context::Direction;
use ebpfvm_spec::{AttachType, ContextAccess, ContextDef, Errno};
use std::any::Any;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a program sent its packet. Recorded, not performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// To a device (`bpf_redirect`).
    Interface {
        /// Its number.
        ifindex: u32,
        /// `BPF_F_INGRESS` and the like.
        flags: u64,
        /// Where the packet goes next from there, if the program said it (`bpf_redirect_neigh`).
        next_hop: Option<NextHop>,
    },
    /// To an entry of a map (`bpf_redirect_map`).
    Map {
        /// Name of the map.
        map: String,
        /// Index of the entry.
        index: u64,
        /// `BPF_F_BROADCAST` and the like.
        flags: u64,
    },
    /// To a socket in a map (`bpf_sk_redirect_map`, `bpf_msg_redirect_map` and those of hashes).
    Socket {
        /// Name of the map.
        map: String,
        /// Cookie of the socket.
        cookie: u64,
        /// `BPF_F_INGRESS` for what the socket receives, 0 for what it sends.
        flags: u64,
    },
}

/// The router or host that a packet goes to next (`struct bpf_redir_neigh`), as the program gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// `AF_INET` or `AF_INET6`; Linux drops IPv4 packets for others.
    pub family: u32,
    /// The address; one of IPv4 is in the first 4 bytes.
    pub bytes: [u8; 16],
}

impl NextHop {
    /// The address, if the family is known.
    pub fn address(&self) -> Option<IpAddr> {
        const AF_INET: u32 = 2;
        const AF_INET6: u32 = 10;
        match (self.family, self.bytes) {
            (AF_INET, [a, b, c, d, ..]) => Some(IpAddr::from([a, b, c, d])),
            (AF_INET6, bytes) => Some(IpAddr::from(bytes)),
            _ => None,
        }
    }
}

/// A copy of a packet that a program has sent elsewhere (`bpf_clone_redirect`). Recorded, not
/// performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketClone {
    /// The number of the device.
    pub ifindex: u32,
    /// `BPF_F_INGRESS` or 0.
    pub flags: u64,
    /// The packet as it was then, with its link-layer header.
    pub packet: Vec<u8>,
}

/// The address of no context.
const NO_CONTEXT: u64 = 1;

/// Where offsets of legacy packet loads count from the network header (`linux/filter.h`).
const SKF_NET_OFF: i32 = -0x10_0000;
/// Where they count from the link-layer header.
const SKF_LL_OFF: i32 = -0x20_0000;

/// Fuel that handlers use before they come back to the outermost loop: the depth of the native
/// stack, at the worst.
const SLICE: i64 = if cfg!(debug_assertions) { 256 } else { 4096 };

/// What a caller needs back when its callee returns.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) ip: *const Op,
    pub(crate) instance: *const Instance,
    pub(crate) saved: [u64; 4],
    pub(crate) may_goto: u32,
}

/// Which programs run without checks of what they access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// None.
    Nothing,
    /// Those that the verifier accepted.
    Verified,
    /// All: the caller has promised that they are safe.
    Everything,
}

/// The spin lock that a program holds, until this is dropped.
pub(crate) struct HeldLock {
    pub(crate) address: u64,
    _guard: Guard<'static>,
}

impl HeldLock {
    /// Takes a lock.
    ///
    /// # Errors
    /// `ETIMEDOUT` if it does not become free.
    ///
    /// # Safety
    /// `address` is that of a lock in a value of a map that lives longer than the result.
    pub(crate) unsafe fn take(address: u64) -> Result<HeldLock, Errno> {
        // SAFETY: the caller's promise; locks begin at multiples of 4 bytes, and programs and host
        // use them as atomics or, where nothing was verified, in ways that harm but the program.
        let cell: &'static AtomicU32 = unsafe { AtomicU32::from_ptr(address as *mut u32) };
        Ok(HeldLock { address, _guard: lock::take(cell)? })
    }
}

/// The state of a run that handlers, helpers and the slow paths share.
pub(crate) struct Run<'a> {
    /// The lock that the program holds. The first field: it is given back before maps go.
    pub(crate) lock: Option<HeldLock>,
    pub(crate) ctx: &'a mut Context,
    /// The entry's: some fields of a context are there for some attach types only.
    pub(crate) attach_type: AttachType,
    pub(crate) regions: Regions,
    /// The budget at the start.
    pub(crate) fuel: u64,
    /// What is left of it, less what the handlers have at hand; below zero when it is used up.
    pub(crate) fuel_left: i64,
    /// The program that runs: the entry, or one of `held`.
    pub(crate) instance: *const Instance,
    /// Where to go on, or where it stopped.
    pub(crate) ip: *const Op,
    /// Why it stopped.
    pub(crate) trap: Option<TrapKind>,
    /// What stopped a function that a helper has called, and where.
    pub(crate) trapped: Option<Box<Trap>>,
    /// The callers of the current function, in the run's stack; those below `depth` are set.
    pub(crate) frames: *mut MaybeUninit<Frame>,
    /// Number of callers.
    pub(crate) depth: usize,
    /// How often `may_goto` still falls through in this frame.
    pub(crate) may_goto: u32,
    /// The program that a tail call goes to next.
    pub(crate) next: Option<Arc<Instance>>,
    /// Programs that tail calls have entered; alive until the run ends.
    pub(crate) held: Vec<Arc<Instance>>,
    /// Maps that the program has found in other maps; alive until the run ends.
    pub(crate) inner_maps: Vec<MapRef>,
    /// What helpers have shown to the program; alive until the run ends.
    pub(crate) shown: Vec<Shown>,
    /// What helpers show to the functions that they call.
    pub(crate) cells: Cells,
    /// The dynptrs that the program has made.
    pub(crate) dynptrs: Dynptrs,
    /// The timer whose callback this is.
    pub(crate) firing: Option<Firing>,
    /// Sockets that the program has references to.
    pub(crate) acquired: Vec<Arc<Socket>>,
    /// How many tail calls there were.
    pub(crate) tail_calls: u32,
    pub(crate) redirect: Option<Redirect>,
    /// Copies that were sent.
    pub(crate) clones: Vec<PacketClone>,
    /// The memory that they take.
    pub(crate) clone_bytes: usize,
    /// Which programs run without checks.
    pub(crate) trust: Trust,
    /// How much of everything there is.
    pub(crate) room: Room,
    /// Whether there is a limit to the fuel.
    pub(crate) metered: bool,
    /// Whether the compiled code that runs has checks.
    pub(crate) checked: bool,
    /// A helper's panic, until compiled code has ended.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
    /// Where in the context compiled code is about to store.
    pub(crate) pending: Option<(u64, Size)>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        ctx: &'a mut Context,
        attach_type: AttachType,
        fuel: u64,
        trust: Trust,
    ) -> Run<'a> {
        let metered = fuel != NO_FUEL_LIMIT;
        let fuel = fuel.min(i64::MAX as u64);
        let mut run = Run {
            lock: None,
            regions: Regions::default(),
            ctx,
            attach_type,
            fuel,
            fuel_left: 0,
            instance: std::ptr::null(),
            ip: std::ptr::null(),
            trap: None,
            trapped: None,
            frames: std::ptr::null_mut(),
            depth: 0,
            may_goto: 0,
            next: None,
            held: Vec::new(),
            inner_maps: Vec::new(),
            shown: Vec::new(),
            cells: Cells::default(),
            dynptrs: Dynptrs::default(),
            firing: None,
            acquired: Vec::new(),
            tail_calls: 0,
            redirect: None,
            clones: Vec::new(),
            clone_bytes: 0,
            trust,
            room: Room::default(),
            metered,
            checked: false,
            panic: None,
            pending: None,
        };
        run.begin();
        run
    }

    /// Begins another run on the same context with the same fuel, once this one has ended.
    pub(crate) fn begin_again(&mut self) {
        // All fields by name, so that none is forgotten.
        let Run {
            lock,
            regions,
            ctx: _,
            attach_type: _,
            fuel: _,
            fuel_left: _,
            instance: _,
            ip: _,
            trap,
            trapped,
            frames: _,
            depth,
            may_goto: _,
            next,
            held,
            inner_maps,
            shown,
            cells,
            dynptrs,
            firing,
            acquired,
            tail_calls,
            redirect,
            clones,
            clone_bytes,
            trust: _,
            room: _,
            metered: _,
            checked,
            panic,
            pending,
        } = self;
        (*lock, *firing, *pending) = (None, None, None);
        (*trap, *trapped, *panic) = (None, None, None);
        // What they had may point into what follows.
        regions.clear();
        (*cells, *dynptrs) = (Cells::default(), Dynptrs::default());
        (*next, *redirect) = (None, None);
        clones.clear();
        acquired.clear();
        shown.clear();
        inner_maps.clear();
        held.clear();
        (*depth, *tail_calls, *clone_bytes, *checked) = (0, 0, 0, false);
        self.begin();
    }

    /// Takes what the context has for a run.
    fn begin(&mut self) {
        let Run { ctx, regions, .. } = self;
        ctx.begin(self.attach_type);
        self.fuel_left = self.fuel as i64;
        self.room = ctx.room();
        regions.set_window(window(ctx));
        // Compiled code accesses whole contexts directly.
        regions.state.context = NO_CONTEXT;
        let base = ctx.registers().0;
        if let Some(def) = ctx.def() {
            let bytes = self.room.context_bytes;
            regions.context = Range::new(base, bytes.into(), true);
            if !def.translated {
                regions.open_context(def.is_memory(ctx.prog_type()));
            }
            if bytes >= def.bytes {
                regions.state.context = base;
            }
        }
        ctx.shown().iter().for_each(|shown| regions.show(shown));
    }

    /// What the run has cost so far.
    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel.saturating_sub(self.fuel_left.max(0) as u64)
    }

    /// Takes fuel for the handlers, of what there is.
    pub(crate) fn next_slice(&mut self) -> i64 {
        self.take_fuel(SLICE)
    }

    /// Takes fuel for the handlers to go on after a call that paid from what they had: no more than
    /// that, for they have not come back to the outermost loop.
    pub(crate) fn take_fuel(&mut self, most: i64) -> i64 {
        let taken = self.fuel_left.clamp(0, most.max(0));
        self.fuel_left -= taken;
        taken
    }

    /// Enters a stack frame of this size; returns what `r10` holds in it.
    ///
    /// # Safety
    /// The regions have a stack with room for another frame.
    #[inline(always)]
    pub(crate) unsafe fn enter_frame(&mut self, bytes: u32) -> u64 {
        let top = self.regions.push_frame(bytes);
        if bytes != 0 {
            // SAFETY: the frame lies in the stack. What a function cannot reach is left as it is.
            unsafe { (top as *mut u8).sub(bytes as usize).write_bytes(0, bytes as usize) };
        }
        top
    }

    /// Takes the new addresses of a changed packet into the regions.
    pub(crate) fn packet_changed(&mut self) {
        self.regions.set_window(window(self.ctx));
    }

    /// Loads from the context; none if the address is not in it.
    pub(crate) fn load_context(&self, addr: u64, size: Size) -> Option<Result<u64, TrapKind>> {
        let cell = self.context_cell(addr, size, Direction::Read)?;
        Some(cell.map(|(host, bytes)| self.ctx.get_cell(host, bytes)))
    }

    /// Stores to the context; none if the address is not in it.
    pub(crate) fn store_context(
        &mut self,
        addr: u64,
        size: Size,
        value: u64,
    ) -> Option<Result<(), TrapKind>> {
        let cell = self.context_cell(addr, size, Direction::Write)?;
        Some(cell.map(|(host, bytes)| self.ctx.set_cell(host, bytes, value)))
    }

    /// Whether memory of this size lies in the program's view of the context.
    pub(crate) fn is_in_context(&self, addr: u64, size: Size) -> bool {
        self.ctx.def().is_some()
            && self.regions.context.has(addr, size.bytes().into(), Direction::Write)
    }

    /// Where an access to the context goes in the host's cells: offset and size. None if the
    /// address is not in the context.
    fn context_cell(
        &self,
        addr: u64,
        size: Size,
        direction: Direction,
    ) -> Option<Result<(u32, u32), TrapKind>> {
        let bytes = size.bytes();
        let def: &ContextDef = self.ctx.def()?;
        if !self.regions.context.has(addr, bytes.into(), direction) {
            return None;
        }
        let offset = self.regions.context.offset(addr) as u32;
        let access = ContextAccess {
            prog_type: self.ctx.prog_type(),
            attach_type: self.attach_type,
            offset,
            bytes,
            direction,
            sign_extends: false,
        };
        Some(match def.access(&access) {
            Some(field) => {
                let scalar = field.kind == ebpfvm_spec::FieldKind::Scalar;
                Ok((def.host_offset(field.offset, offset), if scalar { bytes } else { 8 }))
            }
            // A function that was given it as memory.
            None if def.is_memory(self.ctx.prog_type()) => return None,
            None => Err(TrapKind::Context {
                context: def.name.to_string(),
                offset: offset.into(),
                bytes: bytes.into(),
                direction,
                field: def.field_at(offset).map(|f| f.name.to_string()),
            }),
        })
    }

    /// Checks that an access lies in plain memory, not in the context.
    pub(crate) fn find_plain(
        &mut self,
        instance: &Instance,
        addr: u64,
        size: Size,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        self.find(instance, addr, size.bytes().into(), direction)
    }

    /// Checks that memory of any size lies in one region; no memory lies anywhere.
    pub(crate) fn find(
        &mut self,
        instance: &Instance,
        addr: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        if bytes == 0 || self.regions.find(instance, addr, bytes, direction) {
            return Ok(());
        }
        let near = self.regions.nearest(instance, addr);
        Err(TrapKind::Access { address: addr, bytes, direction, near })
    }

    /// Loads from the packet as `LD_ABS` and `LD_IND` do: in network order; none out of range.
    ///
    /// Offsets below zero count from a header, whether or not the program sees it
    /// (`bpf_internal_load_pointer_neg_helper`).
    pub(crate) fn load_packet(&self, offset: i32, bytes: u32) -> Result<Option<u64>, TrapKind> {
        let data = match (self.ctx.visible_packet(), self.ctx.memory()) {
            (Some(packet), _) => packet.data(),
            (None, Some(memory)) => memory,
            (None, None) => {
                let what = "legacy packet loads need a packet or memory to load from";
                return Err(TrapKind::Unsupported(what.into()));
            }
        };
        let frame = || self.ctx.packet_data();
        let (data, offset) = match offset {
            0.. => (Some(data), offset),
            SKF_NET_OFF.. => (frame().and_then(|f| f.get(MIN_BYTES..)), offset - SKF_NET_OFF),
            SKF_LL_OFF.. => (frame(), offset - SKF_LL_OFF),
            _ => (None, 0),
        };
        let start = offset as usize;
        let part = data.and_then(|data| data.get(start..start.checked_add(bytes as usize)?));
        Ok(part.map(|part| part.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }
}

/// The memory that the program may touch directly.
fn window(ctx: &mut Context) -> Range {
    let (base, bytes) = ctx.window();
    Range::new(base, bytes, ctx.window_writable())
}

/// Loads a zero-extended value.
///
/// # Safety
/// `addr` is the address of memory of this size that is valid for reads.
pub(crate) unsafe fn load_sized(addr: u64, size: Size) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            Size::B => (addr as *const u8).read_unaligned().into(),
            Size::H => (addr as *const u16).read_unaligned().into(),
            Size::W => (addr as *const u32).read_unaligned().into(),
            Size::Dw => (addr as *const u64).read_unaligned(),
        }
    }
}

/// Stores the low part of a value.
///
/// # Safety
/// `addr` is the address of memory of this size that is valid for writes.
pub(crate) unsafe fn store_sized(addr: u64, size: Size, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            Size::B => (addr as *mut u8).write_unaligned(value as u8),
            Size::H => (addr as *mut u16).write_unaligned(value as u16),
            Size::W => (addr as *mut u32).write_unaligned(value as u32),
            Size::Dw => (addr as *mut u64).write_unaligned(value),
        }
    }
}

/// Performs an atomic operation and returns the old value, zero-extended (RFC 9669, section 5.3).
///
/// An address that is not a multiple of the size, which x86 takes, is atomic only with respect to
/// others of its kind.
///
/// # Safety
/// `addr` is the address of memory of this size that is valid for reads and writes.
pub(crate) unsafe fn atomic(op: AtomicOp, size: Size, addr: u64, src: u64, r0: u64) -> u64 {
    static MISALIGNED: Mutex<()> = Mutex::new(());
    if !addr.is_multiple_of(size.bytes().into()) {
        let _guard = MISALIGNED.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller's promise.
        unsafe {
            let old = load_sized(addr, size);
            if let Some(new) = ebpfvm_asm::semantics::atomic(op, size, old, src, r0) {
                store_sized(addr, size, new);
            }
            return old;
        }
    }
    macro_rules! perform {
        ($cell:expr, $ty:ty) => {{
            let (cell, src) = ($cell, src as $ty);
            const ORDER: Ordering = Ordering::SeqCst;
            let old = match op {
                AtomicOp::Rmw(op) | AtomicOp::Fetch(op) => match op {
                    RmwOp::Add => cell.fetch_add(src, ORDER),
                    RmwOp::Or => cell.fetch_or(src, ORDER),
                    RmwOp::And => cell.fetch_and(src, ORDER),
                    RmwOp::Xor => cell.fetch_xor(src, ORDER),
                },
                AtomicOp::Xchg => cell.swap(src, ORDER),
                AtomicOp::Cmpxchg => {
                    let result = cell.compare_exchange(r0 as $ty, src, ORDER, ORDER);
                    result.unwrap_or_else(|old| old)
                }
            };
            old.into()
        }};
    }
    // SAFETY: valid by the caller's promise, aligned by the test above.
    let old: u64 = unsafe {
        match size {
            Size::Dw => perform!(AtomicU64::from_ptr(addr as *mut u64), u64),
            _ => perform!(AtomicU32::from_ptr(addr as *mut u32), u32),
        }
    };
    zero_extend(size, old)
}
