//! From a verified program to the instructions that run without checks: accesses to the context go
//! to the host's cells.
//!
//! It is the only change between verdict and engines, from the same table that the verifier judged
//! the accesses by.

use crate::context::Room;
use crate::map::Map;
use ebpfvm_asm::{Code, Insn, Size};
use ebpfvm_spec::context::Direction;
use ebpfvm_spec::map::{MapDef, MapFlags, MapOrigin};
use ebpfvm_spec::{ContextAccess, ContextDef, FieldKind, Platform, ProgType, Program};
use ebpfvm_verifier::{Target, VerifiedProgram};

/// What a program's accesses are here.
pub(crate) struct Rewritten {
    /// The code with the accesses to the context rewritten; none if there are no such accesses.
    pub(crate) code: Option<Code>,
    /// How far it reaches: it needs as much to run without checks.
    pub(crate) needs: Room,
}

/// Rewrites a program's accesses to the context. None if the verdict does not hold for
/// what this machine would do: then the program runs with checks.
pub(crate) fn rewrite(verified: &VerifiedProgram, platform: &Platform) -> Option<Rewritten> {
    // The host's cells are read in parts at the lower end.
    if cfg!(target_endian = "big") {
        return None;
    }
    let program = verified.program();
    let def = platform.prog_type(program.prog_type)?.context.as_ref();
    let mut code = None;
    let memory_bytes = verified.assumptions().memory_bytes.into();
    // Programs with a context have no such memory.
    let memory_is_exact = verified.assumptions().memory_is_exact && def.is_none();
    let mut needs = Room { memory_bytes, memory_is_exact, ..Room::default() };
    needs.context_bytes = verified.facts().context_bytes_given();
    for (pc, insn) in program.code.iter() {
        let Some(size) = access(insn) else { continue };
        if !verified.facts().is_reached(pc) {
            continue;
        }
        let place = verified.facts().place(pc)?;
        let end = place.offset.end().saturating_add(size.bytes().into());
        match place.target {
            Target::Context => {
                needs.context_bytes = needs.context_bytes.max(u32::try_from(end).ok()?);
                let insn = to_cells(program, def?, insn)?;
                code.get_or_insert_with(|| program.code.clone()).replace(pc, insn);
            }
            // It has no other: the context's pointer leads there.
            Target::Buffer if program.prog_type == ProgType::RawTracepointWritable => {
                needs.buffer_bytes = needs.buffer_bytes.max(u32::try_from(end).ok()?);
            }
            target if target.is_plain() => {}
            // The kernel's struct of a map is not here.
            _ => return None,
        }
    }
    Some(Rewritten { code, needs })
}

/// How much an instruction loads or stores; none if it does neither.
fn access(insn: &Insn) -> Option<Size> {
    match *insn {
        Insn::Load { size, .. }
        | Insn::LoadSx { size, .. }
        | Insn::LoadAcquire { size, .. }
        | Insn::Store { size, .. }
        | Insn::StoreRelease { size, .. }
        | Insn::Atomic { size, .. } => Some(size),
        _ => None,
    }
}

/// The access to the context as one to the host's cells.
fn to_cells(program: &Program, def: &ContextDef, insn: &Insn) -> Option<Insn> {
    let (size, offset) = host_place(program, def, insn)?;
    Some(match *insn {
        Insn::Load { dst, base, .. } => Insn::Load { size, dst, base, offset },
        Insn::LoadSx { dst, base, .. } => Insn::LoadSx { size, dst, base, offset },
        Insn::Store { base, src, .. } => Insn::Store { size, base, offset, src },
        _ => return None,
    })
}

/// Where the host has what a load or store accesses through the context's pointer: size and offset in
/// its cells. None if the context has no such field. Context pointers have no offset of their own, so
/// the instruction's is the field's.
pub(crate) fn host_place(program: &Program, def: &ContextDef, insn: &Insn) -> Option<(Size, i16)> {
    let (size, offset, direction, sign_extends) = match *insn {
        Insn::Load { size, offset, .. } => (size, offset, Direction::Read, false),
        Insn::LoadSx { size, offset, .. } => (size, offset, Direction::Read, true),
        Insn::Store { size, offset, .. } => (size, offset, Direction::Write, false),
        _ => return None,
    };
    let offset = u32::try_from(offset).ok()?;
    let (prog_type, attach_type) = (program.prog_type, program.attach_type);
    let bytes = size.bytes();
    let access = ContextAccess { prog_type, attach_type, offset, bytes, direction, sign_extends };
    let field = def.access(&access)?;
    // A pointer fills its cells, whatever its size in the program's view.
    let size = if field.kind == FieldKind::Scalar { size } else { Size::Dw };
    Some((size, i16::try_from(def.host_offset(field.offset, offset)).ok()?))
}

/// Whether a map is as the verifier was told.
pub(crate) fn is_same_map(def: &MapDef, map: &Map) -> bool {
    let has = map.def();
    let same = has.map_type == def.map_type
        && has.key_bytes == def.key_bytes
        && has.value_bytes == def.value_bytes
        && has.max_entries == def.max_entries
        && has.flags == def.flags
        && has.special == def.special
        && match (&def.inner, &has.inner) {
            (None, None) => true,
            (Some(told), Some(has)) => {
                told.map_type == has.map_type
                    && told.key_bytes == has.key_bytes
                    && told.value_bytes == has.value_bytes
                    && told.max_entries == has.max_entries
                    && told.flags == has.flags
                    && told.special == has.special
            }
            _ => false,
        };
    same && match &def.origin {
        // The verdict may rest on what nobody can write.
        MapOrigin::Section { data, .. } if def.flags.has(MapFlags::RDONLY_PROG) => {
            map.is_frozen()
                && map.read(&0u32.to_ne_bytes()).is_ok_and(|value| value[..] == data[..])
        }
        _ => true,
    }
}
