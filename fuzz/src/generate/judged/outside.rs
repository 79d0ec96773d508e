//! Statements about the world around a program: maps, records, dynptrs.
//!
//! Places on the stack below the slots: a key, a buffer, a dynptr. All but the dynptr's are filled
//! when a function starts, for what is left there from before differs between machines.

use super::world::{self, value_bytes};
use super::{Holds, Scope, VALUE_BYTES, Writer};
use ebpfvm_asm::{AluOp, AtomicOp, Imm64, JmpOp, Operand, Reg, RmwOp, Size, Width};
use ebpfvm_spec::ProgType;
use ebpfvm_spec::linux::helper_id;

/// Where keys are, from the frame pointer.
pub(super) const KEY: i16 = -40;
/// Where [`BUFFER_BYTES`] bytes are.
pub(super) const BUFFER: i16 = -104;
pub(super) const BUFFER_BYTES: i16 = 64;
/// Where a dynptr is.
const DYNPTR: i16 = -120;

impl Writer<'_> {
    /// Fills what a function may read of its stack.
    pub(super) fn fill_stack(&mut self) {
        if self.scope == Scope::Run {
            for at in (BUFFER..0).step_by(8) {
                self.builder.store(Size::Dw, Reg::R10, at, 0);
            }
            self.known.slots.fill(Holds::Number);
        }
    }

    pub(super) fn outside(&mut self, depth: u32) {
        match self.draw.below(26) {
            0..6 => self.find(depth),
            6 | 7 => self.change(),
            8 => self.inner(depth),
            9 => self.list(),
            10 | 11 => self.walk(),
            12 => self.times(),
            13 => self.record(),
            14 => self.output(),
            15 => self.dynptr(),
            16 => self.lock(),
            17..20 => self.packet_helper(),
            20..22 => self.context(),
            22 => self.legacy_load(),
            23 | 24 => self.text(),
            _ if self.draw.below(6) == 0 => self.tail_call(),
            _ => self.context(),
        }
    }

    pub(super) fn helper(&mut self, name: &str) {
        self.builder.call(helper_id(name).unwrap_or(u32::MAX));
        self.known.clobber();
        self.set(Reg::R0, Holds::Number);
    }

    /// After a call of a function: it may have changed the packet, removed entries and written to the
    /// stack.
    pub(super) fn called(&mut self) {
        self.known.clobber();
        self.set(Reg::R0, Holds::Number);
        if self.scope == Scope::Run {
            self.packet_moved();
            self.entries_gone();
            self.known.slots.iter_mut().for_each(|slot| {
                if *slot != Holds::Number {
                    *slot = Holds::Nothing;
                }
            });
        }
    }

    fn forget(&mut self, what: impl Fn(Holds) -> bool) {
        let known = self.known.regs.iter_mut().chain(&mut self.known.slots);
        known.filter(|holds| what(**holds)).for_each(|holds| *holds = Holds::Nothing);
    }

    pub(super) fn packet_moved(&mut self) {
        self.forget(|holds| matches!(holds, Holds::Packet(_) | Holds::PacketEnd));
    }

    /// Values of removed entries may be those of new ones, in one machine and not in the other.
    fn entries_gone(&mut self) {
        self.forget(|holds| matches!(holds, Holds::Value(size, _) if size != VALUE_BYTES));
    }

    pub(super) fn map(&mut self, dst: Reg, map: usize) {
        self.builder.load_imm(dst, Imm64::MapIdx(map as u32));
        self.set(dst, Holds::Nothing);
    }

    /// The address of something on the stack.
    pub(super) fn stack(&mut self, dst: Reg, at: i16) {
        self.builder.mov(dst, Reg::R10).add(dst, i32::from(at));
        self.set(dst, Holds::Nothing);
    }

    /// Writes a key and loads its address into `r2`.
    fn key(&mut self, map: usize) {
        let wide = matches!(map, world::WIDE_KEYS | world::PREFIXES);
        let number = self.number();
        let places = |holds| match holds {
            Holds::Value(VALUE_BYTES, 0) => true,
            Holds::Packet(there) => there >= 8,
            _ => false,
        };
        if let (0, Some(base)) = (self.draw.below(8), self.holding(places)) {
            let within = |holds| matches!(holds, Holds::Value(..));
            let at = if within(self.get(base)) { 8 * self.draw.below(7) as i32 } else { 0 };
            self.builder.mov(Reg::R2, base).add(Reg::R2, at);
            return self.set(Reg::R2, Holds::Nothing);
        }
        let at = if map == world::PREFIXES {
            let bits = self.draw.one(&[0, 1, 8, 16, 24, 32, 33]);
            self.builder.store(Size::W, Reg::R10, KEY, bits);
            KEY + 4
        } else {
            KEY
        };
        let size = if wide && at == KEY { Size::Dw } else { Size::W };
        match number {
            Some(reg) if self.draw.below(3) == 0 => {
                if self.draw.below(2) == 0 {
                    self.builder.alu(Width::W64, AluOp::And, reg, 7);
                }
                self.builder.store(size, Reg::R10, at, reg);
            }
            _ => {
                let key = self.draw.one(&[0, 0, 1, 1, 2, 3, 4, 5, 15, 16, -1]);
                self.builder.store(size, Reg::R10, at, key);
            }
        }
        self.stack(Reg::R2, KEY);
    }

    /// Looks something up; what is found is in `r0` in the statements that follow, or the function
    /// ends.
    fn find(&mut self, depth: u32) {
        let map = self.draw.one(&[
            world::VALUES,
            world::ENTRIES,
            world::ENTRIES,
            world::LANES,
            world::LANE_ENTRIES,
            world::RECENT,
            world::TABLE,
            world::WIDE_KEYS,
            world::PREFIXES,
        ]);
        self.key(map);
        if self.draw.below(4) == 0 {
            // In the other order.
            let key = self.draw.one(&[Reg::R3, Reg::R4]);
            self.builder.mov(key, Reg::R2);
            self.map(Reg::R1, map);
            self.builder.mov(Reg::R2, key);
            self.set(key, Holds::Nothing);
        } else {
            self.map(Reg::R1, map);
        }
        self.helper("map_lookup_elem");
        self.found(value_bytes(map), depth);
    }

    /// After a lookup, with `r0` null or a value of so many bytes.
    fn found(&mut self, size: i16, depth: u32) {
        self.set(Reg::R0, Holds::Nothing);
        let (out, value) = (self.out, Holds::Value(size, 0));
        // Values of 8 bytes are not kept: their entries may be removed anywhere.
        if size > 8 && self.draw.below(3) == 0 {
            let copy = (self.draw.below(3) == 0).then(|| self.draw.one(&[Reg::R3, Reg::R9]));
            if let Some(copy) = copy {
                self.builder.mov(copy, Reg::R0);
            }
            if self.draw.below(2) == 0 {
                self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, out);
            } else {
                let inside = self.builder.new_label();
                self.builder.jump_if(Width::W64, JmpOp::Ne, Reg::R0, 0, inside);
                self.builder.jump(out).label(inside);
            }
            self.set(copy.unwrap_or(Reg::R0), value);
            return self.set(Reg::R0, value);
        }
        let (otherwise, end) = (self.builder.new_label(), self.builder.new_label());
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, otherwise);
        let before = self.known.clone();
        self.set(Reg::R0, value);
        self.touch(size);
        if size > 8 && depth < 2 {
            let count = self.draw.below(3);
            self.statements(depth, count);
        }
        let with_other = self.draw.below(2) == 0;
        if with_other {
            self.builder.jump(end);
        }
        self.builder.label(otherwise);
        let first = std::mem::replace(&mut self.known, before);
        if with_other {
            self.builder.mov(Reg::R9, 7);
            self.set(Reg::R9, Holds::Number);
        }
        self.builder.label(end);
        self.joined(&first);
    }

    /// Reads and changes the value at `r0`, which then is no address any more if it is short.
    fn touch(&mut self, size: i16) {
        let at = 8 * self.draw.below((size / 8) as usize) as i16;
        let number = self.number().unwrap_or(Reg::R0);
        let has_number = number != Reg::R0;
        match self.draw.below(4) {
            0 if has_number => {
                self.builder.store(Size::Dw, Reg::R0, at, number);
            }
            1 if has_number => {
                let (op, size) = (
                    self.draw.one(&[
                        AtomicOp::Rmw(RmwOp::Add),
                        AtomicOp::Fetch(RmwOp::Xor),
                        AtomicOp::Xchg,
                    ]),
                    self.draw.one(&[Size::W, Size::Dw]),
                );
                self.builder.atomic(op, size, Reg::R0, at, number);
            }
            2 => {
                self.builder.store(Size::W, Reg::R0, at, 12345);
            }
            _ => {}
        }
        if size == 8 {
            self.builder.load(Size::Dw, Reg::R0, Reg::R0, at);
            self.set(Reg::R0, Holds::Number);
        } else {
            self.builder.load(Size::Dw, Reg::R9, Reg::R0, at);
            self.set(Reg::R9, Holds::Number);
        }
    }

    /// Writes some of the buffer.
    pub(super) fn fill_buffer(&mut self) {
        for _ in 0..self.draw.below(3) {
            let at = BUFFER + 8 * self.draw.below(8) as i16;
            let src = match self.number() {
                Some(reg) => Operand::Reg(reg),
                None => Operand::Imm(77),
            };
            self.builder.store(Size::Dw, Reg::R10, at, src);
        }
    }

    /// Updates or deletes.
    fn change(&mut self) {
        let short = [world::TABLE, world::WIDE_KEYS, world::PREFIXES, world::VALUES, world::LANES];
        let long = [world::ENTRIES, world::LANE_ENTRIES, world::RECENT, world::ENTRIES];
        let anything_goes = self.index == 0 && self.loops == 0;
        let map = if anything_goes && self.draw.below(2) == 0 {
            self.draw.one(&long)
        } else {
            self.draw.one(&short)
        };
        if self.draw.below(3) == 0 {
            self.key(map);
            self.map(Reg::R1, map);
            self.helper("map_delete_elem");
        } else {
            self.fill_buffer();
            self.key(map);
            // The value may be one of a map.
            let values = |holds| matches!(holds, Holds::Value(VALUE_BYTES, 0));
            match self.holding(values) {
                Some(base) if base != Reg::R2 && self.draw.below(3) == 0 => {
                    self.builder.mov(Reg::R3, base);
                    self.set(Reg::R3, Holds::Nothing);
                }
                _ => self.stack(Reg::R3, BUFFER),
            }
            let flags = self.draw.one(&[0, 0, 0, 1, 2, 3]);
            self.builder.mov(Reg::R4, flags);
            self.map(Reg::R1, map);
            self.helper("map_update_elem");
        }
        self.entries_gone();
    }

    /// Looks up in a map that is found in a map.
    fn inner(&mut self, depth: u32) {
        let (map, size) = self.draw.one(&[(world::ARRAYS, 16), (world::HASHES, 8)]);
        let out = self.out;
        self.key(map);
        self.map(Reg::R1, map);
        self.helper("map_lookup_elem");
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, out);
        self.set(Reg::R0, Holds::Nothing);
        self.builder.mov(Reg::R9, Reg::R0);
        self.set(Reg::R9, Holds::Nothing);
        self.key(world::TABLE);
        self.builder.mov(Reg::R1, Reg::R9);
        self.set(Reg::R1, Holds::Nothing);
        if size == 8 && self.draw.below(2) == 0 {
            self.fill_buffer();
            self.stack(Reg::R3, BUFFER);
            self.builder.mov(Reg::R4, 0);
            return self.helper("map_update_elem");
        }
        self.helper("map_lookup_elem");
        self.found(size, depth);
    }

    /// Queues and stacks.
    fn list(&mut self) {
        let map = self.draw.one(&[world::FIFO, world::LIFO]);
        self.fill_buffer();
        self.map(Reg::R1, map);
        self.stack(Reg::R2, BUFFER);
        if self.draw.below(2) == 0 {
            let flags = self.draw.one(&[0, 2, 0, 1]);
            self.builder.mov(Reg::R3, flags);
            return self.helper("map_push_elem");
        }
        let name = self.draw.one(&["map_pop_elem", "map_peek_elem"]);
        self.helper(name);
        self.builder.load(Size::Dw, Reg::R9, Reg::R10, BUFFER);
        self.set(Reg::R9, Holds::Number);
    }

    fn output(&mut self) {
        self.fill_buffer();
        self.map(Reg::R1, world::RECORDS);
        self.stack(Reg::R2, BUFFER);
        let bytes = self.draw.one(&[1, 4, 8, 13, 64]);
        let flags = self.draw.one(&[0, 1, 2, 4]);
        self.builder.mov(Reg::R3, bytes).mov(Reg::R4, flags);
        self.helper("ringbuf_output");
    }

    /// Reserves a record, fills it, and submits or discards it.
    fn record(&mut self) {
        let bytes = 8 * (1 + self.draw.below(4) as i16);
        let end = self.builder.new_label();
        self.map(Reg::R1, world::RECORDS);
        self.builder.mov(Reg::R2, i32::from(bytes)).mov(Reg::R3, 0);
        self.helper("ringbuf_reserve");
        self.set(Reg::R0, Holds::Nothing);
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, end);
        for at in (0..bytes).step_by(8) {
            match self.number() {
                Some(reg) => self.builder.store(Size::Dw, Reg::R0, at, reg),
                None => self.builder.store(Size::Dw, Reg::R0, at, 5),
            };
        }
        self.builder.mov(Reg::R1, Reg::R0).mov(Reg::R2, 0);
        let name = self.draw.one(&["ringbuf_submit", "ringbuf_submit", "ringbuf_discard"]);
        self.helper(name);
        self.builder.label(end);
        self.set(Reg::R0, Holds::Nothing);
    }

    /// Makes a dynptr of a value or a record, and uses it.
    fn dynptr(&mut self) {
        let is_record = self.draw.below(2) == 0;
        let bytes = 8 * (1 + self.draw.below(8) as i32);
        if is_record {
            self.map(Reg::R1, world::RECORDS);
            self.builder.mov(Reg::R2, bytes).mov(Reg::R3, 0);
            self.stack(Reg::R4, DYNPTR);
            self.helper("ringbuf_reserve_dynptr");
            // All of the record, of which nothing is known otherwise.
            self.stack(Reg::R1, DYNPTR);
            self.builder.mov(Reg::R2, 0);
            self.stack(Reg::R3, BUFFER);
            self.builder.mov(Reg::R4, bytes).mov(Reg::R5, 0);
            self.helper("dynptr_write");
        } else {
            let values = |holds| matches!(holds, Holds::Value(VALUE_BYTES, 0));
            let Some(base) = self.holding(values) else { return };
            self.builder.mov(Reg::R1, base).mov(Reg::R2, bytes).mov(Reg::R3, 0);
            self.stack(Reg::R4, DYNPTR);
            self.helper("dynptr_from_mem");
        }
        for _ in 0..1 + self.draw.below(3) {
            self.use_dynptr();
        }
        if is_record {
            self.stack(Reg::R1, DYNPTR);
            self.builder.mov(Reg::R2, 0);
            let name = self.draw.one(&["ringbuf_submit_dynptr", "ringbuf_discard_dynptr"]);
            self.helper(name);
            self.set(Reg::R0, Holds::Nothing);
        }
    }

    fn use_dynptr(&mut self) {
        let (at, len) =
            (self.draw.one(&[0, 1, 8, 16, 60, 64, -1]), self.draw.one(&[1, 4, 8, 16, 64]));
        let offset = match self.number() {
            Some(reg) if self.draw.below(2) == 0 => Operand::Reg(reg),
            _ => Operand::Imm(at),
        };
        match self.draw.below(3) {
            0 => {
                self.builder.mov(Reg::R4, offset);
                self.stack(Reg::R1, BUFFER);
                self.builder.mov(Reg::R2, len);
                self.stack(Reg::R3, DYNPTR);
                self.builder.mov(Reg::R5, 0);
                self.helper("dynptr_read");
            }
            1 => {
                self.fill_buffer();
                self.builder.mov(Reg::R2, offset);
                self.stack(Reg::R1, DYNPTR);
                self.stack(Reg::R3, BUFFER);
                self.builder.mov(Reg::R4, len).mov(Reg::R5, 0);
                self.helper("dynptr_write");
            }
            _ => {
                self.builder.mov(Reg::R2, offset);
                self.stack(Reg::R1, DYNPTR);
                self.builder.mov(Reg::R3, len);
                self.helper("dynptr_data");
                let end = self.builder.new_label();
                self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, end);
                self.builder.store(Size::B, Reg::R0, len as i16 - 1, 9);
                self.builder.load(Size::B, Reg::R9, Reg::R0, 0);
                self.builder.label(end);
                self.set(Reg::R0, Holds::Nothing);
                self.set(Reg::R9, Holds::Nothing);
            }
        }
    }

    /// Changes a value with its lock held.
    fn lock(&mut self) {
        if self.prog_type == ProgType::SocketFilter {
            return;
        }
        let out = self.out;
        self.key(world::LOCKED);
        self.map(Reg::R1, world::LOCKED);
        self.helper("map_lookup_elem");
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, out);
        self.builder.mov(Reg::R7, Reg::R0).mov(Reg::R1, Reg::R7);
        self.set(Reg::R7, Holds::Nothing);
        self.helper("spin_lock");
        self.set(Reg::R0, Holds::Nothing);
        for _ in 0..1 + self.draw.below(3) {
            let at = 8 + 8 * self.draw.below(3) as i16;
            let number = self.number();
            match (self.draw.below(3), number) {
                (0, Some(reg)) => self.builder.store(Size::Dw, Reg::R7, at, reg),
                (1, Some(reg)) => {
                    let op = AtomicOp::Fetch(RmwOp::Add);
                    self.builder.atomic(op, Size::Dw, Reg::R7, at, reg)
                }
                _ => {
                    self.set(Reg::R9, Holds::Number);
                    self.builder.load(Size::Dw, Reg::R9, Reg::R7, at)
                }
            };
        }
        self.builder.mov(Reg::R1, Reg::R7);
        self.helper("spin_unlock");
        self.set(Reg::R0, Holds::Nothing);
        self.load_value(Reg::R7, 0);
    }

    fn tail_call(&mut self) {
        if self.get(Reg::R6) != Holds::Context {
            return;
        }
        self.builder.mov(Reg::R1, Reg::R6);
        self.map(Reg::R2, world::PROGRAMS);
        let index = self.draw.one(&[0, 1, 2, -1]);
        self.builder.mov(Reg::R3, index);
        self.helper("tail_call");
        self.set(Reg::R0, Holds::Nothing);
    }
}
