//! Flow dissectors: what goes in and what is left of the keys; netfilter programs: their verdict.

use crate::draw::Draw;
use crate::sides::Trial;
use ebpfvm::Context;
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::linux::helper_id;
use ebpfvm_spec::{AttachType, ProgType};
use std::fmt::Write as _;

const TRIALS: u64 = 1000;
const KEYS_BYTES: usize = 56;
const FLAGS_AT: usize = 48;

/// Fields of `struct __sk_buff`.
const DATA: i16 = 76;
const FLOW_KEYS: i16 = 144;

/// Writes random keys, loads from the window and through the helper, and records it.
fn source(draw: &mut Draw, bytes: usize) -> String {
    let load = helper_id("skb_load_bytes").expect("a helper");
    let mut text = format!(
        "r2 = *(u32 *)(r6 + {DATA})\nr3 = *(u32 *)(r6 + 80)\nr7 = *(u64 *)(r6 + {FLOW_KEYS})\n\
         r0 = r3\nr0 -= r2\n*(u64 *)(r9 + 0) = r0\nr0 = *(u64 *)(r7 + 0)\n*(u64 *)(r9 + 8) = r0\n\
         r0 = *(u64 *)(r7 + 8)\n*(u64 *)(r9 + 16) = r0\nr0 = *(u64 *)(r7 + {FLAGS_AT})\n\
         *(u64 *)(r9 + 24) = r0\n"
    );
    let at = draw.below(bytes.min(2000));
    let _ = write!(
        text,
        "r4 = r2\nr4 += {}\nif r4 > r3 goto no\nr0 = *(u8 *)(r2 + {at})\n*(u64 *)(r9 + 32) = r0\n\
         no: *(u64 *)(r10 - 8) = -1\nr1 = r6\nr2 = {at}\nr3 = r10\nr3 += -8\nr4 = 4\ncall {load}\n\
         *(u64 *)(r9 + 40) = r0\nr0 = *(u64 *)(r10 - 8)\n*(u64 *)(r9 + 48) = r0\n",
        at + 1
    );
    for _ in 0..draw.below(6) {
        let (size, unit) = draw.one(&[("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)]);
        let at = draw.below(KEYS_BYTES / unit) * unit;
        let near = [0, 14, bytes as i64, 0xffff, 1 << 31];
        let value = draw.near(&near) as i32;
        let _ = writeln!(text, "*({size} *)(r7 + {at}) = {value}");
    }
    let verdict = draw.one(&[0, 2, 129, 7]);
    let _ = write!(text, "r0 = {verdict}\nexit\n");
    text
}

#[test]
fn flow_dissectors_leave_the_keys_that_the_kernels_leave() {
    let Some(kernel) = linux_6_18_or_skip("flow_dissectors_leave_the_keys_that_the_kernels_leave")
    else {
        return;
    };
    for seed in 0..TRIALS {
        let mut draw = Draw::new(seed);
        let bytes = 14 + draw.below(4083);
        let flags = if draw.below(2) == 0 { draw.below(8) as u32 } else { 0 };
        let mut ctx = vec![0; KEYS_BYTES];
        ctx[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&flags.to_ne_bytes());
        let trial = Trial {
            prog_type: ProgType::FlowDissector,
            attach_type: AttachType(0),
            source: source(&mut draw, bytes),
            data: draw.bytes(bytes),
            ctx: if flags == 0 { Vec::new() } else { ctx },
        };
        let mut expected = trial.on_kernel(&kernel).expect("the kernel runs it");
        // The kernel gives the context back as it went in.
        expected.ctx.clear();
        let (seen, _) = trial.here(|| {
            let mut ctx = Context::packet(trial.prog_type, &trial.data).expect("a context");
            ctx.set_field("flow_keys.flags", flags.into()).expect("a key");
            ctx
        });
        assert!(seen == expected, "seed {seed}: {seen:?}\n{expected:?}\n{}", trial.source);
    }
}

#[test]
fn netfilter_programs_give_their_verdict() {
    let Some(kernel) = linux_6_18_or_skip("netfilter_programs_give_their_verdict") else { return };
    let random = helper_id("map_lookup_elem").expect("a helper");
    for bytes in [0, 19, 20, 21, 60, 1500, 3000] {
        for verdict in [0, 1] {
            let trial = Trial {
                prog_type: ProgType::Netfilter,
                attach_type: AttachType::NETFILTER,
                source: format!(
                    "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall {random}\n\
                     if r0 == 0 goto out\n*(u64 *)(r0 + 8) = 7\nout: r0 = {verdict}\nexit\n"
                ),
                data: vec![0x45; bytes],
                ctx: Vec::new(),
            };
            let expected = trial.on_kernel(&kernel);
            let made = Context::packet(trial.prog_type, &trial.data);
            assert_eq!(made.is_ok(), expected.is_ok(), "{bytes}: {made:?} {expected:?}");
            let Ok(expected) = expected else { continue };
            let (seen, _) =
                trial.here(|| Context::packet(trial.prog_type, &trial.data).expect("a context"));
            // The kernel shows no packet.
            assert_eq!((seen.retval, seen.results), (expected.retval, expected.results));
        }
    }
}
