//! Registers, stack slots and references as the log writes them (`print_verifier_state`).

use crate::domain::ScalarText;
use crate::explore::Touched;
use crate::state::{
    Byte, DynptrKind, Flags, Frame, Kind, Link, MapRef, Role, SLOT_BYTES, Slot, State, Value,
};
use crate::subject::Subject;
use std::fmt::{self, Display, Formatter};

/// Slots of a dynptr (`BPF_DYNPTR_NR_SLOTS`).
const DYNPTR_SLOTS: usize = 2;

/// The frame that runs with all that it holds, as the log writes it, with a leading space and
/// without the end of the line.
pub(crate) fn state_text(subject: &Subject<'_>, state: &State) -> String {
    StateText::of(subject, state).to_string()
}

/// One frame of a state in the log: ` frame1: R0=1 R10=fp0 fp-8=mmmmmmmm refs=2 cb`.
pub(crate) struct StateText<'a> {
    subject: &'a Subject<'a>,
    state: &'a State,
    frame: usize,
    shown: Touched,
}

impl<'a> StateText<'a> {
    /// The frame that runs.
    pub(crate) fn of(subject: &'a Subject<'a>, state: &'a State) -> StateText<'a> {
        StateText::of_frame(subject, state, state.current())
    }

    /// The frame with this number.
    pub(crate) fn of_frame(
        subject: &'a Subject<'a>,
        state: &'a State,
        frame: usize,
    ) -> StateText<'a> {
        StateText { subject, state, frame, shown: Touched::ALL }
    }

    /// With only those registers and slots.
    pub(crate) fn only(self, shown: Touched) -> StateText<'a> {
        StateText { shown, ..self }
    }
}

impl Display for StateText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(frame) = self.state.frames.get(self.frame) else { return Ok(()) };
        if self.frame != 0 {
            write!(f, " frame{}:", self.frame)?;
        }
        let text = |value| ValueText { subject: self.subject, frame: self.frame, value };
        for (number, value) in frame.regs.iter().enumerate() {
            if value.kind != Kind::Uninit && self.shown.regs >> number & 1 == 1 {
                write!(f, " R{number}={}", text(value))?;
            }
        }
        write_stack(f, frame, self.shown.slots, text)?;
        let mut separator = " refs=";
        for reference in &self.state.references {
            write!(f, "{separator}{}", reference.id)?;
            separator = ",";
        }
        f.write_str(match frame.role {
            Role::Called => "",
            Role::Callback(_) => " cb",
            Role::LaterCallback(_) => " async_cb",
        })
    }
}

/// Writes the slots that are shown and hold anything.
fn write_stack<'a, T: Display>(
    f: &mut Formatter<'_>,
    frame: &'a Frame,
    shown: u64,
    text: impl Fn(&'a Value) -> T,
) -> fmt::Result {
    let slots = &frame.stack;
    let mut index = 0;
    while let Some(slot) = slots.get(index) {
        let is_shown = shown >> index & 1 == 1;
        if !is_shown || slot.bytes.iter().all(|b| *b == Byte::Invalid) {
            index += 1;
            continue;
        }
        match slot.bytes[SLOT_BYTES as usize - 1] {
            Byte::Spill => {
                // Bytes above a narrow spill come first.
                let above = slot.bytes.iter().take_while(|b| **b != Byte::Spill);
                let above: String = above.map(|b| letter(*b)).collect();
                write!(f, " fp{}={above}{}", offset(index), text(&slot.value))?;
            }
            Byte::Dynptr => {
                // The slot at the lower address tells what it is.
                index += DYNPTR_SLOTS - 1;
                if let Some(slot) = slots.get(index) {
                    write_dynptr(f, index, slot)?;
                }
            }
            Byte::Invalid | Byte::Misc | Byte::Zero => {
                let bytes: String = slot.bytes.iter().map(|b| letter(*b)).collect();
                write!(f, " fp{}={bytes}", offset(index))?;
            }
        }
        index += 1;
    }
    Ok(())
}

fn write_dynptr(f: &mut Formatter<'_>, index: usize, slot: &Slot) -> fmt::Result {
    let Kind::Dynptr { kind, first_slot } = slot.value.kind else { return Ok(()) };
    write!(f, " fp{}=dynptr_{}(", offset(index), dynptr_name(kind))?;
    let mut separator = "";
    // Linux takes the place of the slot for the id of another dynptr: they share their memory there.
    let ids =
        [("id", slot.value.id), ("ref_id", slot.value.ref_id), ("dynptr_id", first_slot.into())];
    for (name, id) in ids {
        if id != 0 {
            write!(f, "{separator}{name}={id}")?;
            separator = ",";
        }
    }
    f.write_str(")")
}

/// The offset of a slot from the frame pointer.
fn offset(slot: usize) -> i64 {
    -(slot as i64 + 1) * i64::from(SLOT_BYTES)
}

const fn letter(byte: Byte) -> char {
    match byte {
        Byte::Invalid => '?',
        Byte::Spill => 'r',
        Byte::Misc => 'm',
        Byte::Zero => '0',
        Byte::Dynptr => 'd',
    }
}

const fn dynptr_name(kind: DynptrKind) -> &'static str {
    match kind {
        DynptrKind::Local => "local",
        DynptrKind::Ringbuf => "ringbuf",
    }
}

/// A value in a register or spill of a frame (`print_reg_state`).
struct ValueText<'a> {
    subject: &'a Subject<'a>,
    frame: usize,
    value: &'a Value,
}

impl Display for ValueText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let value = self.value;
        if value.is_number() {
            let delta = (value.link != Link::Equal).then_some(value.offset);
            let (scalar, id, precise) = (value.scalar, value.id, value.precise);
            return ScalarText { scalar, id, delta, precise }.fmt(f);
        }
        value.type_name().fmt(f)?;
        let fixed = value.scalar.as_const().map(|known| known as i64);
        if let Kind::Stack { frame } = value.kind {
            if usize::from(frame) != self.frame {
                write!(f, "[{frame}]")?;
            }
            if let Some(known) = fixed {
                return Signed(known.wrapping_add(value.offset.into())).fmt(f);
            }
        }
        f.write_str("(")?;
        let mut list = List { f, separator: "" };
        self.write_attributes(&mut list)?;
        match fixed {
            Some(0) => {}
            Some(known) => list.item(format_args!("imm={}", Signed(known)))?,
            None => {
                let mut separator = list.separator;
                value.scalar.write_ranges(list.f, &mut separator)?;
            }
        }
        f.write_str(")")
    }
}

impl ValueText<'_> {
    /// What a pointer has besides the variable part of its offset.
    fn write_attributes(&self, list: &mut List<'_, '_>) -> fmt::Result {
        let value = self.value;
        if value.id != 0 {
            list.item(format_args!("id={}", value.id))?;
        }
        if value.ref_id != 0 {
            list.item(format_args!("ref_obj_id={}", value.ref_id))?;
        }
        if value.flags.has(Flags::ALLOC.and(Flags::NON_OWNING)) {
            list.item(format_args!("non_own_ref"))?;
        }
        if let Some(map) = value.map() {
            self.write_map(list, map)?;
        }
        if value.offset != 0 {
            list.item(format_args!("off={}", Signed(value.offset.into())))?;
        }
        match value.kind {
            Kind::Packet { range } | Kind::PacketMeta { range } => {
                list.item(format_args!("r={}", Unsigned(i64::from(range) as u64)))
            }
            Kind::Mem { bytes, .. } => list.item(format_args!("sz={}", Unsigned(bytes.into()))),
            Kind::Dynptr { kind, .. } => list.item(format_args!("type={}", dynptr_name(kind))),
            _ => Ok(()),
        }
    }

    fn write_map(&self, list: &mut List<'_, '_>, map: MapRef) -> fmt::Result {
        let def = &self.subject.map(map.map).def;
        let name = self.subject.map_name(map.map);
        if !name.is_empty() {
            list.item(format_args!("map={name}"))?;
        }
        list.item(format_args!("ks={},vs={}", def.key_bytes, def.value_bytes))
    }
}

/// Items with commas between them.
struct List<'a, 'f> {
    f: &'a mut Formatter<'f>,
    separator: &'static str,
}

impl List<'_, '_> {
    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        write!(self.f, "{}{item}", self.separator)?;
        self.separator = ",";
        Ok(())
    }
}

/// A number that is decimal while it is small.
struct Signed(i64);

impl Display for Signed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match i16::try_from(self.0) {
            Ok(small) => small.fmt(f),
            Err(_) => write!(f, "{:#x}", self.0),
        }
    }
}

/// The same without a sign.
struct Unsigned(u64);

impl Display for Unsigned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match u16::try_from(self.0) {
            Ok(small) => small.fmt(f),
            Err(_) => write!(f, "{:#x}", self.0),
        }
    }
}
