//! What the code of a helper is given: its arguments, and the world through the program's eyes.
//!
//! In checked mode nothing is handed out that was not compared with what the program was given; in a
//! verified program the prototype has been held against the arguments. All `unsafe` of helpers is
//! here.

mod functions;
mod maps;
mod memory;
mod sockets;
mod trusting;

use crate::context::Context;
use crate::host::Host;
use crate::instance::Instance;
use crate::map::{Cpu, Map};
use crate::run::{PacketClone, Redirect, Run};
use crate::trap::TrapKind;
use ebpfvm_spec::{Arg, AttachType, Errno, HelperProto, ProgType};
use std::sync::Arc;
pub(super) use trusting::csum_diff;

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
    #[inline]
    pub fn arg(&self, number: usize) -> u64 {
        self.args[number - 1]
    }

    /// The low half of an argument, for parameters of type `u32`.
    #[inline]
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

    /// A number of bytes, an argument that the prototype declares as a size.
    ///
    /// # Errors
    /// A trap if it is above what the verifier lets pass (`BPF_MAX_VAR_SIZ`), or 0 where the
    /// prototype does not take that.
    #[inline]
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

    /// The trap for an argument that the helper does not take.
    #[cold]
    pub fn bad_arg(&self, number: usize, expected: &str) -> TrapKind {
        TrapKind::HelperArg {
            helper: self.proto.name.to_string(),
            arg: number as u8,
            value: self.arg(number),
            expected: expected.into(),
        }
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

    /// The CPU as far as a map asks for it: maps that are not per-CPU do not.
    #[inline]
    pub(crate) fn cpu_of(&self, map: &Map) -> Cpu {
        if map.def().map_type.is_percpu() { self.cpu() } else { Cpu(0) }
    }

    /// The number of CPUs that per-CPU maps were made for.
    pub fn cpus(&self) -> u32 {
        self.instance.cpus()
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

    /// Records where the packet goes, or that it goes nowhere, in place of any redirect before.
    pub fn set_redirect(&mut self, redirect: Option<Redirect>) {
        self.run.redirect = redirect;
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
}
