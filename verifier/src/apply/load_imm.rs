//! 64-bit immediates: numbers, maps, map values, functions (`check_ld_imm`).

use super::function;
use crate::reject::Reason;
use crate::state::{Kind, MapId, MapRef, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{Imm64, Reg};

/// `dst = value ll`
pub(crate) fn load_imm(step: &mut Step<'_, '_>, dst: Reg, value: Imm64) -> Result<Flow, Reason> {
    step.check_writable(dst)?;
    let loaded = match value {
        Imm64::Value(number) => Value::constant(number),
        Imm64::MapIdx(index) => {
            Value::pointer(Kind::MapPtr(MapRef { map: map(step, index)?, uid: 0 }))
        }
        Imm64::MapIdxValue { index, offset } => {
            let map = MapRef { map: map(step, index)?, uid: 0 };
            let offset = i32::try_from(offset)
                .map_err(|_| Reason::internal("the offset into a map value was not checked"))?;
            Value { offset, ..Value::pointer(Kind::MapValue(map)) }
        }
        Imm64::Func { offset } => {
            let start = step.pc.jump(offset);
            let subprog = start.and_then(|pc| step.subject.structure.subprog_at(pc));
            let subprog =
                subprog.ok_or_else(|| Reason::internal("no function begins at the address"))?;
            function::check_callback(step.subject, subprog)?;
            Value::pointer(Kind::Func(subprog))
        }
        Imm64::MapFd(_) | Imm64::MapFdValue { .. } => {
            return Err(Reason::internal("maps are known by index"));
        }
        Imm64::Variable { btf_id, .. } => {
            return Err(Reason::unsupported(format!("kernel variable {btf_id}")));
        }
    };
    step.write(dst, loaded);
    Ok(Flow::Next)
}

fn map(step: &Step<'_, '_>, index: u32) -> Result<MapId, Reason> {
    if (index as usize) < step.subject.program.maps.len() {
        Ok(MapId(index))
    } else {
        Err(Reason::internal(format!("the program has no map {index}")))
    }
}
