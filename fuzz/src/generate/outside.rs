//! What programs of the compiler's target have outside of them: maps and helpers, and statements that
//! use them.

use super::function::{Function, SCRATCH};
use super::idiom::value_at;
use super::{Generator, Rules};
use ebpfvm_asm::{AluOp, AtomicOp, Imm64, JmpOp, Label, Reg, Size, Width};
use ebpfvm_spec::{MapDef, MapType};
use std::sync::{Arc, OnceLock};

/// A helper that mixes its three arguments, and sees nothing else.
pub const MIX: u32 = 10_001;
/// A helper that mixes its five arguments.
pub const BLEND: u32 = 10_002;
/// A helper that stops the run if its argument is odd.
pub const STOP_IF_ODD: u32 = 10_003;

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const CPU: u32 = 8;

/// The maps of programs for compilers: what lookups are compiled for, by kind and size of the key.
pub fn tables() -> Arc<[MapDef]> {
    static TABLES: OnceLock<Arc<[MapDef]>> = OnceLock::new();
    let make = || {
        use MapType::*;
        [
            MapDef::new("values", Array, 4, 32, 5),
            MapDef::new("lanes", PercpuArray, 4, 16, 3),
            MapDef::new("words", Hash, 4, 24, 6),
            MapDef::new("wide", Hash, 8, 8, 6),
            MapDef::new("long", Hash, 16, 8, 4),
            MapDef::new("single", Array, 4, 48, 1),
            MapDef::new("lane_words", PercpuHash, 4, 16, 4),
            MapDef::new("odd", Hash, 5, 8, 4),
        ]
        .into()
    };
    TABLES.get_or_init(make).clone()
}

/// Those of them that are arrays.
const ARRAYS: [usize; 3] = [0, 1, 5];

impl Generator<'_> {
    /// A call of a helper, if the function can lose its scratch registers.
    pub(super) fn outside(&mut self, function: &Function) {
        let stack = function.places.iter().find(|place| place.base == Reg::R10).copied();
        let Some(stack) = stack.filter(|_| function.may_lose) else { return self.burst(function) };
        match self.draw.below(8) {
            0..5 => self.with_value(function, stack.low),
            5 => self.call_of_numbers(function),
            6 => self.change_table(function, stack.low),
            _ => {
                self.builder.call(CPU);
                self.refresh(function);
            }
        }
    }

    /// After a call: numbers again where the call left none.
    fn refresh(&mut self, function: &Function) {
        for reg in SCRATCH {
            if function.numbers.contains(&reg) {
                self.fresh(function, reg);
            }
        }
    }

    /// A key on the stack, often one that is in the map; `r2` points to it and `r1` is the map.
    fn key(&mut self, function: &Function, map: usize, stack: i16) -> bool {
        let bytes = tables()[map].key_bytes as i16;
        if bytes > -stack {
            return false;
        }
        let index = self.draw.one(&function.numbers);
        let at = stack + 8 * self.draw.below(((-stack - bytes) / 8) as usize + 1) as i16;
        for word in (0..bytes).step_by(8) {
            let size = match bytes - word {
                8.. => Size::Dw,
                5.. => Size::Dw,
                _ => Size::W,
            };
            if word > 0 || self.draw.below(3) == 0 {
                let key = self.draw.one(&[0, 1, 2, 3, 4, 5, -1]);
                self.builder.store(size, Reg::R10, at + word, if word > 0 { 0 } else { key });
            } else {
                if self.draw.below(4) > 0 {
                    let mask = self.draw.one(&[0, 1, 3, 7]);
                    self.builder.alu(Width::W64, AluOp::And, index, mask);
                }
                self.builder.store(size, Reg::R10, at + word, index);
            }
        }
        if bytes == 5 && -stack < 8 {
            return false;
        }
        self.builder.mov(Reg::R2, Reg::R10).add(Reg::R2, i32::from(at));
        self.builder.load_imm(Reg::R1, Imm64::MapIdx(map as u32));
        if self.rules == Rules::Rfc && self.draw.once_in(3) {
            self.spoil(function);
        }
        true
    }

    /// Gives a map or key that is not what was likely, as nobody verifies it.
    fn spoil(&mut self, function: &Function) {
        let number = self.draw.one(&function.numbers);
        match self.draw.below(6) {
            0 => {
                let by = self.draw.one(&[1, -1, 3, 8, -8, 64, -512]);
                self.builder.add(Reg::R2, by);
            }
            1 | 2 => {
                let bytes = i32::from(self.memory_bytes);
                let at = self.draw.one(&[0, 1, bytes - 4, bytes - 3, bytes - 8, bytes, -1]);
                self.builder.mov(Reg::R2, function.places[0].base).add(Reg::R2, at);
            }
            3 | 4 => {
                // An array: beside a value of it are always the same ones.
                let other = self.draw.one(&ARRAYS) as u32;
                let over = self.builder.new_label();
                self.builder.jump_if(Width::W64, JmpOp::Set, number, 1, over);
                self.builder.load_imm(Reg::R1, Imm64::MapIdx(other)).label(over);
            }
            _ => {
                let dst = self.draw.one(&[Reg::R1, Reg::R2]);
                self.builder.mov(dst, number);
            }
        }
    }

    /// A lookup, and accesses to the value if there is one.
    fn with_value(&mut self, function: &Function, stack: i16) {
        let map = self.draw.below(tables().len());
        if !self.key(function, map, stack) {
            return self.burst(function);
        }
        let over = self.builder.new_label();
        self.builder.call(LOOKUP);
        self.refresh(function);
        let op = self.draw.one(&[JmpOp::Eq, JmpOp::Eq, JmpOp::Ne]);
        let inside = self.builder.new_label();
        match op {
            // As if there were a value for every key.
            _ if self.rules == Rules::Rfc && self.draw.once_in(8) => &mut self.builder,
            JmpOp::Eq if self.rules == Rules::Rfc && self.draw.once_in(16) => {
                self.builder.jump_if(Width::W32, op, Reg::R0, 0, over)
            }
            JmpOp::Eq => self.builder.jump_if(Width::W64, op, Reg::R0, 0, over),
            _ => self.builder.jump_if(Width::W64, op, Reg::R0, 0, inside).jump(over),
        };
        self.builder.label(inside);
        let bytes = tables()[map].value_bytes as i16;
        let mut held = function.clone();
        held.numbers.retain(|reg| *reg != Reg::R0);
        held.places = vec![value_at(Reg::R0, bytes)];
        held.may_lose = false;
        if !held.numbers.is_empty() {
            for _ in 0..=self.draw.below(3) {
                match self.draw.below(5) {
                    0 => self.counter(&held),
                    1 => self.burst(&held),
                    2 => {
                        let size = self.draw.one(&[Size::W, Size::Dw]);
                        let (base, offset) = self.address(&held, size, true);
                        let ops: Vec<AtomicOp> = AtomicOp::ALL
                            .into_iter()
                            .filter(|op| *op != AtomicOp::Cmpxchg)
                            .collect();
                        let (op, src) = (self.draw.one(&ops), self.draw.one(&held.numbers));
                        self.builder.atomic(op, size, base, offset, src);
                    }
                    _ => self.access_plainly(&held),
                }
            }
            if self.draw.once_in(4) {
                self.with_value_of_value(function, map, over);
            }
        }
        self.builder.label(over);
        let imm = self.imm();
        self.builder.mov(Reg::R0, imm);
    }

    /// A lookup with part of a map's value in `r0` as the key, and an access to what it gives.
    fn with_value_of_value(&mut self, function: &Function, of: usize, over: Label) {
        let bytes = tables()[of].value_bytes as i16;
        let map = self.draw.below(tables().len());
        let def = &tables()[map];
        let spare = bytes - def.key_bytes as i16;
        if spare < 0 {
            return;
        }
        let mut at = 4 * self.draw.below(spare as usize / 4 + 1) as i32;
        if self.rules == Rules::Rfc && ARRAYS.contains(&of) && self.draw.once_in(4) {
            at = self.draw.one(&[-1, i32::from(spare) + 1, i32::from(bytes)]);
        }
        self.builder.mov(Reg::R2, Reg::R0).add(Reg::R2, at);
        self.builder.load_imm(Reg::R1, Imm64::MapIdx(map as u32)).call(LOOKUP);
        self.refresh(function);
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 0, over);
        let mut held = function.clone();
        held.numbers.retain(|reg| *reg != Reg::R0);
        held.places = vec![value_at(Reg::R0, def.value_bytes as i16)];
        self.access_plainly(&held);
    }

    fn access_plainly(&mut self, function: &Function) {
        let (size, reg) = (self.draw.one(&Size::ALL), self.draw.one(&function.numbers));
        let (base, offset) = self.address(function, size, false);
        match self.draw.below(2) {
            0 => self.builder.load(size, reg, base, offset),
            _ => self.builder.store(size, base, offset, reg),
        };
    }

    /// A helper that takes numbers.
    fn call_of_numbers(&mut self, function: &Function) {
        let (helper, args) = self.draw.one(&[(MIX, 3), (MIX, 3), (BLEND, 5), (STOP_IF_ODD, 1)]);
        for reg in SCRATCH.into_iter().take(args) {
            if !function.numbers.contains(&reg) {
                self.fresh(function, reg);
            }
        }
        if helper == STOP_IF_ODD && self.draw.below(2) > 0 {
            self.builder.alu(Width::W64, AluOp::And, Reg::R1, -2);
        }
        self.builder.call(helper);
        self.refresh(function);
    }

    /// Writes or removes an element.
    fn change_table(&mut self, function: &Function, stack: i16) {
        let map = self.draw.one(&[0, 2, 2, 3, 4, 7]);
        let def = &tables()[map];
        let helper =
            if def.map_type == MapType::Array { UPDATE } else { self.draw.one(&[UPDATE, DELETE]) };
        let memory = function.places[0].base;
        if def.value_bytes as i16 > self.memory_bytes || !self.key(function, map, stack) {
            return self.burst(function);
        }
        if helper == UPDATE {
            let flags = self.draw.one(&[0, 0, 1, 2]);
            self.builder.mov(Reg::R3, memory).mov(Reg::R4, flags);
        }
        self.builder.call(helper);
        self.refresh(function);
    }
}
