//! Functions that helpers call.

use super::outside::KEY;
use super::world::{self, value_bytes};
use super::{Function, Holds, Writer};
use ebpfvm_asm::{AluOp, Label, Operand, Reg, Size, Width};

impl Writer<'_> {
    /// A callback with these arguments, if one can be had here.
    fn callback(&mut self, args: [Holds; 4]) -> Option<Label> {
        let fits = |f: &Function| f.is_callback && f.args.is_none_or(|known| known == args);
        let later = self.functions.iter_mut().skip(self.index);
        let function = later.into_iter().find(|f| fits(f))?;
        function.args = Some(args);
        Some(function.start)
    }

    /// Shows the elements of a map to a function.
    pub(super) fn walk(&mut self) {
        let arrays = [world::VALUES, world::LANES, world::TABLE];
        let hashes = [world::ENTRIES, world::LANE_ENTRIES, world::RECENT, world::WIDE_KEYS];
        let (map, function) = if self.draw.below(2) == 0 {
            // In an order that differs between machines, so that the sum is all that can be told.
            self.is_summing = true;
            (self.draw.one(&hashes), self.sum)
        } else {
            let map = self.draw.one(&arrays);
            let value = Holds::Value(value_bytes(map), 0);
            let args = [Holds::Nothing, Holds::Nothing, value, Holds::Stack(0)];
            let Some(function) = self.callback(args) else { return };
            (map, function)
        };
        self.builder.store(Size::Dw, Reg::R10, KEY, 0);
        self.map(Reg::R1, map);
        self.builder.load_function(Reg::R2, function);
        self.builder.mov(Reg::R3, Reg::R10).mov(Reg::R4, 0);
        self.helper("for_each_map_elem");
        self.called();
        self.builder.load(Size::Dw, Reg::R9, Reg::R10, KEY);
        self.set(Reg::R9, Holds::Number);
    }

    /// Calls a function some times.
    pub(super) fn times(&mut self) {
        let args = [Holds::Number, Holds::Stack(0), Holds::Nothing, Holds::Nothing];
        let Some(function) = self.callback(args) else { return };
        let count = match self.number() {
            Some(reg) if self.draw.below(2) == 0 => {
                self.builder.alu(Width::W64, AluOp::And, reg, 7);
                Operand::Reg(reg)
            }
            _ => Operand::Imm(self.draw.one(&[0, 1, 3, 8])),
        };
        self.builder.mov(Reg::R1, count).load_function(Reg::R2, function);
        self.builder.mov(Reg::R3, Reg::R10).mov(Reg::R4, 0);
        self.helper("loop");
        self.called();
    }

    /// Adds keys and values up where the frame of its fourth argument has a key.
    pub(super) fn sum(&mut self) {
        self.builder.label(self.sum);
        self.builder.load(Size::Dw, Reg::R0, Reg::R3, 0).load(Size::W, Reg::R1, Reg::R2, 0);
        self.builder.alu(Width::W64, AluOp::Xor, Reg::R0, Reg::R1);
        self.builder.load(Size::Dw, Reg::R1, Reg::R4, KEY).add(Reg::R1, Reg::R0);
        self.builder.store(Size::Dw, Reg::R4, KEY, Reg::R1);
        self.builder.mov(Reg::R0, 0).exit();
    }
}
