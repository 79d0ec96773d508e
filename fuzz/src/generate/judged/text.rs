//! Statements about text, sums and memory that a program may only try to read.

use super::outside::{BUFFER, BUFFER_BYTES, KEY};
use super::{Holds, Writer, strings};
use ebpfvm_asm::{Imm64, Operand, Reg, Size};
use ebpfvm_spec::ProgType;

/// Index of the map with constants, behind whose numbers strings lie.
const CONSTANTS: u32 = 2;

impl Writer<'_> {
    pub(super) fn text(&mut self) {
        match self.draw.below(6) {
            0 | 1 => self.print(),
            2 => self.read_number(),
            3 => self.compare_text(),
            4 => self.probe(),
            _ => self.difference(),
        }
    }

    /// The address of a string that never changes.
    fn constant_text(&mut self, dst: Reg) {
        let offset = self.draw.one(&strings());
        self.builder.load_imm(dst, Imm64::MapIdxValue { index: CONSTANTS, offset });
        self.set(dst, Holds::Nothing);
    }

    /// What a helper wrote to the buffer becomes a number.
    fn load_buffer(&mut self) {
        let at = 8 * self.draw.below(BUFFER_BYTES as usize / 8) as i16;
        self.builder.load(Size::Dw, Reg::R8, Reg::R10, BUFFER + at);
        self.set(Reg::R8, Holds::Number);
    }

    /// Prints numbers from the upper half of the buffer into the lower.
    fn print(&mut self) {
        self.fill_buffer();
        let half = BUFFER_BYTES / 2;
        let size = self.draw.one(&[0, 1, 2, 5, 16, i32::from(half)]);
        self.stack(Reg::R1, BUFFER);
        self.builder.mov(Reg::R2, size);
        self.constant_text(Reg::R3);
        let values = self.draw.one(&[0, 8, 16, 32]);
        self.stack(Reg::R4, BUFFER + half);
        self.builder.mov(Reg::R5, values);
        self.helper("snprintf");
        self.load_buffer();
    }

    /// Reads a number from the buffer, which may hold digits.
    fn read_number(&mut self) {
        let digits = self.draw.one(&[0x0033_3231, 0x3739_2d20, 0x6630_7830, 0x3337_3020]);
        self.builder.store(Size::W, Reg::R10, BUFFER, digits);
        self.stack(Reg::R1, BUFFER);
        let (len, base) = (self.draw.one(&[1, 2, 4, 8, 64]), self.draw.one(&[0, 8, 10, 16, 3]));
        self.builder.mov(Reg::R2, len).mov(Reg::R3, base);
        self.stack(Reg::R4, KEY);
        let name = self.draw.one(&["strtol", "strtoul"]);
        self.helper(name);
        self.builder.load(Size::Dw, Reg::R8, Reg::R10, KEY);
        self.set(Reg::R8, Holds::Number);
    }

    fn compare_text(&mut self) {
        self.fill_buffer();
        self.stack(Reg::R1, BUFFER);
        let len = self.draw.one(&[1, 2, 8, 64]);
        self.builder.mov(Reg::R2, len);
        self.constant_text(Reg::R3);
        self.helper("strncmp");
    }

    /// Reads from an address that need not be one.
    fn probe(&mut self) {
        let len = self.draw.one(&[0, 1, 4, 8, i32::from(BUFFER_BYTES)]);
        match self.draw.below(4) {
            0 => drop(self.builder.mov(Reg::R3, 0)),
            1 => drop(self.builder.mov(Reg::R3, 4096)),
            _ => self.stack(Reg::R3, KEY),
        }
        let len = if self.draw.below(4) == 0 { len } else { len.min(8) };
        self.stack(Reg::R1, BUFFER);
        self.builder.mov(Reg::R2, len);
        self.set(Reg::R3, Holds::Nothing);
        let name = self.draw.one(&["probe_read_kernel", "probe_read_kernel_str"]);
        self.helper(name);
        self.load_buffer();
    }

    /// What a checksum changes by when one part of the buffer is replaced by another.
    fn difference(&mut self) {
        if !matches!(self.prog_type, ProgType::Xdp | ProgType::SchedCls) {
            return self.compare_text();
        }
        self.fill_buffer();
        let seed = match self.number() {
            Some(reg) => Operand::Reg(reg),
            None => Operand::Imm(self.draw.one(&[0, -1, 5])),
        };
        self.builder.mov(Reg::R5, seed);
        let lens = self.draw.one(&[(4, 4), (0, 8), (12, 0), (16, 16), (0, 0), (32, 4)]);
        self.stack(Reg::R1, BUFFER);
        self.builder.mov(Reg::R2, lens.0);
        self.stack(Reg::R3, BUFFER + BUFFER_BYTES / 2);
        self.builder.mov(Reg::R4, lens.1);
        self.helper("csum_diff");
    }
}
