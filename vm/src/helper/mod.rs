//! Helpers: the functions that programs call.
//!
//! A helper is declared once, prototype and code side by side. Its code sees the program only
//! through [`Call`], which checks what it hands out against the memory that the program was given
//! (in checked mode), so that the code itself has no `unsafe`.
//!
//! Linux's helpers are in files by family. To add one: its prototype in `spec`'s table, its code
//! in the file of its family, a row in `linux.rs`.

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
mod syncookie_raw;
mod tail_call;
mod task;
mod tcp_options;
mod timer;
mod tunnel;
mod user_ringbuf;
mod xdp;

pub(crate) use linux::absent;
pub use linux::{REFUSED, linux, refusal};
pub(crate) use tunnel::XFRM_STATE_BYTES;

use crate::cells::Cell;
use crate::context::{Context, ContextError};
use crate::dynptr::{DYNPTR_BYTES, Dynptr, Slice};
use crate::host::Host;
use crate::instance::{Instance, func_of_token};
use crate::interp::exec::call_back;
use crate::interp::lower::Function;
use crate::map::lock::WAIT;
use crate::map::{Cpu, Map, MapRef, Slab};
use crate::memory::{copy_from, copy_to};
use crate::run::{HeldLock, PacketClone, Redirect, Run, atomic};
use crate::shown::Shown;
use crate::socket::Socket;
use crate::timer::{Firing, TimerId, Timers};
use crate::trap::TrapKind;
use ebpfvm_asm::{AtomicOp, Pc, Size};
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::context::{Direction, Pointee};
use ebpfvm_spec::{Arg, AttachType, Errno, HelperProto, ProgType};
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
    pub code: Arc<HelperCode>,
    /// What an engine may do instead of calling it.
    pub(crate) shortcut: Option<Shortcut>,
}

/// A helper that engines know how to do without calling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// Linux's `map_lookup_elem`.
    MapLookup,
}

impl Helper {
    /// A helper with this prototype and code.
    pub fn new(
        proto: HelperProto,
        code: impl Fn(&mut Call<'_, '_>) -> Result<u64, TrapKind> + Send + Sync + 'static,
    ) -> Helper {
        Helper { proto, code: Arc::new(code), shortcut: None }
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

/// A call of a helper: its arguments, and the world through the program's eyes.
///
/// Arguments are numbered from 1, as the registers are.
pub struct Call<'c, 'r> {
    run: &'c mut Run<'r>,
    instance: &'c Instance,
    proto: &'c HelperProto,
    args: [u64; 5],
    checked: bool,
}

impl<'c, 'r> Call<'c, 'r> {
    pub(crate) fn new(
        run: &'c mut Run<'r>,
        instance: &'c Instance,
        proto: &'c HelperProto,
        args: [u64; 5],
        checked: bool,
    ) -> Call<'c, 'r> {
        Call { run, instance, proto, args, checked }
    }

    /// The value of an argument.
    ///
    /// # Panics
    /// If `number` is not 1 to 5.
    pub fn arg(&self, number: usize) -> u64 {
        self.args[number - 1]
    }

    /// The low half of an argument, for parameters of type `u32`.
    pub fn arg_u32(&self, number: usize) -> u32 {
        self.arg(number) as u32
    }

    /// Refuses flags that a helper does not know.
    ///
    /// # Errors
    /// `EINVAL` if the argument has a bit outside `known`.
    pub fn flags(&self, number: usize, known: u64) -> Result<u64, Errno> {
        let flags = self.arg(number);
        if flags & !known == 0 { Ok(flags) } else { Err(Errno::EINVAL) }
    }

    /// The type of the program that calls.
    pub fn prog_type(&self) -> ProgType {
        self.instance.prog_type()
    }

    /// The attach type of the program that the run has entered.
    pub(crate) fn attach_type(&self) -> AttachType {
        self.run.attach_type
    }

    /// The program that calls.
    pub fn instance(&self) -> &'c Instance {
        self.instance
    }

    /// The world outside.
    pub fn host(&self) -> &'c dyn Host {
        self.instance.host()
    }

    /// The CPU that the program runs on; always one that per-CPU maps have a slot for.
    pub fn cpu(&self) -> Cpu {
        self.instance.host().cpu().min(Cpu(self.cpus() - 1))
    }

    /// The map that an argument names.
    ///
    /// # Errors
    /// A trap if the argument is not a map of the program.
    pub fn map(&self, number: usize) -> Result<&'c Map, TrapKind> {
        let token = self.arg(number);
        if !self.checked && self.proto.args[number - 1] == Arg::Map {
            // SAFETY: the program is safe to run, so the argument is a map: one of the instance's, or one
            // that the run holds.
            return Ok(unsafe { &*(token as *const Map) });
        }
        let named = |map: &&MapRef| Arc::as_ptr(map) as u64 == token;
        if let Some(map) = self.instance.maps().iter().find(named) {
            return Ok(map);
        }
        match self.run.inner_maps.iter().find(named) {
            // SAFETY: the run holds the map until it ends, which is after this call.
            Some(map) => Ok(unsafe { &*Arc::as_ptr(map) }),
            None => Err(self.bad_arg(number, "is not a map of the program")),
        }
    }

    /// Gives a map that lies in another to the program until the run ends; returns the value that
    /// stands for it.
    pub fn give_map(&mut self, map: MapRef) -> u64 {
        let token = Arc::as_ptr(&map) as u64;
        if !self.run.inner_maps.iter().any(|held| Arc::ptr_eq(held, &map)) {
            self.run.regions.add_slabs(map.slabs());
            self.run.inner_maps.push(map);
        }
        token
    }

    /// Takes the spin lock that an argument points to, for the program: it has it until
    /// [`unlock`](Call::unlock) or the end of the run.
    ///
    /// # Errors
    /// A trap if the argument is not the lock of a map's value, the program holds a lock already, or
    /// this one does not become free.
    pub(crate) fn lock(&mut self, number: usize) -> Result<(), TrapKind> {
        let address = self.arg(number);
        if self.run.lock.is_some() {
            return Err(self.bad_arg(number, "is a second lock: the program holds one already"));
        }
        let has = |map: &MapRef| map.has_lock_at(address as usize);
        let found = || self.instance.maps().iter().chain(&self.run.inner_maps).any(has);
        if self.checked && !found() {
            return Err(
                self.bad_arg(number, "is not the spin lock in a value of the program's maps")
            );
        }
        // SAFETY: a lock in a value, found above or by the verifier. The maps are the instance's or
        // held by the run, and both are there until the run ends, which gives the lock back.
        let taken = unsafe { HeldLock::take(address) };
        self.run.lock = Some(taken.map_err(|_| {
            let wait = WAIT.as_secs();
            self.bad_arg(number, &format!("is a lock that was not free for {wait} seconds"))
        })?);
        Ok(())
    }

    /// Gives the spin lock back that the program holds.
    ///
    /// # Errors
    /// A trap if the argument does not point to it.
    pub(crate) fn unlock(&mut self, number: usize) -> Result<(), TrapKind> {
        match self.run.lock.take() {
            Some(held) if held.address == self.arg(number) => Ok(()),
            held => {
                self.run.lock = held;
                Err(self.bad_arg(number, "is not the lock that the program holds"))
            }
        }
    }

    /// Whether the program holds a spin lock.
    pub(crate) fn holds_lock(&self) -> bool {
        self.run.lock.is_some()
    }

    /// As [`Call::map`], to hold.
    ///
    /// # Errors
    /// As [`Call::map`].
    pub(crate) fn map_ref(&self, number: usize) -> Result<MapRef, TrapKind> {
        let token = self.arg(number);
        let found = self.maps().find(|map| Arc::as_ptr(map) as u64 == token);
        found.cloned().ok_or_else(|| self.bad_arg(number, "is not a map of the program"))
    }

    /// Where the value of the map begins in whose timer field an argument points to.
    ///
    /// # Errors
    /// A trap if it does not point to one.
    pub(crate) fn timer_value(&self, number: usize, map: &Map) -> Result<usize, TrapKind> {
        let address = self.arg(number) as usize;
        let field = map.def().special.iter().find(|field| field.kind == SpecialKind::Timer);
        let value = field.and_then(|field| {
            let start = |slab: &Slab| slab.value_at(address, field.bytes as usize);
            let (start, _) = map.slabs().iter().find_map(start)?;
            (start + field.offset as usize == address).then_some(start)
        });
        value.ok_or_else(|| self.bad_arg(number, "is not the timer in a value of the map"))
    }

    /// Marks the timer field that an argument points to as made. The caller has found it with
    /// [`Call::timer_value`].
    ///
    /// # Errors
    /// A trap if programs may not write there.
    pub(crate) fn mark_timer(&mut self, number: usize, id: TimerId) -> Result<(), TrapKind> {
        self.check(number, 8, Direction::Write)?;
        let address = self.arg(number);
        // SAFETY: 8 bytes of a map's value, checked above or by the verifier. The map, which may take
        // the number away at any time, uses it as an atomic too.
        unsafe { atomic(AtomicOp::Xchg, Size::Dw, address, id.0, 0) };
        Ok(())
    }

    /// Checks that an argument may be a timer: no more is needed, for they are known by address.
    ///
    /// # Errors
    /// A trap if it points to nothing that programs may write.
    pub(crate) fn check_timer(&mut self, number: usize) -> Result<(), TrapKind> {
        self.check(number, 16, Direction::Write)
    }

    /// The timers of the machine; none if nobody can fire them any more.
    pub(crate) fn timers(&self) -> Option<Arc<Timers>> {
        self.instance.vm().timers()
    }

    /// The timer in whose callback this is.
    pub(crate) fn firing(&self) -> Option<Firing> {
        self.run.firing
    }

    /// The time that timers count from: it may be later than the host's when they fire ahead of it.
    pub(crate) fn timer_now(&self) -> u64 {
        let due = self.run.firing.map_or(0, |firing| firing.due_ns);
        self.host().monotonic_ns().max(due)
    }

    /// The function of the program that an argument names, to be called when the helper is long
    /// done; no program if it is about to go.
    ///
    /// # Errors
    /// A trap if the argument is no function of the program.
    pub(crate) fn callback_later(
        &self,
        number: usize,
    ) -> Result<(Option<Arc<Instance>>, Pc), TrapKind> {
        self.function(number)?;
        let function = func_of_token(self.arg(number)).unwrap_or_default();
        Ok((self.instance.to_hold(), function))
    }

    /// Copies `bytes` bytes from where an argument points to.
    ///
    /// # Errors
    /// A trap if the program may not read there.
    pub fn read(&mut self, number: usize, bytes: usize) -> Result<Bytes, TrapKind> {
        self.check(number, bytes, Direction::Read)?;
        let mut out = SmallVec::from_elem(0, bytes);
        // SAFETY: checked above, or the verifier has checked the argument against the prototype.
        unsafe { copy_from(self.arg(number), &mut out) };
        Ok(out)
    }

    /// A number of bytes, an argument that the prototype declares as a size.
    ///
    /// # Errors
    /// A trap if it is above what the verifier lets pass (`BPF_MAX_VAR_SIZ`), or 0 where the
    /// prototype does not take that.
    pub fn size(&self, number: usize) -> Result<usize, TrapKind> {
        const MAX_BYTES: u64 = 1 << 29;
        let size = self.arg(number);
        if size >= MAX_BYTES {
            return Err(self.bad_arg(number, "is not a size below 512 MiB"));
        }
        if size == 0 && self.proto.args[number - 1] == (Arg::Size { zero: false }) {
            return Err(self.bad_arg(number, "is a size and must not be 0"));
        }
        Ok(size as usize)
    }

    /// Copies the memory that an argument points to, as long as the next argument says.
    ///
    /// # Errors
    /// A trap if the program may not read it, or gives no address where one is needed.
    pub fn memory(&mut self, number: usize) -> Result<Bytes, TrapKind> {
        let bytes = self.size(number + 1)?;
        self.read(number, bytes)
    }

    /// Copies memory from anywhere, as the kernel's `copy_from_kernel_nofault`: none where the
    /// program itself has no memory, for there the host's begins.
    pub fn probe(&mut self, address: u64, bytes: usize) -> Option<Bytes> {
        self.run.find(self.instance, address, bytes as u64, Direction::Read).ok()?;
        let mut out = SmallVec::from_elem(0, bytes);
        // SAFETY: found in the program's memory just now.
        unsafe { copy_from(address, &mut out) };
        Some(out)
    }

    /// Copies bytes to where an argument points to.
    ///
    /// # Errors
    /// A trap if the program may not write there.
    pub fn write(&mut self, number: usize, bytes: &[u8]) -> Result<(), TrapKind> {
        self.check(number, bytes.len(), Direction::Write)?;
        // SAFETY: as in `read`.
        unsafe { copy_to(self.arg(number), bytes) };
        Ok(())
    }

    /// Checks that the program may access all of the memory that an argument points to, before
    /// anything is done that should not be done in part.
    ///
    /// # Errors
    /// A trap if it may not.
    pub fn check(
        &mut self,
        number: usize,
        bytes: usize,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        self.check_at(number, self.arg(number), bytes, direction)
    }

    /// As [`Call::check`], for memory that an argument stands for.
    fn check_at(
        &mut self,
        number: usize,
        address: u64,
        bytes: usize,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        if !self.checked {
            return Ok(());
        }
        let found = self.run.find(self.instance, address, bytes as u64, direction);
        found.map_err(|access| TrapKind::HelperAccess {
            helper: self.proto.name.to_string(),
            arg: number as u8,
            access: Box::new(access),
        })
    }

    /// The key that an argument points to, of the size that the map has.
    ///
    /// # Errors
    /// A trap if the program may not read it.
    pub fn map_key(&mut self, number: usize, map: &Map) -> Result<Bytes, TrapKind> {
        self.read(number, map.def().key_bytes as usize)
    }

    /// The context, which an argument must be.
    ///
    /// # Errors
    /// A trap if the argument is something else.
    pub fn ctx(&mut self, number: usize) -> Result<&mut Context, TrapKind> {
        if self.checked && self.arg(number) != self.run.ctx.registers().0 {
            return Err(self.bad_arg(number, "is not the context"));
        }
        Ok(self.run.ctx)
    }

    /// The context of the run, for helpers that are not given it.
    pub(crate) fn own_ctx(&mut self) -> &mut Context {
        self.run.ctx
    }

    /// Tells the machine that the packet was changed: its addresses are taken anew.
    pub fn packet_changed(&mut self) {
        self.run.packet_changed();
    }

    /// Calls a function of the program that an argument names, from within the helper; returns its
    /// `r0`.
    ///
    /// # Errors
    /// What stopped the function, which then stops the run: the helper passes it on. A trap if the
    /// argument is no function of the program.
    pub fn callback(&mut self, number: usize, args: [u64; 5]) -> Result<u64, TrapKind> {
        let function = self.function(number)?;
        // SAFETY: the program that has called the helper is running, with checks or accepted by the
        // verifier, and so is the function with what the prototype says that it is given.
        unsafe { call_back(self.run, function, args) }
    }

    /// The function of the program that an argument names.
    fn function(&self, number: usize) -> Result<Function, TrapKind> {
        let form = self.instance.form(self.run.trust, &self.run.room);
        let function = func_of_token(self.arg(number)).and_then(|pc| form.function(pc));
        function.ok_or_else(|| self.bad_arg(number, "is not a function of the program"))
    }

    /// Gives memory to the program until the run ends. The caller keeps it valid and where it is
    /// for as long; `name` is what messages call it.
    pub(crate) fn lend(&mut self, name: &'static str, address: u64, bytes: u64, writable: bool) {
        self.run.regions.lend(name, address, bytes, writable);
    }

    /// Takes memory of so many bytes for arguments of the program's functions, which may read it
    /// until the run ends; `name` is what messages call it.
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn take_cell(&mut self, name: &'static str, bytes: usize) -> Result<Cell, Errno> {
        let cell = self.run.cells.take(bytes).map_err(|_| Errno::ENOMEM)?;
        self.lend(name, self.run.cells.address(cell), bytes as u64, false);
        Ok(cell)
    }

    /// Writes to memory for arguments, as many bytes as it has; returns its address.
    pub(crate) fn fill_cell(&mut self, cell: Cell, bytes: &[u8]) -> u64 {
        self.run.cells.write(cell, bytes);
        self.run.cells.address(cell)
    }

    /// Lets later calls use memory for arguments.
    pub(crate) fn put_cell_back(&mut self, cell: Cell) {
        self.run.cells.put_back(cell);
    }

    /// The dynptr that an argument points to; none if it has no memory.
    ///
    /// # Errors
    /// A trap if the argument is something else.
    pub(crate) fn dynptr(&mut self, number: usize) -> Result<Option<Dynptr>, TrapKind> {
        let bytes = self.read(number, DYNPTR_BYTES)?;
        let found = self.run.dynptrs.get(self.arg(number), &bytes);
        found.ok_or_else(|| self.bad_arg(number, "is not a dynptr"))
    }

    /// Makes a dynptr where an argument points to; one without memory for none.
    ///
    /// # Errors
    /// A trap if that is no place for a dynptr.
    pub(crate) fn set_dynptr(
        &mut self,
        number: usize,
        dynptr: Option<Dynptr>,
    ) -> Result<(), TrapKind> {
        let at = self.arg(number);
        let is_place = at.is_multiple_of(8);
        if self.checked && !(is_place && self.run.regions.is_on_stack(at, DYNPTR_BYTES as u64)) {
            let expected = "is not the address of 16 bytes of the stack, a multiple of 8";
            return Err(self.bad_arg(number, expected));
        }
        let bytes = self.run.dynptrs.set(at, dynptr);
        self.write(number, &bytes)
    }

    /// Makes a dynptr, or one without memory, in memory for arguments of its size; returns its
    /// address.
    pub(crate) fn fill_cell_with_dynptr(&mut self, cell: Cell, dynptr: Option<Dynptr>) -> u64 {
        let bytes = self.run.dynptrs.set(self.run.cells.address(cell), dynptr);
        self.fill_cell(cell, &bytes)
    }

    /// Copies from a dynptr's memory; the argument is the dynptr.
    ///
    /// # Errors
    /// A trap if the program may no longer read it.
    pub(crate) fn read_slice(&mut self, number: usize, slice: Slice) -> Result<Bytes, TrapKind> {
        self.check_at(number, slice.address(), slice.bytes(), Direction::Read)?;
        let mut out = SmallVec::from_elem(0, slice.bytes());
        // SAFETY: checked above; in a verified program memory lasts as long as a dynptr with it.
        unsafe { copy_from(slice.address(), &mut out) };
        Ok(out)
    }

    /// Copies to a dynptr's memory as many bytes as the slice has; the argument is the dynptr.
    ///
    /// # Errors
    /// A trap if the program may no longer write it.
    pub(crate) fn write_slice(
        &mut self,
        number: usize,
        slice: Slice,
        bytes: &[u8],
    ) -> Result<(), TrapKind> {
        let bytes = &bytes[..slice.bytes()];
        self.check_at(number, slice.address(), bytes.len(), Direction::Write)?;
        // SAFETY: as in `read_slice`.
        unsafe { copy_to(slice.address(), bytes) };
        Ok(())
    }

    /// Shows a socket to the program until the run ends; returns the pointer, or 0 if the socket is
    /// not of the kind that the pointer shows.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn show_socket(&mut self, pointee: Pointee, socket: &Arc<Socket>) -> Result<u64, Errno> {
        let is_this = |shown: &&Shown| {
            shown.pointee() == pointee && shown.as_socket().is_some_and(|s| Arc::ptr_eq(s, socket))
        };
        if let Some(shown) = self.run.shown.iter().chain(self.run.ctx.shown()).find(is_this) {
            return Ok(shown.address());
        }
        match Shown::socket(pointee, socket.clone()) {
            None => Ok(0),
            Some(Err(_)) => Err(Errno::ENOMEM),
            Some(Ok(shown)) => {
                let address = shown.address();
                self.run.regions.show(&shown);
                self.run.shown.push(shown);
                Ok(address)
            }
        }
    }

    /// Shows a socket as [`Call::show_socket`] does, with a reference that the program releases.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn acquire_socket(&mut self, pointee: Pointee, socket: &Arc<Socket>) -> Result<u64, Errno> {
        let address = self.show_socket(pointee, socket)?;
        if address != 0 {
            self.run.acquired.push(socket.clone());
        }
        Ok(address)
    }

    /// Releases the reference to the socket that an argument points to.
    ///
    /// # Errors
    /// A trap if the argument is no socket, or one that the program has not acquired.
    pub fn release_socket(&mut self, number: usize) -> Result<(), TrapKind> {
        let socket = self.socket(number)?;
        let is_this = |held: &Arc<Socket>| socket.as_ref().is_some_and(|s| Arc::ptr_eq(s, held));
        match self.run.acquired.iter().position(is_this) {
            Some(at) => {
                self.run.acquired.swap_remove(at);
                Ok(())
            }
            None if self.checked => {
                Err(self.bad_arg(number, "is not a socket that the program has acquired"))
            }
            None => Ok(()),
        }
    }

    /// Puts a socket behind a pointer of the context, or nothing.
    ///
    /// # Errors
    /// `EINVAL` if the pointer takes no such socket, `ENOMEM`.
    pub(crate) fn set_context_socket(
        &mut self,
        name: &str,
        socket: Option<Arc<Socket>>,
    ) -> Result<(), Errno> {
        self.run.ctx.set_socket(name, socket).map_err(|error| match error {
            ContextError::OutOfMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        })?;
        self.run.ctx.shown().iter().for_each(|shown| self.run.regions.show(shown));
        Ok(())
    }

    /// Shows a socket as it is now, wherever the program has a pointer to it.
    pub(crate) fn refresh_socket(&mut self, socket: &Arc<Socket>) {
        self.run.shown.iter().for_each(|shown| shown.refresh(socket));
        self.run.ctx.refresh_socket(socket);
    }

    /// The socket that an argument points to; none if it is null.
    ///
    /// # Errors
    /// A trap if the argument is something else.
    pub fn socket(&self, number: usize) -> Result<Option<Arc<Socket>>, TrapKind> {
        let address = self.arg(number);
        if address == 0 {
            return Ok(None);
        }
        let mut all = self.run.shown.iter().chain(self.run.ctx.shown());
        let shown = all.find(|shown| shown.address() == address);
        match shown.and_then(Shown::as_socket) {
            Some(socket) => Ok(Some(socket.clone())),
            None => Err(self.bad_arg(number, "is not a socket")),
        }
    }

    /// Lets the program use memory until it is revoked: a record of a ring buffer.
    pub fn grant(&mut self, address: u64, bytes: u64) {
        self.run.regions.grant(address, bytes);
    }

    /// Ends a grant.
    ///
    /// # Errors
    /// A trap if the address is not that of memory that was granted.
    pub fn revoke(&mut self, address: u64) -> Result<(), TrapKind> {
        if self.run.regions.revoke(address) || !self.checked {
            return Ok(());
        }
        Err(self.bad_arg(1, "is not a record that the program reserved"))
    }

    /// The maps that the program can have records of: its own and those found in others.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &MapRef> {
        self.instance.maps().iter().chain(&self.run.inner_maps)
    }

    /// Records a copy of the packet that goes elsewhere.
    ///
    /// # Errors
    /// `ENOMEM` if the copies of this run take too much memory.
    pub(crate) fn send_clone(&mut self, clone: PacketClone) -> Result<(), Errno> {
        const MAX_BYTES: usize = 64 << 20;
        let bytes = self.run.clone_bytes + size_of::<PacketClone>() + clone.packet.len();
        if bytes > MAX_BYTES {
            return Err(Errno::ENOMEM);
        }
        self.run.clone_bytes = bytes;
        self.run.clones.push(clone);
        Ok(())
    }

    /// Records where the packet goes, or that it goes nowhere, in place of any redirect before.
    pub fn set_redirect(&mut self, redirect: Option<Redirect>) {
        self.run.redirect = redirect;
    }

    /// The number of CPUs that per-CPU maps were made for.
    pub fn cpus(&self) -> u32 {
        self.instance.cpus()
    }

    /// Goes to another program when the helper returns, if fewer than 33 tail calls were made
    /// (`MAX_TAIL_CALL_CNT`). Returns whether it will.
    pub fn tail_call(&mut self, program: Arc<Instance>) -> bool {
        const MAX_TAIL_CALLS: u32 = 33;
        if self.run.tail_calls == MAX_TAIL_CALLS {
            return false;
        }
        self.run.tail_calls += 1;
        self.run.next = Some(program);
        true
    }

    /// The trap for an argument that the helper does not take.
    pub fn bad_arg(&self, number: usize, expected: &str) -> TrapKind {
        TrapKind::HelperArg {
            helper: self.proto.name.to_string(),
            arg: number as u8,
            value: self.arg(number),
            expected: expected.into(),
        }
    }
}
