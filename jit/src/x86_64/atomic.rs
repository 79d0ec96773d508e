//! Atomic operations (RFC 9669, section 5.3).

use super::basic::{Arith, Src};
use super::encode::Opcode;
use super::masm::X64;
use super::regs::{Gpr, Mem, R10, R11, RAX, RBX, RCX, RDX};
use ebpfvm_asm::Width::{self, W32, W64};
use ebpfvm_asm::{AtomicOp, RmwOp, Size};

const fn arith(op: RmwOp) -> Arith {
    match op {
        RmwOp::Add => Arith::Add,
        RmwOp::Or => Arith::Or,
        RmwOp::And => Arith::And,
        RmwOp::Xor => Arith::Xor,
    }
}

impl X64<'_> {
    pub(super) fn atomic(&mut self, op: AtomicOp, size: Size, src: Gpr, at: Mem) {
        let width = if size == Size::Dw { W64 } else { W32 };
        match op {
            AtomicOp::Rmw(op) => {
                let opcode = Opcode::one((arith(op) as u8) << 3 | 1).at(width).lock();
                self.code.op(opcode, src.0, at);
            }
            AtomicOp::Fetch(RmwOp::Add) => {
                self.code.op(Opcode::two(0xc1).at(width).lock(), src.0, at);
            }
            AtomicOp::Fetch(op) => self.fetch(arith(op), width, src, at),
            // With memory this is locked without saying so.
            AtomicOp::Xchg => self.code.op(Opcode::one(0x87).at(width), src.0, at),
            AtomicOp::Cmpxchg => {
                self.compare_exchange(width, src, at);
                if width == W32 {
                    // Where they are equal the processor leaves the upper half alone.
                    self.mov(W32, RAX, RAX);
                }
            }
        }
    }

    fn compare_exchange(&mut self, width: Width, src: Gpr, at: Mem) {
        self.code.op(Opcode::two(0xb1).at(width).lock(), src.0, at);
    }

    /// Tries until nobody has written in between: `src = *at; *at = src op *at`.
    fn fetch(&mut self, op: Arith, width: Width, src: Gpr, at: Mem) {
        // The old value must be in rax, so the address cannot, and r10 may be the address.
        let is_taken = |reg: &Gpr| *reg == src || at.has(*reg);
        let (at, new, pushed) = if at.has(RAX) || at.has(R10) {
            let free = [RBX, RCX, RDX, Gpr(6), Gpr(7)].into_iter().find(|reg| !is_taken(reg));
            let free = free.unwrap_or(RBX);
            self.push(free);
            if at != Mem::new(R10, 0) {
                self.lea(W64, R10, at);
            }
            (Mem::new(R10, 0), free, true)
        } else {
            (at, R10, false)
        };
        self.mov(W64, R11, RAX);
        let rhs = if src == RAX { R11 } else { src };
        self.code.op(Opcode::one(0x8b).at(width), RAX.0, at);
        let again = self.new_label();
        self.bind_here(again);
        self.mov(width, new, RAX);
        self.arith(op, width, new, Src::Reg(rhs));
        self.compare_exchange(width, new, at);
        self.jump_if(0x5, again);
        if src != RAX {
            self.mov(width, src, RAX);
            self.mov(W64, RAX, R11);
        }
        if pushed {
            self.pop(new);
        }
    }
}
