//! The map of a call, its keys and values.

use super::Call;
use crate::apply::memory;
use crate::explore::MapAtCall;
use crate::reject::{CallReason, Reason};
use crate::state::{Byte, Kind, MapRef, Stack, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::{Arg, Effect, HelperProto, MapRefusal, MemAccess, Ret};
use ebpfvm_spec::map::{LookupGives, MapDef, MapFlags, MapType};

/// The map that the call is about.
fn of<'a>(step: &Step<'a, '_>, call: &Call) -> Result<(&'a MapDef, MapRef), Reason> {
    let map = call.map.ok_or_else(|| Reason::internal("a helper takes a key without a map"))?;
    let subject = step.subject;
    Ok((&subject.map(map.map).def, map))
}

/// What an argument is where the kind of the map decides about it (`resolve_map_arg_type`).
pub(super) fn resolve(
    step: &Step<'_, '_>,
    call: &Call,
    proto: &HelperProto,
    arg: Arg,
) -> Result<Arg, Reason> {
    if !matches!(arg, Arg::MapValue(_) | Arg::MapValueOrNull) {
        return Ok(arg);
    }
    let (def, _) = of(step, call)?;
    match def.map_type {
        MapType::Sockmap | MapType::Sockhash if arg == Arg::MapValue(MemAccess::Read) => {
            Ok(Arg::Sock { nullable: false, released: false })
        }
        MapType::Sockmap | MapType::Sockhash => Err(CallReason::SockmapValue.into()),
        // A filter is asked for a value, not for its value.
        MapType::BloomFilter
            if arg == Arg::MapValue(MemAccess::Write) && takes(step, proto, def) =>
        {
            Ok(Arg::MapValue(MemAccess::Read))
        }
        _ => Ok(arg),
    }
}

fn takes(step: &Step<'_, '_>, proto: &HelperProto, def: &MapDef) -> bool {
    let subject = step.subject;
    proto.takes_map(def.map_type, subject.program.prog_type, subject.attach_type).is_ok()
}

/// A map is given.
pub(super) fn give(call: &mut Call, value: &Value) -> Result<(), Reason> {
    let Kind::MapPtr(map) = value.kind else {
        return Err(Reason::internal("a map argument is no map"));
    };
    // A timer came before: it must be one of this map.
    if let Some(timer) = call.map
        && timer != map
    {
        return Err(CallReason::TimerMap { timer_uid: timer.uid, map_uid: map.uid }.into());
    }
    call.map = Some(map);
    Ok(())
}

/// A key of the map is given.
pub(super) fn key(step: &mut Step<'_, '_>, call: &mut Call, reg: Reg) -> Result<(), Reason> {
    let (def, _) = of(step, call)?;
    memory::helper_memory(step, reg, def.key_bytes, MemAccess::Read, false)?;
    if matches!(def.map_type, MapType::Array | MapType::PercpuArray) {
        call.key = constant_key(step, reg, def.key_bytes as usize)?;
    }
    Ok(())
}

/// A value of the map is given.
pub(super) fn value(
    step: &mut Step<'_, '_>,
    call: &mut Call,
    reg: Reg,
    access: MemAccess,
) -> Result<(), Reason> {
    let (def, _) = of(step, call)?;
    let buffer = memory::helper_memory(step, reg, def.value_bytes, access, false)?;
    call.keep(buffer);
    Ok(())
}

/// The key in `reg`, if it lies on the stack and its value is known (`get_constant_map_key`).
fn constant_key(
    step: &mut Step<'_, '_>,
    reg: Reg,
    key_bytes: usize,
) -> Result<Option<i64>, Reason> {
    let value = step.reg(reg);
    let Kind::Stack { frame } = value.kind else { return Ok(None) };
    let Some(moved) = value.scalar.as_const() else { return Ok(None) };
    if !step.subject.options.privileges.bpf {
        return Ok(None);
    }
    let offset = value.offset.wrapping_add(moved as i32);
    if offset >= 0 {
        return Ok(None);
    }
    let (slot, byte) = Stack::place(offset);
    let stack = step.state.frames.get(usize::from(frame)).map(|f| &f.stack);
    let Some(held) = stack.and_then(|s| s.get(slot)) else { return Ok(None) };
    let run = |kind: Byte| held.bytes[..=byte].iter().rev().take_while(|b| **b == kind).count();
    if run(Byte::Zero) >= key_bytes {
        return Ok(Some(0));
    }
    if !held.is_spilled_number() || run(Byte::Spill) != key_bytes {
        return Ok(None);
    }
    let Some(key) = held.value.as_const() else { return Ok(None) };
    step.past.mark_slot_precise(step.subject, step.state, usize::from(frame), slot);
    Ok(Some(key as i64))
}

/// Whether a lookup in the map finds an element for sure: the key is known and below the capacity
/// of an array.
pub(super) fn is_found(step: &Step<'_, '_>, call: &Call, proto: &HelperProto) -> bool {
    // With more arguments, such as a CPU, more can be missing.
    let looks_up = proto.args[..3] == [Arg::Map, Arg::MapKey, Arg::None];
    let (true, Some(key), Some(map)) = (looks_up, call.key, call.map) else { return false };
    (0..i64::from(step.subject.map(map.map).def.max_entries)).contains(&key)
}

/// Whether what is looked up are sockets: the result is a reference then.
pub(super) fn has_sockets(step: &Step<'_, '_>, map: MapRef) -> bool {
    step.subject.map(map.map).def.map_type.lookup_gives() == LookupGives::Socket
}

/// Remembers the map for all paths, and the index of a tail call (`record_func_map`,
/// `record_func_key`).
pub(super) fn record(
    step: &mut Step<'_, '_>,
    call: &Call,
    proto: &HelperProto,
) -> Result<(), Reason> {
    let Some(map) = call.map else { return Ok(()) };
    let def = &step.subject.map(map.map).def;
    if proto.effects.has(Effect::CHANGES_MAP) && def.flags.has(MapFlags::RDONLY_PROG) {
        return Err(CallReason::MapReadOnly.into());
    }
    let index = (map.uid == 0).then_some(map.map.0);
    step.past.facts.call(step.pc, index);
    let memory = step.past.insn_mut(step.pc);
    memory.map = match memory.map {
        MapAtCall::None => MapAtCall::One(map),
        MapAtCall::One(other) if other.map == map.map => MapAtCall::One(other),
        _ => MapAtCall::Several,
    };
    let several = memory.map == MapAtCall::Several;
    if proto.ret != Ret::TailCall {
        return Ok(());
    }
    if def.map_type != MapType::ProgArray {
        return Err(CallReason::TailCallMap.into());
    }
    if several && step.subject.is_speculation_followed() {
        return Err(CallReason::TailCallMaps.into());
    }
    let index = step.reg(Reg::R3).as_const();
    if index.is_some_and(|index| index < u64::from(def.max_entries)) {
        step.mark_precise(Reg::R3)?;
    }
    Ok(())
}

/// Whether the helper takes maps of this kind (`check_map_func_compatibility`).
pub(super) fn check_kind(
    step: &Step<'_, '_>,
    call: &Call,
    proto: &HelperProto,
) -> Result<(), Reason> {
    let Some(map) = call.map else { return Ok(()) };
    let subject = step.subject;
    let kind = subject.map(map.map).def.map_type;
    let refusal = match proto.takes_map(kind, subject.program.prog_type, subject.attach_type) {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let (name, id, map_type) = (proto.name.to_string(), proto.id, kind as u32);
    Err(match refusal {
        MapRefusal::Kind => CallReason::MapKind { map_type, name, id }.into(),
        MapRefusal::Context => CallReason::SockmapUpdate { map_type, name, id }.into(),
    })
}
