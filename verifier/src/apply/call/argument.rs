//! One argument of a call (`check_func_arg`).

use super::{Call, dynptr, field, map, text, unsupported};
use crate::apply::memory;
use crate::check::argument::{Rule, rule};
use crate::reject::{CallReason, Reason};
use crate::state::{Kind, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::{Arg, HelperProto, MemAccess, MemSize};
use ebpfvm_spec::program::ProgType;

/// Checks the argument at this index, in this register.
pub(super) fn check(
    step: &mut Step<'_, '_>,
    call: &mut Call,
    proto: &HelperProto,
    index: usize,
    reg: Reg,
) -> Result<(), Reason> {
    let value = step.read(reg)?;
    let arg = map::resolve(step, call, proto, proto.args[index])?;
    let Some(rule) = rule(arg) else {
        // `Arg::Anything`
        return if step.is_secret(&value) {
            Err(CallReason::LeaksAddress { reg: reg.number() }.into())
        } else {
            Ok(())
        };
    };
    if value.is_packet() && !takes_packet(step, proto) {
        return Err(CallReason::Packet.into());
    }
    if rule.nullable && value.is_null() {
        step.mark_precise(reg)?;
    } else {
        rule.check_type(&value, reg)?;
        rule.check_offset(&value, reg)?;
    }
    hold_reference(step, call, &rule, &value, reg)?;
    use_argument(step, call, proto, index, arg, reg, &value)
}

/// Whether packet memory may be given to the helper (`may_access_direct_pkt_data`).
fn takes_packet(step: &Step<'_, '_>, proto: &HelperProto) -> bool {
    use ebpfvm_spec::helper::Effect;
    // What these programs have as a packet is memory of its own.
    step.subject.program.prog_type == ProgType::CgroupSockopt
        || proto.effects.has(Effect::PACKET_MEMORY)
}

/// Remembers the reference that the argument holds, and that it is to be released.
fn hold_reference(
    step: &Step<'_, '_>,
    call: &mut Call,
    rule: &Rule,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    if rule.releases {
        match value.kind {
            Kind::Stack { .. } => dynptr::check_acquired(step, value, reg)?,
            Kind::Dynptr { .. } => return Err(CallReason::DynptrUnowned.into()),
            _ if value.ref_id == 0 && !value.is_null() => {
                return Err(CallReason::NotReferenced { reg: reg.number() }.into());
            }
            _ => {}
        }
        call.released = Some(reg);
    }
    if value.ref_id != 0 {
        if call.ref_id != 0 {
            let (second, first) = (value.ref_id, call.ref_id);
            return Err(CallReason::TwoReferences { reg: reg.number(), second, first }.into());
        }
        call.ref_id = value.ref_id;
    }
    Ok(())
}

/// What the argument is for.
fn use_argument(
    step: &mut Step<'_, '_>,
    call: &mut Call,
    proto: &HelperProto,
    index: usize,
    arg: Arg,
    reg: Reg,
    value: &Value,
) -> Result<(), Reason> {
    match arg {
        Arg::None
        | Arg::Anything
        | Arg::Ctx
        | Arg::CtxOrNull
        | Arg::CallbackCtx
        | Arg::SockCommon
        | Arg::SocketOrNull
        | Arg::Sock { .. }
        | Arg::RingbufRecord => Ok(()),
        Arg::Map => map::give(call, value),
        Arg::MapKey => map::key(step, call, reg),
        Arg::MapValue(access) => map::value(step, call, reg, access),
        Arg::MapValueOrNull if value.is_null() => Ok(()),
        Arg::MapValueOrNull => map::value(step, call, reg, MemAccess::Read),
        Arg::Mem { access, size, .. } => match size {
            MemSize::NextArg => Ok(()),
            MemSize::Fixed(bytes) => {
                call.keep(memory::helper_memory(step, reg, bytes, access, false)?);
                Ok(())
            }
            MemSize::FixedAligned(bytes) => {
                call.keep(memory::helper_memory(step, reg, bytes, access, false)?);
                memory::aligned(step, reg, bytes)
            }
        },
        Arg::Size { zero } => {
            call.largest_size = value.scalar.full.umax;
            let before = index.checked_sub(1).and_then(|i| Some((super::ARGUMENTS.get(i)?, i)));
            match before.map(|(memory, i)| (*memory, proto.args[i])) {
                Some((pointer, Arg::Mem { access, .. })) => {
                    call.keep(memory::helper_memory_sized(step, pointer, reg, access, zero)?);
                    Ok(())
                }
                _ => Err(Reason::internal("a size follows no memory")),
            }
        }
        Arg::AllocSize => {
            let Some(bytes) = value.as_const() else {
                return Err(CallReason::UnknownSize { reg: reg.number() }.into());
            };
            // Helpers refuse what is larger than 32 bits.
            call.alloc_bytes = bytes as u32;
            step.mark_precise(reg)
        }
        Arg::ConstStr => text::check_string(step, value, reg),
        Arg::SpinLock => field::lock(step, proto, value, reg),
        Arg::Timer => field::timer(step, call, value, reg),
        Arg::Dynptr(usage) => dynptr::give(step, call, usage, value, reg),
        Arg::Callback(callback) => match value.kind {
            Kind::Func(func) => {
                call.callback = Some((callback, func));
                Ok(())
            }
            _ => Err(Reason::internal("a callback is no function")),
        },
        // Null is all that there can be without kernel types.
        Arg::BtfId { .. } if value.is_null() => Ok(()),
        Arg::BtfId { .. } | Arg::KptrSlot | Arg::KptrOrNull | Arg::PerCpu => {
            Err(unsupported(proto))
        }
    }
}
