//! Statements about the packet and the context.

use super::outside::{BUFFER, BUFFER_BYTES};
use super::{Holds, Writer};
use ebpfvm_asm::{Insn, Operand, Reg, Size};
use ebpfvm_spec::ProgType;

/// Fields of `__sk_buff` that a test-run sets in the same way everywhere: offset and size.
const SKB_READ: [(i16, Size); 15] = [
    (0, Size::W),
    (4, Size::W),
    (8, Size::W),
    (12, Size::W),
    (16, Size::W),
    (20, Size::W),
    (24, Size::W),
    (28, Size::W),
    (32, Size::W),
    (44, Size::W),
    (48, Size::W),
    (56, Size::Dw),
    (64, Size::B),
    (160, Size::W),
    (152, Size::Dw),
];
/// Those that some programs may write.
const SKB_WRITTEN: [(i16, Size); 9] = [
    (8, Size::W),
    (12, Size::W),
    (32, Size::W),
    (44, Size::W),
    (48, Size::W),
    (54, Size::H),
    (56, Size::Dw),
    (67, Size::B),
    (152, Size::Dw),
];

impl Writer<'_> {
    /// Loads a field of the context or stores to one.
    pub(super) fn context(&mut self) {
        let Some(ctx) = self.holding(|holds| holds == Holds::Context) else { return };
        if self.prog_type == ProgType::Xdp {
            // Nothing else is the same everywhere.
            let dst = self.target();
            self.builder.load(Size::W, dst, ctx, 16);
            return self.set(dst, Holds::Number);
        }
        if self.draw.below(2) == 0 {
            let has = |at: i16| match self.prog_type {
                ProgType::SocketFilter => at < 68,
                ProgType::CgroupSkb => at != 160,
                _ => true,
            };
            let fields: Vec<_> = SKB_READ.into_iter().filter(|(at, _)| has(*at)).collect();
            let (at, size) = self.draw.one(&fields);
            let dst = self.target();
            self.builder.load(size, dst, ctx, at);
            return self.set(dst, Holds::Number);
        }
        let has = |at: i16| match self.prog_type {
            ProgType::SocketFilter => (48..68).contains(&at),
            ProgType::CgroupSkb => !matches!(at, 12 | 44),
            _ => true,
        };
        let fields: Vec<_> = SKB_WRITTEN.into_iter().filter(|(at, _)| has(*at)).collect();
        let (at, size) = self.draw.one(&fields);
        match self.number() {
            Some(reg) => self.builder.store(size, ctx, at, reg),
            None => self.builder.store(size, ctx, at, 3),
        };
    }

    /// A load of the old kind.
    pub(super) fn legacy_load(&mut self) {
        let fits = self.get(Reg::R6) == Holds::Context && self.index == 0;
        let types = [ProgType::SocketFilter, ProgType::SchedCls];
        if !types.contains(&self.prog_type) || !fits {
            return;
        }
        let size = self.draw.one(&[Size::B, Size::H, Size::W]);
        let offset = self.draw.one(&[0, 1, 8, 12, 14, 36]);
        let insn = match self.number() {
            Some(index) if self.draw.below(2) == 0 => Insn::LoadInd { size, index, offset },
            _ => Insn::LoadAbs { size, offset },
        };
        self.builder.insn(insn);
        self.known.clobber();
        self.set(Reg::R0, Holds::Number);
    }

    /// A small number, or one of the program.
    fn amount(&mut self, of: &[i32]) -> Operand {
        match self.number() {
            Some(reg) if self.draw.below(4) == 0 => Operand::Reg(reg),
            _ => Operand::Imm(self.draw.one(of)),
        }
    }

    pub(super) fn packet_helper(&mut self) {
        if self.get(Reg::R6) != Holds::Context {
            return;
        }
        match (self.prog_type, self.draw.below(16)) {
            (ProgType::Xdp, 0) => {
                self.resize("xdp_adjust_head", &[0, 4, -4, 14, -14, 40, -300], &[])
            }
            (ProgType::Xdp, 1) => self.resize("xdp_adjust_meta", &[0, -4, -8, 4, -32, 2], &[]),
            (ProgType::Xdp, 2) => self.resize("xdp_adjust_tail", &[0, 4, -4, -14, 40, 100], &[]),
            (ProgType::Xdp, 3) => {
                self.builder.mov(Reg::R1, Reg::R6);
                self.helper("xdp_get_buff_len");
            }
            (ProgType::Xdp | ProgType::SchedCls, 15) => self.redirect(),
            (ProgType::Xdp, 4..7) => self.copy_bytes("xdp_store_bytes", None),
            (ProgType::Xdp, _) => self.copy_bytes("xdp_load_bytes", None),
            (ProgType::SchedCls, 0) => {
                self.resize("skb_change_tail", &[14, 20, 40, 100, 300], &[0])
            }
            (ProgType::SchedCls, 1) => self.resize("skb_change_head", &[0, 4, 14, 40], &[0]),
            (ProgType::SchedCls, 2) => self.resize("skb_pull_data", &[0, 14, 34, 60, 500], &[]),
            (ProgType::SchedCls, 3) => self.resize("skb_vlan_push", &[0x81, 0xa888, 8], &[5]),
            (ProgType::SchedCls, 4) => self.resize("skb_vlan_pop", &[], &[]),
            (ProgType::SchedCls, 5) => self.resize("skb_change_type", &[0, 1, 3, 7], &[]),
            (ProgType::SchedCls, 6) => self.resize("l3_csum_replace", &[24, 10, 0], &[5, 9, 2]),
            (ProgType::SchedCls, 7) => self.resize("l4_csum_replace", &[40, 50], &[5, 9, 4]),
            (ProgType::SchedCls, 8) => self.resize("csum_level", &[0, 1, 2, 3], &[]),
            (ProgType::SchedCls, 11) => self.resize("skb_change_proto", &[8, 0xdd86], &[0]),
            (ProgType::SchedCls, 12) => {
                let mode = self.draw.one(&[0, 1]);
                self.resize("skb_adjust_room", &[0, 4, -4, 8, -20, 20], &[mode, 0]);
            }
            (ProgType::SchedCls, 13) => self.resize("skb_ecn_set_ce", &[], &[]),
            (ProgType::SchedCls, 9 | 10) => self.copy_bytes("skb_store_bytes", Some(&[0, 1, 2])),
            (_, 0..3) => self.copy_bytes("skb_load_bytes_relative", Some(&[0, 1])),
            _ => self.copy_bytes("skb_load_bytes", None),
        }
    }

    /// Sends the packet to a device, which a test-run does not do.
    fn redirect(&mut self) {
        let device = self.amount(&[0, 1, 7, -1]);
        let flags = self.draw.one(&[0, 0, 1, 2]);
        self.builder.mov(Reg::R1, device).mov(Reg::R2, flags);
        self.helper("redirect");
    }

    /// A call that may move the packet, with arguments after the context.
    fn resize(&mut self, name: &'static str, amounts: &[i32], rest: &[i32]) {
        if !amounts.is_empty() {
            let amount = self.amount(amounts);
            self.builder.mov(Reg::R2, amount);
        }
        self.builder.mov(Reg::R1, Reg::R6);
        for (reg, value) in [Reg::R3, Reg::R4, Reg::R5].into_iter().zip(rest) {
            self.builder.mov(reg, *value);
        }
        self.helper(name);
        self.packet_moved();
    }

    /// A copy between the packet and the buffer.
    fn copy_bytes(&mut self, name: &'static str, last: Option<&[i32]>) {
        let offset = self.amount(&[0, 0, 1, 12, 14, 36, 60, 198, -1]);
        self.builder.mov(Reg::R2, offset);
        self.builder.mov(Reg::R1, Reg::R6);
        self.stack(Reg::R3, BUFFER);
        let len = self.draw.one(&[1, 2, 4, 8, i32::from(BUFFER_BYTES)]);
        self.builder.mov(Reg::R4, len);
        if let Some(last) = last {
            let last = self.draw.one(last);
            self.builder.mov(Reg::R5, last);
        }
        self.helper(name);
        if name.contains("store") {
            self.packet_moved();
        }
        self.builder.load(Size::Dw, Reg::R8, Reg::R10, BUFFER);
        self.set(Reg::R8, Holds::Number);
    }
}
