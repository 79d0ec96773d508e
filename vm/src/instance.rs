//! A program bound to its maps and helpers, ready to run.

use crate::context::{Context, Room};
use crate::helper::{Helper, Shortcut};
use crate::host::Host;
use crate::interp::exec::{exec, exec_function};
use crate::interp::lower::{Lowered, lower};
use crate::interp::op::OpCode;
use crate::map::{MapRef, Slab};
use crate::memory::Stack;
use crate::packet::MIN_BYTES;
use crate::rewrite::{Rewritten, is_same_map, rewrite};
use crate::run::{PacketClone, Redirect, Run, Trust};
use crate::timer::Firing;
use crate::trap::{Trap, TrapKind};
use crate::vm::Vm;
use ebpfvm_asm::{CallTarget, Insn, Pc};
use ebpfvm_loader::Absent;
use ebpfvm_spec::{
    Arg, AttachType, Effect, HelperProto, MapUse, ProgType, ProgTypeSet, Program, Ret,
};
use ebpfvm_verifier::VerifiedProgram;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

/// Why a program cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkErrorKind {
    /// A jump or call goes outside the program.
    #[error("the target is instruction {target}, outside the program of {slots} slots")]
    TargetOutside {
        /// The target, counted in slots.
        target: i64,
        /// Size of the program in slots.
        slots: usize,
    },
    /// A jump or call goes into the second slot of a wide instruction.
    #[error("the target, instruction {0}, is the second half of a 64-bit immediate load")]
    TargetInWide(Pc),
    /// An instruction writes to the frame pointer.
    #[error("r10 is the frame pointer and read-only")]
    WritesFramePointer,
    /// The platform has no such helper.
    #[error("there is no helper number {0}")]
    UnknownHelper(u32),
    /// The helper is not for programs of this type.
    #[error("the helper {name} (number {id}) is not for programs of type {}", .prog_type.name())]
    HelperNotAllowed {
        /// Its number.
        id: u32,
        /// Its name.
        name: String,
        /// The program's type.
        prog_type: ProgType,
    },
    /// A map index beyond the maps given.
    #[error("there is no map number {index}; the program has {maps}")]
    NoMap {
        /// The index.
        index: u32,
        /// How many there are.
        maps: usize,
    },
    /// A direct access to the value of a map that has no single value, or beyond it.
    #[error("map {map} has no byte {offset} in a single, directly accessible value")]
    NoMapValue {
        /// Name of the map.
        map: String,
        /// Offset in bytes.
        offset: u32,
    },
    /// A map by file descriptor.
    #[error("the program names a map by file descriptor {0}, which means nothing here")]
    FileDescriptor(i32),
    /// A kernel variable.
    #[error("the program takes the address of the kernel variable with BTF id {0}")]
    KernelVariable(u32),
    /// A kernel function.
    #[error("the program calls the kernel function with BTF id {0}")]
    Kfunc(i32),
    /// A conversion between address spaces.
    #[error("addr_space_cast needs an arena, which is not available here")]
    NeedsArena,
    /// A program without instructions.
    #[error("the program has no instructions")]
    Empty,
    /// The machine has more CPUs than the verifier was told.
    #[error("the program was verified for {assumed} CPUs, this machine has {cpus}")]
    TooManyCpus {
        /// CPUs of the machine.
        cpus: u32,
        /// CPUs that the verdict is about.
        assumed: u32,
    },
    /// A map of another kind, size or contents than the verifier was told.
    #[error("the map '{map}' is not the one that the program was verified with")]
    OtherMap {
        /// Name of the map.
        map: String,
    },
}

/// Why a program cannot be bound, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// The instruction; none if it is not about one.
    pub pc: Option<Pc>,
    /// What is wrong.
    pub kind: LinkErrorKind,
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pc {
            Some(pc) => write!(f, "instruction {pc}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

/// The value that a program sees as the address of one of its functions. No memory has such an
/// address on the hosts that this runs on.
pub(crate) fn func_token(pc: Pc) -> u64 {
    FUNC_TOKEN | u64::from(pc.0)
}

const FUNC_TOKEN: u64 = 0xfff0_0000_0000_0000;

/// The function that [`func_token`] stands for.
pub(crate) fn func_of_token(token: u64) -> Option<Pc> {
    u32::try_from(token ^ FUNC_TOKEN).ok().map(Pc)
}

/// What lowering needs to bind a program.
pub(crate) struct Bindings<'a> {
    prog_type: ProgType,
    attach_type: AttachType,
    vm: &'a Vm,
    maps: &'a [MapRef],
    helpers: Vec<Helper>,
    absent: &'a [Absent],
}

impl Bindings<'_> {
    /// The index of a helper in the instance's list, and how it is called.
    pub(crate) fn helper(&mut self, pc: Pc, id: u32) -> Result<(usize, OpCode), LinkErrorKind> {
        if let Some(absent) = self.absent.iter().find(|a| a.pc == pc) {
            self.helpers.push(absent_helper(id, absent.why.clone()));
            return Ok((self.helpers.len() - 1, OpCode::CallHelper));
        }
        let index = match self.helpers.iter().position(|h| h.proto.id == id) {
            Some(index) => index,
            None => {
                let mut helper = self.vm.helper(id)?.clone();
                if !helper.proto.allowed.contains(self.prog_type) {
                    // Some have another prototype for other types.
                    let platform = self.vm.platform();
                    let Some(other) = platform.helper_for(id, self.prog_type, self.attach_type)
                    else {
                        let (name, prog_type) = (helper.proto.name.to_string(), self.prog_type);
                        return Err(LinkErrorKind::HelperNotAllowed { id, name, prog_type });
                    };
                    helper.proto = other.clone();
                }
                self.helpers.push(helper);
                self.helpers.len() - 1
            }
        };
        let proto = &self.helpers[index].proto;
        let calls_back = proto.args.iter().any(|arg| matches!(arg, Arg::Callback(_)));
        let code = match proto.ret {
            Ret::TailCall => OpCode::TailCall,
            _ if calls_back => OpCode::CallBack,
            _ => OpCode::CallHelper,
        };
        Ok((index, code))
    }

    /// The map with this index, if the call is one of Linux's `map_lookup_elem` that may be done
    /// without calling it.
    pub(crate) fn looked_up(&self, pc: Pc, id: u32, index: u32) -> Option<&MapRef> {
        let helper = self.vm.helper(id).ok()?;
        let is_lookup = helper.shortcut == Some(Shortcut::MapLookup)
            && helper.proto.allowed.contains(self.prog_type)
            && self.absent.iter().all(|a| a.pc != pc);
        self.maps.get(index as usize).filter(|_| is_lookup)
    }

    fn get(&self, index: u32) -> Result<&MapRef, LinkErrorKind> {
        let maps = self.maps.len();
        self.maps.get(index as usize).ok_or(LinkErrorKind::NoMap { index, maps })
    }

    /// The value that stands for a map: the address of its object.
    pub(crate) fn map(&self, index: u32) -> Result<u64, LinkErrorKind> {
        Ok(Arc::as_ptr(self.get(index)?) as u64)
    }

    /// The address of a byte in the only value of a map.
    pub(crate) fn map_value(&self, index: u32, offset: u32) -> Result<u64, LinkErrorKind> {
        let map = self.get(index)?;
        match map.slabs() {
            [slab] if (offset as usize) < slab.value_bytes => Ok(slab.base as u64 + offset as u64),
            _ => Err(LinkErrorKind::NoMapValue { map: map.def().name.clone(), offset }),
        }
    }
}

/// Stands for an instruction that needs what the target lacks: a program may have it where it is
/// never reached.
fn absent_helper(id: u32, why: String) -> Helper {
    let proto = HelperProto {
        id,
        name: "absent".into(),
        since: "",
        args: [Arg::None; 5],
        ret: Ret::Void,
        effects: Effect::default(),
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    };
    Helper::new(proto, move |_| Err(TrapKind::Unsupported(why.clone())))
}

/// What a run brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned: `r0`.
    pub retval: u64,
    /// Where it sent its packet.
    pub redirect: Option<Redirect>,
    /// Copies of its packet that it sent, in order.
    pub clones: Vec<PacketClone>,
    /// Fuel used. The number of instructions executed is not above it by more than the program's
    /// length: loops and calls cost fuel, one pass over the program is free.
    pub fuel_used: u64,
}

/// Numbers of programs start at 1, as the kernel's.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// A program bound to its maps and helpers. It may run on many threads at once.
pub struct Instance {
    id: u32,
    program: Program,
    vm: Vm,
    /// Itself, as it is shared.
    this: Weak<Instance>,
    maps: Vec<MapRef>,
    helpers: Vec<Helper>,
    slabs: Vec<Slab>,
    /// Every access is checked.
    checked: Lowered,
    /// No access is checked, for a promise of the caller's; made when it is first needed.
    unchecked: OnceLock<Lowered>,
    /// No access is checked, by the verifier's verdict.
    verified: Option<Lowered>,
    /// The verdict is about at least so much of what a run is given.
    needs: Room,
}

impl Instance {
    /// Binds a program to the machine's helpers and to its maps, in the order in which it names
    /// them. Instructions listed in `absent` trap with that reason when they are reached.
    ///
    /// # Errors
    /// [`LinkError`], with the first instruction that cannot be bound.
    pub(crate) fn link(
        vm: &Vm,
        program: Program,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Instance, LinkError> {
        if program.code.is_empty() {
            return Err(LinkError { pc: None, kind: LinkErrorKind::Empty });
        }
        let (prog_type, attach_type) = (program.prog_type, program.attach_type);
        let mut bindings =
            Bindings { prog_type, attach_type, vm, maps, helpers: Vec::new(), absent };
        let checked = lower(&program.code, &mut bindings, None)?;
        let helpers = bindings.helpers;
        let slabs = maps.iter().flat_map(|map| map.slabs()).copied().collect();
        Ok(Instance {
            id: NEXT_ID.fetch_add(1, Relaxed),
            program,
            vm: vm.for_program(),
            this: Weak::new(),
            maps: maps.to_vec(),
            helpers,
            slabs,
            checked,
            unchecked: OnceLock::new(),
            verified: None,
            needs: Room::default(),
        })
    }

    /// As [`Instance::link`], for a program that the verifier accepted: it runs without checks where
    /// the verdict holds for this machine and these maps, and with checks where that cannot be told.
    ///
    /// # Errors
    /// As [`Instance::link`]; and [`LinkErrorKind::OtherMap`] if a map is not the one that the
    /// verdict is about.
    pub(crate) fn link_verified(
        vm: &Vm,
        verified: VerifiedProgram,
        maps: &[MapRef],
        absent: &[Absent],
    ) -> Result<Instance, LinkError> {
        let rewritten = rewrite(&verified, vm.platform());
        let facts = verified.facts().clone();
        let assumed = verified.assumptions();
        if vm.cpus() > assumed.cpus {
            let kind = LinkErrorKind::TooManyCpus { cpus: vm.cpus(), assumed: assumed.cpus };
            return Err(LinkError { pc: None, kind });
        }
        let mut instance = Instance::link(vm, verified.into_program(), maps, absent)?;
        for (def, map) in instance.program.maps.iter().zip(maps) {
            if !is_same_map(def, map) {
                let kind = LinkErrorKind::OtherMap { map: def.name.clone() };
                return Err(LinkError { pc: None, kind });
            }
        }
        // The verdict is about the prototypes that the platform has for this program. Those of Linux
        // differ between program types, and its helpers know it; an embedder's has one.
        let (prog_type, attach_type) = (instance.program.prog_type, instance.program.attach_type);
        let is_judged = |helper: &Helper| {
            let proto = &helper.proto;
            ebpfvm_spec::linux::HELPERS.contains(proto)
                || vm.platform().helper_for(proto.id, prog_type, attach_type) == Some(proto)
        };
        if let Some(Rewritten { code, needs }) =
            rewritten.filter(|_| instance.helpers.iter().all(is_judged))
        {
            let helpers = std::mem::take(&mut instance.helpers);
            let mut bindings = Bindings { prog_type, attach_type, vm, maps, helpers, absent };
            let lowered = lower(&code, &mut bindings, Some(&facts))?;
            instance.helpers = bindings.helpers;
            instance.verified = Some(lowered);
            instance.needs = needs;
        }
        Ok(instance)
    }

    /// Runs the program. One that the verifier accepted runs without checks; of any other, every
    /// access is compared with the memory that it was given. A loop costs fuel.
    ///
    /// # Errors
    /// The trap that stopped it.
    pub fn run(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.run_trusting(ctx, fuel, Trust::Verified)
    }

    /// Runs the program with checks, whether or not the verifier accepted it.
    ///
    /// # Errors
    /// The trap that stopped it.
    pub fn run_checked(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.run_trusting(ctx, fuel, Trust::Nothing)
    }

    #[inline]
    fn run_trusting(
        &self,
        ctx: &mut Context,
        fuel: u64,
        trust: Trust,
    ) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        if trust == Trust::Verified {
            self.expect_room(ctx)?;
        }
        let mut run = Run::new(ctx, self.program.attach_type, fuel, trust);
        // SAFETY: only programs that the verifier accepted run without checks, on the context that
        // their type has in this machine.
        let result = unsafe { exec(&mut run, self, &mut Stack::new()) };
        self.finish(&mut run, result)
    }

    /// Runs a function of the program for a timer: `callback(map, key, value)`. Returns the fuel used
    /// as well.
    pub(crate) fn run_timer(
        &self,
        function: Pc,
        map: &MapRef,
        key: &[u8],
        value: usize,
        firing: Firing,
        fuel: u64,
    ) -> (Result<Outcome, Box<Trap>>, u64) {
        let prog_type = self.prog_type();
        // The function is not given the context; a packet has at least its link-layer header.
        let blank = self.vm.context(prog_type, &[]);
        let blank = blank.or_else(|_| self.vm.context(prog_type, &[0; MIN_BYTES]));
        let stop = |what: String| (Err(self.trap(function, TrapKind::Unsupported(what))), 0);
        let mut ctx = match blank {
            Ok(ctx) => ctx,
            Err(error) => return stop(error.to_string()),
        };
        if let Err(trap) = self.expect_context(&mut ctx) {
            return (Err(trap), 0);
        }
        let mut run = Run::new(&mut ctx, self.program.attach_type, fuel, Trust::Verified);
        run.firing = Some(firing);
        let Ok(cell) = run.cells.take(key.len()) else {
            return stop("there is no memory left for the key".into());
        };
        run.cells.write(cell, key);
        let key_at = run.cells.address(cell);
        run.regions.lend("map key", key_at, key.len() as u64, false);
        if !self.maps.iter().any(|held| Arc::ptr_eq(held, map)) {
            run.regions.add_slabs(map.slabs());
            run.inner_maps.push(map.clone());
        }
        let Some(entry) = self.form(run.trust, &run.room).function(function) else {
            return stop("the timer's function is not there".into());
        };
        run.fuel_left -= i64::from(entry.slots);
        let args = [Arc::as_ptr(map) as u64, key_at, value as u64, 0, 0];
        let result = match run.fuel_left {
            // SAFETY: as in `run_trusting`; the verifier judged the function with these arguments.
            0.. => unsafe { exec_function(&mut run, self, &mut Stack::new(), entry, args) },
            _ => Err(self.trap(function, TrapKind::OutOfFuel(fuel))),
        };
        let fuel_used = run.fuel_used();
        (self.finish(&mut run, result), fuel_used)
    }

    /// Shares the instance: from then on it can be held.
    pub(crate) fn share(self) -> Arc<Instance> {
        Arc::new_cyclic(|this| Instance { this: this.clone(), ..self })
    }

    /// The instance, to hold; none if it is about to go.
    pub(crate) fn to_hold(&self) -> Option<Arc<Instance>> {
        self.this.upgrade()
    }

    /// The machine as the program holds it.
    pub(crate) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Whether the program runs without checks because the verifier accepted it.
    pub fn is_verified(&self) -> bool {
        self.verified.is_some()
    }

    /// Runs the program without checks.
    ///
    /// # Errors
    /// The trap that stopped it: out of fuel, a missing helper, too many nested calls.
    ///
    /// # Safety
    /// The program must be safe to run on this context. That is so if it has run in checked mode
    /// without a trap on the same memory and depends on nothing else, such as time.
    pub unsafe fn run_unchecked(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        if ctx.def().is_some() {
            let what = "running without checks needs a verified program or plain memory";
            return Err(self.trap(Pc(0), TrapKind::Unsupported(what.into())));
        }
        let mut run = Run::new(ctx, self.program.attach_type, fuel, Trust::Everything);
        // SAFETY: the caller's promise.
        let result = unsafe { exec(&mut run, self, &mut Stack::new()) };
        self.finish(&mut run, result)
    }

    /// Runs the program in checked mode and, if it ends, once more without checks from the same
    /// start, and gives what the second run brought. The first run shows that the second is safe:
    /// both find the same bytes at the same addresses, so they do the same.
    ///
    /// That holds for programs on plain memory that depend on nothing else. Others, which have maps
    /// or call helpers, run in checked mode only. This serves to compare the two modes.
    ///
    /// # Errors
    /// The trap that stopped either run.
    pub fn run_both(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        let closed = self.maps.is_empty() && self.helpers.is_empty() && !self.calls_by_register();
        let Some(start) = ctx.memory().filter(|_| closed).map(<[u8]>::to_vec) else {
            return self.run(ctx, fuel);
        };
        let mut stack = Box::new(Stack::new());
        let mut run = Run::new(ctx, self.program.attach_type, fuel, Trust::Nothing);
        // SAFETY: checked mode asks nothing of the program.
        let result = unsafe { exec(&mut run, self, &mut stack) };
        self.finish(&mut run, result)?;
        ctx.set_memory(&start);
        let mut run = Run::new(ctx, self.program.attach_type, fuel, Trust::Everything);
        // SAFETY: the same program has just run in checked mode without a trap. It starts with the
        // same registers, with the same bytes in the same memory and on the same stack, whose
        // frames are zero when they are entered; nothing else can tell it another way.
        let result = unsafe { exec(&mut run, self, &mut stack) };
        self.finish(&mut run, result)
    }

    /// Whether the program calls helpers that are known only when it runs.
    fn calls_by_register(&self) -> bool {
        let by_register = |insn: &Insn| matches!(insn, Insn::Call { target: CallTarget::Reg(_) });
        self.program.code.iter().any(|(_, insn)| by_register(insn))
    }

    /// Whether the program may go on with the context of another.
    pub(crate) fn takes_context_of(&self, other: &Instance) -> bool {
        let layout = |instance: &Instance| instance.vm.layout(instance.prog_type()).cloned();
        self.prog_type() == other.prog_type()
            && match (layout(self), layout(other)) {
                (Some(a), Some(b)) => Arc::ptr_eq(&a.def, &b.def) || a == b,
                (a, b) => a.is_none() && b.is_none(),
            }
    }

    fn expect_context(&self, ctx: &mut Context) -> Result<(), Box<Trap>> {
        if ctx.prog_type() == self.program.prog_type {
            if ctx.has_layout(self.vm.layout(self.program.prog_type)) {
                let ready = ctx.prepare(self.program.attach_type);
                return ready.map_err(|what| self.trap(Pc(0), TrapKind::Unsupported(what)));
            }
            let what =
                "the context has another layout than this machine gives to the program's type";
            return Err(self.trap(Pc(0), TrapKind::Unsupported(what.into())));
        }
        let (has, needs) = (ctx.prog_type().name(), self.program.prog_type.name());
        let what = format!("the program is of type {needs}, the context of type {has}");
        Err(self.trap(Pc(0), TrapKind::Unsupported(what)))
    }

    /// Refuses a context that ends before what the program reaches, as Linux does when a program is
    /// attached or test-run.
    #[inline]
    fn expect_room(&self, ctx: &Context) -> Result<(), Box<Trap>> {
        let (has, needs) = (ctx.room(), self.needs);
        let short = |what, needed: u32, given: u32| {
            Err(self.trap(Pc(0), TrapKind::Short { what, needed, given }))
        };
        if has.context_bytes < needs.context_bytes {
            return short("context", needs.context_bytes, has.context_bytes);
        }
        if has.buffer_bytes < needs.buffer_bytes {
            return short("buffer", needs.buffer_bytes, has.buffer_bytes);
        }
        Ok(())
    }

    /// Ends a run: a lock that the program holds is given back, and so are records that it reserved
    /// and did not submit.
    #[inline]
    fn finish(
        &self,
        run: &mut Run<'_>,
        result: Result<u64, Box<Trap>>,
    ) -> Result<Outcome, Box<Trap>> {
        run.lock = None;
        run.ctx.end();
        for address in run.regions.granted() {
            let programs = std::iter::once(self).chain(run.held.iter().map(|i| &**i));
            let maps = programs.flat_map(|i| &i.maps).chain(&run.inner_maps);
            maps.for_each(|map| map.take_back(address));
        }
        let (fuel_used, redirect) = (run.fuel_used(), run.redirect.take());
        let clones = std::mem::take(&mut run.clones);
        Ok(Outcome { retval: result?, redirect, clones, fuel_used })
    }

    /// A number that no other instance of this process has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The program's type.
    pub fn prog_type(&self) -> ProgType {
        self.program.prog_type
    }

    /// The maps, in the order in which the program names them.
    pub fn maps(&self) -> &[MapRef] {
        &self.maps
    }

    pub(crate) fn host(&self) -> &dyn Host {
        self.vm.host()
    }

    pub(crate) fn cpus(&self) -> u32 {
        self.vm.cpus()
    }

    pub(crate) fn helpers(&self) -> &[Helper] {
        &self.helpers
    }

    pub(crate) fn helper_by_number(&self, number: u64) -> Option<&Helper> {
        let helper = self.vm.helper(u32::try_from(number).ok()?).ok()?;
        helper.proto.allowed.contains(self.prog_type()).then_some(helper)
    }

    pub(crate) fn slabs(&self) -> &[Slab] {
        &self.slabs
    }

    /// The form of the program that a run takes: with checks if it was not verified, or with more
    /// of what it is given than there is.
    #[inline]
    pub(crate) fn form(&self, trust: Trust, room: &Room) -> &Lowered {
        match trust {
            Trust::Verified if room.holds(&self.needs) => {
                self.verified.as_ref().unwrap_or(&self.checked)
            }
            Trust::Verified | Trust::Nothing => &self.checked,
            Trust::Everything => self.unchecked.get_or_init(|| self.checked.without_checks()),
        }
    }

    /// All slabs with the names of their maps.
    pub(crate) fn named_slabs(&self) -> impl Iterator<Item = (&str, Slab)> {
        self.maps
            .iter()
            .flat_map(|map| map.slabs().iter().map(|slab| (map.def().name.as_str(), *slab)))
    }

    /// What the memory of the context is called.
    pub(crate) fn window_name(&self) -> &'static str {
        if self.program.prog_type == ProgType::Raw { "memory" } else { "packet" }
    }

    /// The trap at an instruction.
    pub(crate) fn trap(&self, pc: Pc, kind: TrapKind) -> Box<Trap> {
        let line = self.program.line(pc);
        let line = line.map(|l| format!("{}:{}: {}", l.file, l.line, l.text.trim()));
        Box::new(Trap { program: self.program.name.clone(), pc, kind, line })
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("program", &self.program.name).finish_non_exhaustive()
    }
}
