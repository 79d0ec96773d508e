//! Writes one instruction in pseudo-C.

use crate::code::Pc;
use crate::encode::encode;
use crate::insn::{AtomicOp, CallTarget, Imm64, Insn, Operand, Reach, Reg, RmwOp, Size, Width};
use crate::table::row;
use crate::text::{Symbols, hex, target};

/// Whose spelling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Spelling {
    /// LLVM's, with words of our own for what LLVM does not tell apart.
    Lossless,
    /// `llvm-objdump -d`.
    Llvm,
    /// The kernel's log.
    Kernel,
}

struct Printer<'s> {
    spelling: Spelling,
    pc: Pc,
    symbols: &'s dyn Symbols,
}

/// Writes `insn`, which stands at `pc`.
pub(in crate::text) fn print(
    insn: &Insn,
    pc: Pc,
    spelling: Spelling,
    symbols: &dyn Symbols,
) -> String {
    let text = Printer { spelling, pc, symbols }.insn(insn);
    match (spelling, encode(insn)) {
        (Spelling::Kernel, Ok((slot, _))) => format!("({:02x}) {text}", slot.opcode),
        _ => text,
    }
}

fn reg(width: Width, reg: Reg) -> String {
    match width {
        Width::W32 => format!("w{}", reg.number()),
        Width::W64 => reg.to_string(),
    }
}

impl Printer<'_> {
    fn insn(&self, insn: &Insn) -> String {
        let symbol = row(insn.op()).symbol;
        match *insn {
            Insn::Alu { width, op: _, dst, src } => {
                format!("{} {symbol} {}", reg(width, dst), self.operand(width, src))
            }
            Insn::Neg { width, dst } => format!("{0} = -{0}", reg(width, dst)),
            Insn::Movsx { width, from, dst, src } => {
                format!("{} = (s{}){}", reg(width, dst), from.bits(), reg(width, src))
            }
            Insn::Endian { op: _, size, dst } => {
                format!("{dst} = {symbol}{} {dst}", size.bits())
            }
            Insn::AddrSpaceCast { dst, src, to, from } => {
                let [to, from] = [self.number(to.into()), self.number(from.into())];
                format!("{dst} = {symbol}({src}, {to}, {from})")
            }
            Insn::LoadImm { dst, value } => self.load_imm(dst, value),
            Insn::Load { size, dst, base, offset } => {
                format!("{dst} = *{}", self.access('u', size, base, offset))
            }
            Insn::LoadSx { size, dst, base, offset } => {
                format!("{dst} = *{}", self.access('s', size, base, offset))
            }
            Insn::Store { size, base, offset, src } => {
                let to = self.access('u', size, base, offset);
                format!("*{to} = {}", self.operand(Width::W64, src))
            }
            Insn::Atomic { op, size, base, offset, src } => {
                self.atomic(op, symbol, size, base, offset, src)
            }
            Insn::LoadAcquire { size, dst, base, offset } => {
                let from = self.access('u', size, base, offset);
                format!("{} = {symbol}({from})", self.narrow(size, dst))
            }
            Insn::StoreRelease { size, base, offset, src } => {
                let to = self.access('u', size, base, offset);
                format!("{symbol}({to}, {})", self.narrow(size, src))
            }
            Insn::LoadAbs { size, offset } => {
                format!("r0 = *(u{} *)skb[{}]", size.bits(), self.number(offset.into()))
            }
            Insn::LoadInd { size, index, offset } => {
                format!("r0 = *(u{} *)skb[{}]", size.bits(), self.packet_index(index, offset))
            }
            Insn::Jump { offset, reach } => {
                let word = match reach {
                    Reach::Near => "goto",
                    Reach::Far => "gotol",
                };
                format!("{word} {}", self.target(offset))
            }
            Insn::JumpIf { width, op: _, dst, src, offset } => {
                let src = match (self.spelling, src) {
                    (Spelling::Kernel, Operand::Imm(imm)) => format!("{imm:#x}"),
                    _ => self.operand(width, src),
                };
                format!("if {} {symbol} {src} goto {}", reg(width, dst), self.target(offset.into()))
            }
            Insn::MayGoto { offset } => format!("{symbol} {}", self.target(offset.into())),
            Insn::Call { target } => self.call(target),
            Insn::Exit => symbol.to_owned(),
        }
    }

    fn number(&self, value: i64) -> String {
        match self.spelling {
            Spelling::Kernel => value.to_string(),
            Spelling::Lossless | Spelling::Llvm => hex(value),
        }
    }

    fn operand(&self, width: Width, operand: Operand) -> String {
        match operand {
            Operand::Reg(r) => reg(width, r),
            Operand::Imm(imm) => self.number(imm.into()),
        }
    }

    /// A register of an operation that LLVM has on `w` registers up to 32 bits.
    fn narrow(&self, size: Size, r: Reg) -> String {
        match (self.spelling, size) {
            (Spelling::Kernel, _) | (_, Size::Dw) => reg(Width::W64, r),
            _ => reg(Width::W32, r),
        }
    }

    /// `(u32 *)(r1 + 0x4)`
    fn access(&self, sign: char, size: Size, base: Reg, offset: i16) -> String {
        format!("({sign}{} *)({})", size.bits(), self.address(base, offset))
    }

    fn address(&self, base: Reg, offset: i16) -> String {
        if self.spelling == Spelling::Kernel {
            return format!("{base} {offset:+}");
        }
        let sign = if offset < 0 { '-' } else { '+' };
        format!("{base} {sign} {:#x}", offset.unsigned_abs())
    }

    fn packet_index(&self, index: Reg, offset: i32) -> String {
        match self.spelling {
            Spelling::Kernel => format!("{index} + {offset}"),
            // LLVM leaves the offset out.
            Spelling::Llvm => index.to_string(),
            Spelling::Lossless if offset == 0 => index.to_string(),
            Spelling::Lossless if offset < 0 => {
                format!("{index} - {:#x}", offset.unsigned_abs())
            }
            Spelling::Lossless => format!("{index} + {offset:#x}"),
        }
    }

    fn atomic(
        &self,
        op: AtomicOp,
        symbol: &str,
        size: Size,
        base: Reg,
        offset: i16,
        src: Reg,
    ) -> String {
        let access = self.access('u', size, base, offset);
        let operand = self.narrow(size, src);
        if let AtomicOp::Rmw(op) = op {
            // LLVM knows the addition from cpu v1, without 32-bit registers.
            let operand = match op {
                RmwOp::Add => src.to_string(),
                _ => operand,
            };
            return format!("lock *{access} {symbol} {operand}");
        }
        let result = op.fetches_into(src).map_or_else(String::new, |r| self.narrow(size, r));
        let compared = match op {
            AtomicOp::Cmpxchg => format!("{}, ", self.narrow(size, Reg::R0)),
            _ => String::new(),
        };
        match (self.spelling, op, size) {
            (Spelling::Kernel, ..) => {
                let wide = if size == Size::Dw { "64" } else { "" };
                format!("{result} = atomic{wide}_{symbol}({access}, {compared}{operand})")
            }
            (_, AtomicOp::Xchg | AtomicOp::Cmpxchg, _) => {
                let suffix = if size == Size::Dw { "_64" } else { "32_32" };
                let address = self.address(base, offset);
                format!("{result} = {symbol}{suffix}({address}, {compared}{operand})")
            }
            _ => format!("{result} = atomic_{symbol}({access}, {operand})"),
        }
    }

    fn load_imm(&self, dst: Reg, value: Imm64) -> String {
        let (low, high) = value.imms();
        match (self.spelling, value) {
            (Spelling::Kernel, _) => {
                let value = u64::from(high as u32) << 32 | u64::from(low as u32);
                format!("{dst} = {value:#x}")
            }
            (_, Imm64::Value(value)) => format!("{dst} = {} ll", hex(value as i64)),
            (Spelling::Llvm, _) => {
                let kind = value.kind() as u8;
                format!("ld_pseudo\t{dst}, {kind:#x}, {low:#x}")
            }
            (Spelling::Lossless, Imm64::MapFd(fd)) => format!("{dst} = map[fd:{fd}]"),
            (Spelling::Lossless, Imm64::MapFdValue { fd, offset }) => {
                format!("{dst} = map[fd:{fd}][0]+{offset}")
            }
            (Spelling::Lossless, Imm64::MapIdx(index)) => format!("{dst} = map[idx:{index}]"),
            (Spelling::Lossless, Imm64::MapIdxValue { index, offset }) => {
                format!("{dst} = map[idx:{index}][0]+{offset}")
            }
            (Spelling::Lossless, Imm64::Variable { btf_id, btf_fd: 0 }) => {
                format!("{dst} = var[btf:{btf_id}]")
            }
            (Spelling::Lossless, Imm64::Variable { btf_id, btf_fd }) => {
                format!("{dst} = var[btf:{btf_id}, fd:{btf_fd}]")
            }
            (Spelling::Lossless, Imm64::Func { offset }) => {
                let target = target(self.pc, offset, self.symbols);
                format!("{dst} = subprog[{}]", target.unwrap_or_else(|| format!("{offset:+}")))
            }
        }
    }

    fn target(&self, offset: i32) -> String {
        match self.spelling {
            Spelling::Kernel => format!("pc{offset:+}"),
            Spelling::Llvm => {
                let sign = if offset < 0 { "" } else { "+" };
                let text = format!("{sign}{}", hex(offset.into()));
                match self.place(offset) {
                    Some(place) => format!("{text} <{place}>"),
                    None => text,
                }
            }
            Spelling::Lossless => match target(self.pc, offset, self.symbols) {
                Some(label) => label,
                None if offset < 0 => hex(offset.into()),
                None => format!("+{offset:#x}"),
            },
        }
    }

    /// `function+0x10`, in bytes, as llvm-objdump writes it.
    fn place(&self, offset: i32) -> Option<String> {
        let to = self.pc.jump(offset)?;
        let (name, start) = self.symbols.function(to)?;
        let bytes = (to.index() - start.index()) * crate::slot::SLOT_BYTES;
        Some(if bytes == 0 { name } else { format!("{name}+{bytes:#x}") })
    }

    fn call(&self, target: CallTarget) -> String {
        match (self.spelling, target) {
            (_, CallTarget::Reg(r)) => format!("callx {r}"),
            (Spelling::Llvm, target) => {
                let imm = match target {
                    CallTarget::Helper(id) => id as i32,
                    CallTarget::Local { offset } => offset,
                    CallTarget::Kfunc { btf_id, .. } => btf_id,
                    CallTarget::Reg(_) => 0,
                };
                format!("call {}", hex(imm.into()))
            }
            (_, CallTarget::Helper(id)) => {
                let imm = id as i32;
                match (self.symbols.helper(id), self.spelling) {
                    (Some(name), _) => format!("call {name}#{imm}"),
                    (None, Spelling::Kernel) => format!("call unknown#{imm}"),
                    (None, _) => format!("call {}", hex(imm.into())),
                }
            }
            (Spelling::Kernel, CallTarget::Local { offset }) => format!("call pc{offset:+}"),
            (_, CallTarget::Local { offset }) => {
                let label = crate::text::target(self.pc, offset, self.symbols);
                format!("call {}", label.unwrap_or_else(|| format!("pc{offset:+}")))
            }
            (Spelling::Kernel, CallTarget::Kfunc { btf_id, btf_index }) => {
                let name = self.symbols.kfunc(btf_id, btf_index);
                let name = name.unwrap_or_else(|| "kernel-function".to_owned());
                format!("call {name}#{btf_id}")
            }
            (_, CallTarget::Kfunc { btf_id, btf_index: 0 }) => format!("call kfunc#{btf_id}"),
            (_, CallTarget::Kfunc { btf_id, btf_index }) => {
                format!("call kfunc#{btf_id}, btf {btf_index}")
            }
        }
    }
}
