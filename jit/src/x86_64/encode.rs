//! How instructions with any operands are written: prefixes, opcode, ModRM, SIB, displacement,
//! immediate, in their shortest forms.
//!
//! dynasm writes a SIB byte and a long displacement wherever the register or the displacement is not
//! known when it is compiled, which here is nearly everywhere; it writes the fixed sequences.
//! Source: Intel's Software Developer's Manual, volume 2, chapter 2.

use super::regs::{Gpr, Mem};
use ebpfvm_asm::Width;

/// An opcode with what it needs before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opcode {
    /// The bytes after the prefixes, the first one lowest.
    bytes: u32,
    /// How many bits these are.
    bits: u8,
    flags: u8,
}

impl Opcode {
    const WIDE: u8 = 1 << 3;
    const WORD: u8 = 1 << 4;
    const LOCK: u8 = 1 << 5;
    const BYTE_REG: u8 = 1 << 6;
    const BYTE_RM: u8 = 1 << 7;

    /// One byte.
    pub(super) const fn one(byte: u8) -> Opcode {
        Opcode { bytes: byte as u32, bits: 8, flags: 0 }
    }

    /// After `0F`.
    pub(super) const fn two(byte: u8) -> Opcode {
        Opcode { bytes: 0x0f | (byte as u32) << 8, bits: 16, flags: 0 }
    }

    /// After `0F 38`.
    pub(super) const fn three(byte: u8) -> Opcode {
        Opcode { bytes: 0x38_0f | (byte as u32) << 16, bits: 24, flags: 0 }
    }

    /// On 16 bits.
    pub(super) const fn word(self) -> Opcode {
        self.with(Opcode::WORD)
    }

    /// Locks the bus.
    pub(super) const fn lock(self) -> Opcode {
        self.with(Opcode::LOCK)
    }

    /// The register in the `reg` field is one of 8 bits.
    pub(super) const fn byte_reg(self) -> Opcode {
        self.with(Opcode::BYTE_REG)
    }

    /// The register in the `rm` field is one of 8 bits.
    pub(super) const fn byte_rm(self) -> Opcode {
        self.with(Opcode::BYTE_RM)
    }

    /// On 64 bits.
    pub(super) const fn wide(self) -> Opcode {
        self.with(Opcode::WIDE)
    }

    /// On 32 or 64 bits.
    pub(super) const fn at(self, width: Width) -> Opcode {
        match width {
            Width::W32 => self,
            Width::W64 => self.wide(),
        }
    }

    const fn with(self, flag: u8) -> Opcode {
        Opcode { flags: self.flags | flag, ..self }
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What stands in the `rm` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(Gpr),
    Mem(Mem),
}

/// What can stand there.
pub(super) trait Operand: Copy {
    /// The bits for `x` and `b` of REX and VEX.
    fn high_bits(self) -> u8;

    /// Whether as a register of 8 bits it needs a REX prefix.
    fn needs_rex(self) -> bool;

    /// ModRM with this register, SIB and displacement, and how many bytes these are.
    fn bytes(self, reg: u8) -> (u64, usize);
}

impl Operand for Gpr {
    #[inline]
    fn high_bits(self) -> u8 {
        self.0 >> 3
    }

    #[inline]
    fn needs_rex(self) -> bool {
        self.0 >= 4
    }

    #[inline]
    fn bytes(self, reg: u8) -> (u64, usize) {
        (u64::from(0xc0 | (reg & 7) << 3 | self.0 & 7), 1)
    }
}

impl Operand for Mem {
    #[inline]
    fn high_bits(self) -> u8 {
        self.index.map_or(0, |(index, _)| index.0 >> 3) << 1 | self.base.0 >> 3
    }

    #[inline]
    fn needs_rex(self) -> bool {
        false
    }

    #[inline]
    fn bytes(self, reg: u8) -> (u64, usize) {
        let reg = (reg & 7) << 3;
        let base = self.base.0 & 7;
        // With rbp and r13 as the base there is always a displacement.
        let (mode, offset_bytes, offset) = match self.offset {
            0 if base != 5 => (0, 0, 0),
            -128..=127 => (0x40, 1, self.offset as u8 as u32),
            _ => (0x80, 4, self.offset as u32),
        };
        let sib = match self.index {
            None if base != 4 => {
                let modrm = u64::from(mode | reg | base);
                return (modrm | u64::from(offset) << 8, 1 + offset_bytes);
            }
            // rsp and r12 are bases in the SIB byte only.
            None => 4 << 3 | base,
            Some((index, scale)) => scale << 6 | (index.0 & 7) << 3 | base,
        };
        let modrm = u64::from(mode | reg | 4) | u64::from(sib) << 8;
        (modrm | u64::from(offset) << 16, 2 + offset_bytes)
    }
}

impl Operand for Rm {
    fn high_bits(self) -> u8 {
        match self {
            Rm::Reg(reg) => reg.high_bits(),
            Rm::Mem(mem) => mem.high_bits(),
        }
    }

    fn needs_rex(self) -> bool {
        matches!(self, Rm::Reg(reg) if reg.needs_rex())
    }

    fn bytes(self, reg: u8) -> (u64, usize) {
        match self {
            Rm::Reg(rm) => rm.bytes(reg),
            Rm::Mem(mem) => mem.bytes(reg),
        }
    }
}

/// An instruction with a VEX prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vex {
    /// 2 for `0F 38`, 3 for `0F 3A`.
    pub(super) map: u8,
    /// 0, 1 for `66`, 2 for `F3`, 3 for `F2`.
    pub(super) prefix: u8,
    pub(super) opcode: u8,
}

/// Code as it is written.
#[derive(Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    #[inline]
    pub(super) fn imm32(&mut self, imm: i32) {
        self.0.extend_from_slice(&imm.to_le_bytes());
    }

    /// An instruction with a register, or part of the opcode, and a register or memory. The bytes go out
    /// at once: that takes a third of the time.
    pub(super) fn op(&mut self, op: Opcode, reg: u8, rm: impl Operand) {
        let mut head = Head { bytes: op.bytes.into(), bits: op.bits.into() };
        let rex = op.flags & Opcode::WIDE | (reg >> 3) << 2 | rm.high_bits();
        let needs_rex =
            op.has(Opcode::BYTE_REG) && reg >= 4 || op.has(Opcode::BYTE_RM) && rm.needs_rex();
        if rex != 0 || needs_rex {
            head.prefix(0x40 | rex);
        }
        if op.has(Opcode::WORD | Opcode::LOCK) {
            if op.has(Opcode::WORD) {
                head.prefix(0x66);
            }
            if op.has(Opcode::LOCK) {
                head.prefix(0xf0);
            }
        }
        self.finish(head, reg, rm);
    }

    /// An instruction with a VEX prefix: `reg`, the register in the prefix, the rest.
    pub(super) fn vex(&mut self, vex: Vex, width: Width, reg: Gpr, extra: Gpr, rm: impl Operand) {
        let wide = u8::from(width == Width::W64);
        let registers = (!(reg.0 >> 3) & 1) << 7 | (rm.high_bits() ^ 3) << 5;
        let third = wide << 7 | (!extra.0 & 15) << 3 | vex.prefix;
        let bytes = u32::from_le_bytes([0xc4, registers | vex.map, third, vex.opcode]);
        self.finish(Head { bytes: bytes.into(), bits: 32 }, reg.0, rm);
    }

    /// Writes an instruction whose operands come after its head.
    #[inline(always)]
    fn finish(&mut self, head: Head, reg: u8, rm: impl Operand) {
        let (operands, operand_bytes) = rm.bytes(reg);
        let all = u128::from(head.bytes) | u128::from(operands) << head.bits;
        let end = self.0.len() + head.bits as usize / 8 + operand_bytes;
        self.0.extend_from_slice(&all.to_le_bytes());
        self.0.truncate(end);
    }
}

/// The first bytes of an instruction, at most 6.
#[derive(Clone, Copy)]
struct Head {
    bytes: u64,
    bits: u32,
}

impl Head {
    #[inline]
    fn prefix(&mut self, byte: u8) {
        self.bytes = self.bytes << 8 | u64::from(byte);
        self.bits += 8;
    }
}
