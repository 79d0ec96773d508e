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
pub(super) struct Opcode(u32);

impl Opcode {
    const TWO: u32 = 1 << 8;
    const THREE: u32 = 1 << 9;
    const WORD: u32 = 1 << 10;
    const LOCK: u32 = 1 << 11;
    const BYTE_REG: u32 = 1 << 12;
    const BYTE_RM: u32 = 1 << 13;
    const WIDE: u32 = 1 << 14;

    /// One byte.
    pub(super) const fn one(byte: u8) -> Opcode {
        Opcode(byte as u32)
    }

    /// After `0F`.
    pub(super) const fn two(byte: u8) -> Opcode {
        Opcode(byte as u32 | Opcode::TWO)
    }

    /// After `0F 38`.
    pub(super) const fn three(byte: u8) -> Opcode {
        Opcode(byte as u32 | Opcode::THREE)
    }

    /// On 16 bits.
    pub(super) const fn word(self) -> Opcode {
        Opcode(self.0 | Opcode::WORD)
    }

    /// Locks the bus.
    pub(super) const fn lock(self) -> Opcode {
        Opcode(self.0 | Opcode::LOCK)
    }

    /// The register in the `reg` field is one of 8 bits.
    pub(super) const fn byte_reg(self) -> Opcode {
        Opcode(self.0 | Opcode::BYTE_REG)
    }

    /// The register in the `rm` field is one of 8 bits.
    pub(super) const fn byte_rm(self) -> Opcode {
        Opcode(self.0 | Opcode::BYTE_RM)
    }

    /// On 64 bits.
    pub(super) const fn wide(self) -> Opcode {
        Opcode(self.0 | Opcode::WIDE)
    }

    /// On 32 or 64 bits.
    pub(super) fn at(self, width: Width) -> Opcode {
        match width {
            Width::W32 => self,
            Width::W64 => self.wide(),
        }
    }

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// What stands in the `rm` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(Gpr),
    Mem(Mem),
}

impl From<Gpr> for Rm {
    #[inline]
    fn from(reg: Gpr) -> Rm {
        Rm::Reg(reg)
    }
}

impl From<Mem> for Rm {
    #[inline]
    fn from(mem: Mem) -> Rm {
        Rm::Mem(mem)
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

    /// An instruction with a register, or part of the opcode, and a register or memory.
    #[inline]
    pub(super) fn op(&mut self, op: Opcode, reg: u8, rm: impl Into<Rm>) {
        self.encode(op, reg, rm.into());
    }

    fn encode(&mut self, op: Opcode, reg: u8, rm: Rm) {
        let mut head = Head::default();
        if op.has(Opcode::LOCK) {
            head.byte(0xf0);
        }
        if op.has(Opcode::WORD) {
            head.byte(0x66);
        }
        let needs_rex = op.has(Opcode::BYTE_REG) && reg >= 4
            || op.has(Opcode::BYTE_RM) && matches!(rm, Rm::Reg(Gpr(4..)));
        let (x, b) = high_bits(rm);
        let rex = u8::from(op.has(Opcode::WIDE)) << 3 | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 || needs_rex {
            head.byte(0x40 | rex);
        }
        if op.has(Opcode::TWO | Opcode::THREE) {
            head.byte(0x0f);
        }
        if op.has(Opcode::THREE) {
            head.byte(0x38);
        }
        head.byte(op.0 as u8);
        self.finish(head, reg, rm);
    }

    /// An instruction with a VEX prefix: `reg`, the register in the prefix, the rest.
    pub(super) fn vex(&mut self, vex: Vex, width: Width, reg: Gpr, extra: Gpr, rm: Rm) {
        let (x, b) = high_bits(rm);
        let mut head = Head::default();
        head.byte(0xc4);
        head.byte((!(reg.0 >> 3) & 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | vex.map);
        let wide = u8::from(width == Width::W64);
        head.byte(wide << 7 | (!extra.0 & 15) << 3 | vex.prefix);
        head.byte(vex.opcode);
        self.finish(head, reg.0, rm);
    }

    /// Writes an instruction whose operands come after its head. The bytes go out at once: that takes a
    /// third of the time.
    #[inline]
    fn finish(&mut self, head: Head, reg: u8, rm: Rm) {
        let (operands, operand_bytes) = operands(reg, rm);
        let all = u128::from(head.bytes) | u128::from(operands) << head.bits;
        let end = self.0.len() + head.bits as usize / 8 + operand_bytes;
        self.0.extend_from_slice(&all.to_le_bytes());
        self.0.truncate(end);
    }
}

/// The first bytes of an instruction, at most 6.
#[derive(Clone, Copy, Default)]
struct Head {
    bytes: u64,
    bits: u32,
}

impl Head {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes |= u64::from(byte) << self.bits;
        self.bits += 8;
    }
}

/// ModRM, SIB and displacement, and how many bytes these are.
#[inline]
fn operands(reg: u8, rm: Rm) -> (u64, usize) {
    let reg = (reg & 7) << 3;
    let mem = match rm {
        Rm::Reg(rm) => return (u64::from(0xc0 | reg | rm.0 & 7), 1),
        Rm::Mem(mem) => mem,
    };
    let base = mem.base.0 & 7;
    // With rbp and r13 as the base there is always a displacement.
    let (mode, offset_bytes, offset) = match mem.offset {
        0 if base != 5 => (0, 0, 0),
        -128..=127 => (0x40, 1, mem.offset as u8 as u32),
        _ => (0x80, 4, mem.offset as u32),
    };
    let sib = match mem.index {
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

/// The bits for `x` and `b` of REX and VEX.
#[inline]
fn high_bits(rm: Rm) -> (u8, u8) {
    match rm {
        Rm::Reg(rm) => (0, rm.0 >> 3),
        Rm::Mem(mem) => (mem.index.map_or(0, |(index, _)| index.0 >> 3), mem.base.0 >> 3),
    }
}
