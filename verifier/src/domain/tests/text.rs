//! Spellings as Linux 6.18 printed them.

use crate::domain::{Refined, Scalar, Tnum, alu, load, load_sx, refine};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

#[test]
fn scalars_are_spelled_as_in_the_log() {
    let text = |scalar: Scalar| scalar.text().to_string();
    assert_eq!(text(Scalar::constant(5)), "5");
    assert_eq!(text(Scalar::constant(u64::MAX)), "-1");
    assert_eq!(text(Scalar::constant(0x8000)), "0x8000");
    assert_eq!(text(Scalar::TOP), "scalar()");
    assert_eq!(
        text(load(Size::B)),
        "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))"
    );
    assert_eq!(text(load_sx(Size::H)), "scalar(smin=smin32=-32768,smax=smax32=32767)");
    assert_eq!(
        text(load(Size::W)),
        "scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))"
    );
    assert_eq!(
        text(Scalar::from_tnum(Tnum::new(0xf000_0000, 0xffff_ffff_0fff_ffff))),
        "scalar(smin=0x80000000f0000000,umin=smin32=umin32=0xf0000000,smax32=-1,\
         var_off=(0xf0000000; 0xffffffff0fffffff))"
    );
    assert_eq!(text(Scalar::unsigned_range(0x5c1e_856d, u64::MAX)), "scalar(umin=0x5c1e856d)");
    let shifted = alu(Width::W32, AluOp::Rsh, Scalar::TOP, Scalar::constant(31));
    let mut marked = shifted.text();
    marked.id = 3;
    marked.delta = Some(-4);
    marked.precise = true;
    assert_eq!(
        marked.to_string(),
        "Pscalar(id=3-4,smin=smin32=0,smax=umax=smax32=umax32=1,var_off=(0x0; 0x1))"
    );
}

#[test]
fn contradictions_are_told_as_in_the_log() {
    // w6 < w6 where w6 is 0 or 1.
    let bit = Scalar::unsigned_range(0, 1);
    let Refined { dst, violations, .. } =
        crate::domain::refine_same(Width::W32, JmpOp::Lt, true, bit);
    assert_eq!(
        violations[0].unwrap().to_string(),
        "range bounds violation u64=[0x0, 0x1] s64=[0x0, 0x1] u32=[0x1, 0x0] s32=[0x0, 0x1] \
         var_off=(0x0, 0x1)"
    );
    assert_eq!(dst.text().to_string(), "scalar(var_off=(0x0; 0x1))");
    assert!(!refine(Width::W64, JmpOp::Lt, true, bit, bit).is_empty());
}
