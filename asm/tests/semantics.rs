//! What operations compute, against formulations of another kind: mathematics on `i128`, bytes.

use ebpfvm_asm::{AluOp, AtomicOp, ByteOrder, EndianOp, JmpOp, RmwOp, Size, Width, semantics};

/// Values at which something changes: zero, small ones, signs and widths with their neighbours.
fn edges() -> Vec<u64> {
    let mut all = vec![0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x5555_5555_aaaa_aaaa];
    for shift in [0, 1, 3, 5, 7, 8, 15, 16, 31, 32, 33, 47, 62, 63] {
        for delta in [-1, 0, 1] {
            let value = (1_u64 << shift).wrapping_add_signed(delta);
            all.extend([value, value.wrapping_neg()]);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The number that the low `bits` of a value stand for.
fn number(value: u64, bits: u32, signed: bool) -> i128 {
    let modulus = 1_i128 << bits;
    let low = i128::from(value).rem_euclid(modulus);
    if signed && low >= modulus / 2 { low - modulus } else { low }
}

/// The register that holds a number in its low `bits`, and zero above.
fn register(number: i128, bits: u32) -> u64 {
    number.rem_euclid(1 << bits) as u64
}

/// RFC 9669, section 4.1, on integers without a width.
fn alu(bits: u32, op: AluOp, dst: u64, src: u64) -> u64 {
    let [d, s] = [dst, src].map(|v| number(v, bits, false));
    let [sd, ss] = [dst, src].map(|v| number(v, bits, true));
    let count = s % i128::from(bits);
    let bitwise = |f: fn(bool, bool) -> bool| {
        (0..bits).map(|i| i128::from(f(d >> i & 1 == 1, s >> i & 1 == 1)) << i).sum()
    };
    let result: i128 = match op {
        AluOp::Add => d + s,
        AluOp::Sub => d - s,
        // The factors as signed numbers, so that the product fits.
        AluOp::Mul => sd * ss,
        AluOp::Div => d.checked_div(s).unwrap_or(0),
        AluOp::Sdiv => sd.checked_div(ss).unwrap_or(0),
        AluOp::Mod => d.checked_rem(s).unwrap_or(d),
        AluOp::Smod => sd.checked_rem(ss).unwrap_or(sd),
        AluOp::Or => bitwise(|a, b| a || b),
        AluOp::And => bitwise(|a, b| a && b),
        AluOp::Xor => bitwise(|a, b| a != b),
        AluOp::Lsh => (0..count).fold(d, |v, _| v * 2 % (1 << bits)),
        AluOp::Rsh => (0..count).fold(d, |v, _| v / 2),
        AluOp::Arsh => (0..count).fold(sd, |v, _| v.div_euclid(2)),
        AluOp::Mov => s,
    };
    register(result, bits)
}

#[test]
fn arithmetic() {
    for width in Width::ALL {
        for op in AluOp::ALL {
            for dst in edges() {
                for src in edges() {
                    assert_eq!(
                        semantics::alu(width, op, dst, src),
                        alu(width.bits(), op, dst, src),
                        "{width:?} {op:?} {dst:#x} {src:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn negation_and_sign_extension() {
    for width in Width::ALL {
        let bits = width.bits();
        for value in edges() {
            let negated = register(-number(value, bits, true), bits);
            assert_eq!(semantics::neg(width, value), negated, "{width:?} {value:#x}");
            for from in Size::ALL {
                if from.bits() >= bits {
                    continue;
                }
                let extended = register(number(value, from.bits(), true), bits);
                assert_eq!(semantics::movsx(width, from, value), extended, "{from:?} {value:#x}");
            }
        }
    }
}

#[test]
fn extension_to_64_bits() {
    for size in Size::ALL {
        for value in edges() {
            let zero = register(number(value, size.bits(), false), 64);
            let sign = register(number(value, size.bits(), true), 64);
            assert_eq!(semantics::zero_extend(size, value), zero, "{size:?} {value:#x}");
            assert_eq!(semantics::sign_extend(size, value), sign, "{size:?} {value:#x}");
        }
    }
    for imm in [0, 1, -1, i32::MIN, i32::MAX] {
        assert_eq!(i128::from(semantics::immediate(imm) as i64), i128::from(imm));
    }
}

#[test]
fn byte_order() {
    for host in [ByteOrder::Little, ByteOrder::Big] {
        for op in EndianOp::ALL {
            for size in [Size::H, Size::W, Size::Dw] {
                for value in edges() {
                    // The bytes of the value, least significant first.
                    let mut bytes: Vec<u8> =
                        (0..size.bytes()).map(|i| (value >> (8 * i)) as u8).collect();
                    let swaps = match op {
                        EndianOp::ToLe => host == ByteOrder::Big,
                        EndianOp::ToBe => host == ByteOrder::Little,
                        EndianOp::Bswap => true,
                    };
                    if swaps {
                        bytes.reverse();
                    }
                    let wanted = bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
                    assert_eq!(
                        semantics::endian(host, op, size, value),
                        wanted,
                        "{host:?} {op:?} {size:?} {value:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn comparisons() {
    for width in Width::ALL {
        let bits = width.bits();
        for dst in edges() {
            for src in edges() {
                let [d, s] = [dst, src].map(|v| number(v, bits, false));
                let [sd, ss] = [dst, src].map(|v| number(v, bits, true));
                for op in JmpOp::ALL {
                    let wanted = match op {
                        JmpOp::Eq => d == s,
                        JmpOp::Ne => d != s,
                        JmpOp::Gt => d > s,
                        JmpOp::Ge => d >= s,
                        JmpOp::Lt => d < s,
                        JmpOp::Le => d <= s,
                        JmpOp::Sgt => sd > ss,
                        JmpOp::Sge => sd >= ss,
                        JmpOp::Slt => sd < ss,
                        JmpOp::Sle => sd <= ss,
                        JmpOp::Set => (0..bits).any(|i| d >> i & s >> i & 1 == 1),
                    };
                    assert_eq!(
                        semantics::jump(width, op, dst, src),
                        wanted,
                        "{width:?} {op:?} {dst:#x} {src:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn atomics() {
    for size in [Size::W, Size::Dw] {
        let bits = size.bits();
        for old in edges() {
            for src in edges() {
                for op in AtomicOp::ALL {
                    let [o, s] = [old, src].map(|v| number(v, bits, false));
                    let rmw = |op| match op {
                        RmwOp::Add => AluOp::Add,
                        RmwOp::Or => AluOp::Or,
                        RmwOp::And => AluOp::And,
                        RmwOp::Xor => AluOp::Xor,
                    };
                    for r0 in [old, old ^ 1, old ^ 1 << 40] {
                        let equal = number(r0, bits, false) == o;
                        let wanted = match op {
                            AtomicOp::Rmw(op) | AtomicOp::Fetch(op) => {
                                Some(alu(bits, rmw(op), old, src))
                            }
                            AtomicOp::Xchg => Some(register(s, bits)),
                            AtomicOp::Cmpxchg => equal.then(|| register(s, bits)),
                        };
                        assert_eq!(
                            semantics::atomic(op, size, old, src, r0),
                            wanted,
                            "{op:?} {size:?} {old:#x} {src:#x} {r0:#x}"
                        );
                    }
                }
            }
        }
    }
}
