//! Statements.

use super::{Function, Holds, Known, REGS, SLOTS, Scope, VALUE_BYTES, Writer};
use ebpfvm_asm::{AluOp, AtomicOp, EndianOp, Imm64, JmpOp, Operand, Reg, RmwOp, Size, Width};
use ebpfvm_spec::ProgType;

/// Conditions and loops around a statement, at most.
const MAX_DEPTH: u32 = 3;
/// `bpf_map_lookup_elem`
const LOOKUP: u32 = 1;
/// `bpf_get_prandom_u32`
const RANDOM: u32 = 7;

impl Writer<'_> {
    pub(super) fn statement(&mut self, depth: u32) {
        self.left = self.left.saturating_sub(1);
        if self.scope == Scope::Run && self.draw.below(3) == 0 {
            return self.outside(depth);
        }
        match self.draw.below(32) {
            0..3 => self.unknown(),
            3..8 => self.compute(),
            8..11 => self.bound(),
            11..14 => self.advance(),
            14..18 => self.access(),
            18 | 19 => self.spill(),
            20 | 21 => self.fill(),
            22..25 if depth < MAX_DEPTH => self.branch(depth),
            25 if depth < MAX_DEPTH => self.repeat(depth),
            26 => self.look_up(),
            27 => self.packet(),
            28 => self.call(),
            29 => self.atomic(),
            30 => self.copy(),
            _ => self.relate(),
        }
    }

    fn width(&mut self) -> Width {
        self.draw.one(&Width::ALL)
    }

    fn size(&mut self) -> Size {
        self.draw.one(&Size::ALL)
    }

    /// A number of which nothing is known, or little.
    fn unknown(&mut self) {
        let dst = self.target();
        match self.draw.below(8) {
            0 if self.scope == Scope::Verdict => {
                self.builder.call(RANDOM);
                self.known.clobber();
                return self.set(Reg::R0, Holds::Number);
            }
            1 => {
                let imm = self.edge();
                let width = self.width();
                self.builder.alu(width, AluOp::Mov, dst, imm);
            }
            2 => {
                let value = self.draw.number();
                self.builder.load_imm(dst, Imm64::Value(value));
            }
            3 => {
                let offset = self.draw.below(12) as u32;
                self.builder.load_imm(dst, Imm64::MapIdxValue { index: 2, offset });
                let size = self.size();
                if self.draw.below(2) == 0 || size == Size::Dw {
                    self.builder.load(size, dst, dst, 0);
                } else {
                    self.builder.load_sx(size, dst, dst, 0);
                }
            }
            _ => {
                let is_value = |holds| matches!(holds, Holds::Value(..));
                let Some(base) = self.holding(is_value) else { return };
                let Holds::Value(_, at) = self.get(base) else { return };
                let size = self.size();
                let offset = 8 * self.draw.below(7) as i16 - at;
                if self.draw.below(3) > 0 || size == Size::Dw {
                    self.builder.load(size, dst, base, offset);
                } else {
                    self.builder.load_sx(size, dst, base, offset);
                }
            }
        }
        self.set(dst, Holds::Number);
    }

    fn compute(&mut self) {
        let Some(dst) = self.number() else { return };
        let width = self.width();
        match self.draw.below(8) {
            0 => {
                self.builder.neg(width, dst);
            }
            1 => {
                let (op, size) =
                    (self.draw.one(&EndianOp::ALL), self.draw.one(&[Size::H, Size::W, Size::Dw]));
                self.builder.endian(op, size, dst);
            }
            2 => {
                let Some(src) = self.number() else { return };
                let size = match width {
                    Width::W32 => self.draw.one(&[Size::B, Size::H]),
                    Width::W64 => self.draw.one(&[Size::B, Size::H, Size::W]),
                };
                self.builder.movsx(width, size, dst, src);
            }
            _ => {
                let op = self.draw.one(&AluOp::ALL);
                let src = self.operand();
                let bits = if width == Width::W64 { 64 } else { 32 };
                let src = match (op, src) {
                    (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(imm)) => {
                        Operand::Imm(imm.rem_euclid(bits))
                    }
                    (AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, Operand::Imm(0)) => {
                        Operand::Imm(3)
                    }
                    (_, src) => src,
                };
                self.builder.alu(width, op, dst, src);
            }
        }
        self.set(dst, Holds::Number);
    }

    /// Brings a number within bounds, or ends.
    fn bound(&mut self) {
        let out = self.out;
        let Some(reg) = self.number() else { return };
        let width = self.width();
        let limit = self.draw.one(&[7, 8, 15, 31, 47, 48, 55, 56, 57, 63, 64]);
        match self.draw.below(6) {
            0 | 1 => {
                let mask = self.draw.one(&[1, 7, 15, 31, 56, 63, 127]);
                self.builder.alu(width, AluOp::And, reg, mask);
            }
            2 => {
                self.builder.jump_if(width, JmpOp::Gt, reg, limit, out);
            }
            3 => {
                self.builder.jump_if(width, JmpOp::Sgt, reg, limit, out);
                let low = self.draw.one(&[0, 0, -1, -8, 1]);
                self.builder.jump_if(width, JmpOp::Slt, reg, low, out);
            }
            4 => {
                let mask = self.draw.one(&[-8, -16, -64, 0x7ffffff0, !63]);
                self.builder.jump_if(width, JmpOp::Set, reg, mask, out);
            }
            _ => {
                let (op, src) = (self.draw.one(&JmpOp::ALL), self.operand());
                self.builder.jump_if(width, op, reg, src, out);
            }
        }
        if self.draw.below(6) == 0 {
            // Only the low half is bounded.
            self.builder.mov32(reg, reg);
        }
    }

    /// Adds a number to a copy of a pointer, or takes it away.
    fn advance(&mut self) {
        let run = self.scope == Scope::Run && !self.draw.once_in(50);
        let is_moved = |holds: Holds| {
            holds.is_pointer() && !(run && matches!(holds, Holds::Context | Holds::PacketEnd))
        };
        let Some(base) = self.holding(is_moved) else { return };
        let (dst, holds) = (self.target(), self.get(base));
        let src = match self.number() {
            Some(reg) if self.draw.below(3) > 0 && reg != dst => {
                if run {
                    let mask = self.draw.one(&[1, 7, 8, 31, 56]);
                    self.builder.alu(Width::W64, AluOp::And, reg, mask);
                }
                Operand::Reg(reg)
            }
            _ => Operand::Imm(self.draw.one(&[1, 4, 8, 16, 48, 56, 60, 64, -1, -8])),
        };
        if base != dst {
            self.builder.mov(dst, base);
        }
        let op = if self.draw.once_in(6) { AluOp::Sub } else { AluOp::Add };
        self.builder.alu(Width::W64, op, dst, src);
        let holds = match (holds, src, op) {
            (Holds::Value(size, at), Operand::Imm(imm), AluOp::Add) => {
                Holds::Value(size, at.wrapping_add(imm as i16))
            }
            (Holds::Stack(at), Operand::Imm(imm), AluOp::Add) => {
                Holds::Stack(at.wrapping_add(imm as i16))
            }
            (Holds::Packet(there), Operand::Imm(imm @ 0..), AluOp::Add) => {
                Holds::Packet(there - imm as i16)
            }
            (holds, ..) => holds,
        };
        self.set(dst, holds);
    }

    /// A place near the edge of what a pointer reaches, and sometimes over it.
    fn place(&mut self, holds: Holds, bytes: i16) -> i16 {
        let past = i16::from(self.slips(12));
        match holds {
            Holds::Value(size, at) => match self.draw.below(3) {
                0 => size - bytes - at + past,
                1 => -at - past,
                _ => bytes * self.draw.below(4) as i16 - at,
            },
            Holds::Stack(at) => {
                let slot = 8 * (1 + self.draw.below(SLOTS) as i16);
                bytes * self.draw.below((8 / bytes.max(1)) as usize) as i16 - slot - at + past
            }
            Holds::Packet(there) => match self.draw.below(2) {
                0 => there - bytes + past,
                _ => 0,
            },
            _ => 4 * self.draw.below(24) as i16,
        }
    }

    fn access(&mut self) {
        let run = self.scope == Scope::Run;
        let is_place = |holds: Holds| {
            holds.is_pointer() && holds != Holds::PacketEnd && !(run && holds == Holds::Context)
        };
        let Some(base) = self.holding(is_place) else { return };
        let size = self.size();
        let holds = self.get(base);
        let offset = self.place(holds, size.bytes() as i16);
        if self.draw.below(3) > 0 {
            let dst = self.target();
            self.builder.load(size, dst, base, offset);
            return self.set(dst, Holds::Number);
        }
        let src = self.operand();
        self.builder.store(size, base, offset, src);
        if let Holds::Stack(_) = holds {
            self.known.slots = [Holds::Nothing; SLOTS];
        }
    }

    fn slot(&mut self) -> (usize, i16) {
        let slot = self.draw.below(SLOTS);
        (slot, -8 * (slot as i16 + 1))
    }

    fn spill(&mut self) {
        let Some(reg) = self.holding(|holds| holds != Holds::Nothing) else { return };
        let (slot, offset) = self.slot();
        match self.draw.below(6) {
            0 => {
                let size = self.draw.one(&[Size::W, Size::H, Size::B]);
                let at = offset + self.draw.below(2) as i16 * size.bytes() as i16;
                let Some(reg) = self.number() else { return };
                self.builder.store(size, Reg::R10, at, reg);
                self.known.slots[slot] = Holds::Nothing;
            }
            1 => {
                let imm = self.edge();
                self.builder.store(Size::Dw, Reg::R10, offset, imm);
                self.known.slots[slot] = Holds::Number;
            }
            _ => {
                self.builder.store(Size::Dw, Reg::R10, offset, reg);
                self.known.slots[slot] = self.get(reg);
            }
        }
    }

    fn fill(&mut self) {
        let (slot, offset) = self.slot();
        let holds = self.known.slots[slot];
        if holds == Holds::Nothing && !self.errs(10) {
            return;
        }
        let dst = self.target();
        if holds == Holds::Number && self.draw.below(3) == 0 {
            let size = self.draw.one(&[Size::W, Size::H, Size::B]);
            let at = offset + self.draw.below(2) as i16 * size.bytes() as i16;
            match self.draw.below(2) {
                0 => self.builder.load(size, dst, Reg::R10, at),
                _ => self.builder.load_sx(size, dst, Reg::R10, at),
            };
            return self.set(dst, Holds::Number);
        }
        self.builder.load(Size::Dw, dst, Reg::R10, offset);
        self.set(dst, holds);
    }

    pub(super) fn statements(&mut self, depth: u32, count: usize) {
        for _ in 0..count {
            if self.left > 0 && !self.draw.is_empty() {
                self.statement(depth + 1);
            }
        }
    }

    /// A condition over some statements; what is known differs on both ways.
    fn branch(&mut self, depth: u32) {
        let Some(reg) = self.number() else { return };
        let (width, op, src) = (self.width(), self.draw.one(&JmpOp::ALL), self.operand());
        let (otherwise, end) = (self.builder.new_label(), self.builder.new_label());
        self.builder.jump_if(width, op, reg, src, otherwise);
        let before = self.known.clone();
        let count = 1 + self.draw.below(3);
        self.statements(depth, count);
        let has_other = self.draw.below(2) == 0;
        if has_other {
            self.builder.jump(end);
        }
        self.builder.label(otherwise);
        let first = std::mem::replace(&mut self.known, before);
        if has_other {
            let count = 1 + self.draw.below(3);
            self.statements(depth, count);
        }
        self.builder.label(end);
        self.joined(&first);
    }

    pub(super) fn joined(&mut self, other: &Known) {
        if !self.errs(20) {
            self.known.join(other);
        }
    }

    /// A loop with a bound, mostly.
    fn repeat(&mut self, depth: u32) {
        let counter = self.draw.one(&[Reg::R8, Reg::R9]);
        let (again, end) = (self.builder.new_label(), self.builder.new_label());
        let start = self.draw.one(&[0, 0, 1, -3]);
        self.builder.mov(counter, start);
        self.set(counter, Holds::Number);
        self.builder.label(again);
        // How often that falls through hangs on the time.
        if self.scope == Scope::Verdict && self.draw.below(3) == 0 {
            self.builder.may_goto(end);
        }
        let before = self.known.clone();
        let count = 1 + self.draw.below(3);
        self.loops += 1;
        self.statements(depth, count);
        self.loops -= 1;
        // What the body takes as known must still be so at its start.
        self.known.join(&before);
        let step = self.draw.one(&[1, 1, 2]);
        self.builder.alu(Width::W64, AluOp::Add, counter, step);
        let bound = match (self.draw.below(6), self.number()) {
            (0, Some(reg)) => Operand::Reg(reg),
            _ => Operand::Imm(self.draw.one(&[2, 5, 8, 30])),
        };
        let op = self.draw.one(&[JmpOp::Lt, JmpOp::Slt, JmpOp::Lt, JmpOp::Ne]);
        self.builder.jump_if(Width::W64, op, counter, bound, again);
        self.builder.label(end);
    }

    fn look_up(&mut self) {
        let out = self.out;
        let map = self.draw.below(2) as u32;
        let key = self.draw.one(&[0, 0, 1, 5]);
        self.builder.store(Size::W, Reg::R10, -8, key);
        self.known.slots[0] = Holds::Nothing;
        self.builder.mov(Reg::R2, Reg::R10).add(Reg::R2, -8);
        self.builder.load_imm(Reg::R1, Imm64::MapIdx(map)).call(LOOKUP);
        self.known.clobber();
        if self.draw.below(8) > 0 {
            match self.draw.below(4) {
                0 => {
                    let dst = self.draw.one(&[Reg::R7, Reg::R3]);
                    self.builder.mov(dst, Reg::R0);
                    self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, out);
                    self.set(dst, Holds::Value(if map == 0 { VALUE_BYTES } else { 48 }, 0));
                }
                _ => {
                    self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, out);
                }
            }
        }
        self.set(Reg::R0, Holds::Value(if map == 0 { VALUE_BYTES } else { 48 }, 0));
    }

    /// Loads a packet's ends and compares them in one of eight ways.
    fn packet(&mut self) {
        let out = self.out;
        let (data, end) = match self.prog_type {
            ProgType::Xdp => (0, 4),
            ProgType::SchedCls | ProgType::CgroupSkb => (76, 80),
            _ => return,
        };
        let Some(ctx) = self.holding(|holds| holds == Holds::Context) else { return };
        let (packet, limit, probe) = (Reg::R2, Reg::R3, Reg::R4);
        if [packet, limit].contains(&ctx) {
            return;
        }
        self.builder.load(Size::W, packet, ctx, data).load(Size::W, limit, ctx, end);
        let bytes = self.draw.one(&[1, 8, 14, 20, 34]);
        self.builder.mov(probe, packet);
        match self.number() {
            Some(reg) if self.draw.below(3) == 0 && reg != packet && reg != limit => {
                self.builder.alu(Width::W64, AluOp::And, reg, 31).add(probe, reg);
                self.builder.mov(packet, probe);
            }
            _ => {}
        }
        self.builder.add(probe, i32::from(bytes));
        let (op, is_swapped) = self.draw.one(&[
            (JmpOp::Gt, false),
            (JmpOp::Ge, false),
            (JmpOp::Lt, true),
            (JmpOp::Le, true),
            (JmpOp::Le, false),
            (JmpOp::Lt, false),
            (JmpOp::Ge, true),
            (JmpOp::Gt, true),
        ]);
        let (a, b) = if is_swapped { (limit, probe) } else { (probe, limit) };
        // The first four leave when there is too little, the others when there is enough.
        let leaves = matches!(
            (op, is_swapped),
            (JmpOp::Gt | JmpOp::Ge, false) | (JmpOp::Lt | JmpOp::Le, true)
        );
        if leaves {
            self.builder.jump_if(Width::W64, op, a, b, out);
        } else {
            let inside = self.builder.new_label();
            self.builder.jump_if(Width::W64, op, a, b, inside);
            self.builder.jump(out).label(inside);
        }
        let is_strict = matches!(
            (op, is_swapped),
            (JmpOp::Ge, false) | (JmpOp::Le, true) | (JmpOp::Lt, false) | (JmpOp::Gt, true)
        );
        self.set(packet, Holds::Packet(bytes + i16::from(is_strict)));
        self.set(limit, Holds::PacketEnd);
        self.set(probe, Holds::Packet(i16::from(is_strict)));
    }

    fn call(&mut self) {
        let candidates = self.functions[self.index..].iter().filter(|f| !f.is_callback).count();
        if candidates == 0 {
            return;
        }
        let index = self.index + self.draw.below(candidates);
        let Function { start, args, .. } = self.functions[index];
        let now = [Reg::R1, Reg::R2, Reg::R3].map(|reg| self.get(reg));
        let args = args.unwrap_or([now[0], now[1], now[2], Holds::Nothing]);
        for (index, wanted) in args.into_iter().enumerate() {
            let reg = REGS[index + 1];
            if wanted != Holds::Nothing && self.get(reg) != wanted {
                match self.holding(|holds| holds == wanted) {
                    Some(other) => self.mov(reg, other),
                    None => return,
                }
            }
        }
        self.functions[index].args = Some(args);
        self.builder.call_local(start);
        self.called();
    }

    fn atomic(&mut self) {
        let is_place = |holds| matches!(holds, Holds::Value(..) | Holds::Stack(_));
        let (Some(base), Some(src)) = (self.holding(is_place), self.number()) else { return };
        let size = self.draw.one(&[Size::W, Size::Dw]);
        let holds = self.get(base);
        let offset = self.place(holds, size.bytes() as i16);
        let op = match self.draw.below(3) {
            0 => AtomicOp::Rmw(RmwOp::Add),
            _ => self.draw.one(&AtomicOp::ALL),
        };
        if op == AtomicOp::Cmpxchg && self.get(Reg::R0) != Holds::Number {
            return;
        }
        self.builder.atomic(op, size, base, offset, src);
    }

    /// Copies a register: what is found out of one is found out of both.
    fn copy(&mut self) {
        let Some(src) = self.holding(|holds| holds != Holds::Nothing) else { return };
        let dst = self.target();
        if self.get(src) == Holds::Number && self.draw.below(3) == 0 {
            self.builder.mov32(dst, src);
            return self.set(dst, Holds::Number);
        }
        self.mov(dst, src);
        if self.get(dst) == Holds::Number && self.draw.below(2) == 0 {
            let imm = self.draw.one(&[1, 8, -1, 55]);
            let width = self.width();
            self.builder.alu(width, AluOp::Add, dst, imm);
        }
    }

    /// Leaves unless two numbers stand to each other in some way.
    fn relate(&mut self) {
        let out = self.out;
        let (Some(a), Some(b)) = (self.number(), self.number()) else { return };
        let (width, op) = (self.width(), self.draw.one(&JmpOp::ALL));
        self.builder.jump_if(width, op, a, b, out);
    }
}
