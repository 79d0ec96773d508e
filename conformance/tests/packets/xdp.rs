//! XDP packets in one piece and in more, with metadata and without.

use crate::draw::Draw;
use crate::sides::{RESULTS_BYTES, Seen, Trial};
use ebpfvm::Context;
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::linux::helper_id;
use ebpfvm_spec::{AttachType, Errno, ProgType};
use std::fmt::Write as _;

/// Packets and programs that are tried.
const TRIALS: u64 = 1500;
const CALLS: usize = 12;
/// Bytes that a call copies at most.
const COPIED: usize = 400;

/// A program that calls helpers and records what they return, what they copy, and how long the first
/// piece and the metadata are.
struct Source {
    text: String,
    saved: usize,
}

impl Source {
    fn save(&mut self, register: &str) {
        if self.saved + 8 <= RESULTS_BYTES {
            let _ = writeln!(self.text, "*(u64 *)(r9 + {}) = {register}", self.saved);
            self.saved += 8;
        }
    }

    fn call(&mut self, name: &str, arguments: &[i64]) {
        self.text += "r1 = r6\n";
        for (i, argument) in arguments.iter().enumerate() {
            let _ = writeln!(self.text, "r{} = {}", i + 2, *argument as i32);
        }
        let id = helper_id(name).expect("a helper");
        let _ = writeln!(self.text, "call {id}");
        self.save("r0");
    }

    /// A call with the stack's first bytes as argument 3.
    fn copy(&mut self, name: &str, offset: i64, bytes: usize) {
        let id = helper_id(name).expect("a helper");
        let _ = write!(
            self.text,
            "r1 = r6\nr2 = {}\nr3 = r10\nr3 += -{COPIED}\nr4 = {bytes}\ncall {id}\n",
            offset as i32
        );
        self.save("r0");
    }

    fn shape(&mut self) {
        self.text += "r2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr4 = *(u32 *)(r6 + 8)\n\
                      r0 = r3\nr0 -= r2\n";
        self.save("r0");
        self.text += "r2 -= r4\n";
        self.save("r2");
    }
}

fn source(draw: &mut Draw, bytes: usize) -> String {
    let mut source = Source { text: String::new(), saved: 0 };
    for i in 0..COPIED / 8 {
        let _ = writeln!(source.text, "*(u64 *)(r10 - {}) = {}", COPIED - 8 * i, i * 77);
    }
    let bytes = bytes as i64;
    let places = [0, 14, 3520, 3520 + 4096, bytes - 4, bytes, 0xffff, 300];
    for _ in 0..1 + draw.below(CALLS) {
        let small = draw.near(&[0, 4, 40, -4, -40, 216, 252, -216, -252, 1000, -1000]);
        match draw.below(8) {
            0 => source.call("xdp_adjust_head", &[small]),
            1 => source.call("xdp_adjust_meta", &[small / 4 * 4]),
            2 => source.call("xdp_adjust_meta", &[small]),
            3 => {
                let far =
                    [-bytes, 14 - bytes, -4096, -3520, 4096, 3520 - bytes, 4096 - bytes % 4096];
                let delta = if draw.below(2) == 0 { small } else { draw.near(&far) };
                source.call("xdp_adjust_tail", &[delta]);
            }
            4 => source.call("xdp_get_buff_len", &[]),
            5 => {
                let (place, bytes) = (draw.near(&places), 1 + draw.below(COPIED));
                source.copy("xdp_load_bytes", place, bytes);
                for at in [0, COPIED / 2, COPIED - 8] {
                    let _ = writeln!(source.text, "r0 = *(u64 *)(r10 - {})", COPIED - at);
                    source.save("r0");
                }
            }
            6 => {
                let (place, bytes) = (draw.near(&places), 1 + draw.below(COPIED));
                source.copy("xdp_store_bytes", place, bytes);
            }
            _ => source.shape(),
        }
    }
    source.shape();
    source.text + "r0 = 2\nexit\n"
}

fn size(draw: &mut Draw) -> usize {
    match draw.below(4) {
        0 => 14 + draw.below(200),
        1 => 14 + draw.below(4000),
        2 => 3500 + draw.below(9000),
        _ => 14 + draw.below(74_000),
    }
}

/// Mostly such as the kernel takes.
fn metadata(draw: &mut Draw) -> usize {
    match draw.below(8) {
        0 => draw.near(&[2, 216, 250]) as usize,
        _ => 4 * draw.below(55),
    }
}

/// `struct xdp_md` as it goes in and comes out: the metadata's bytes, and those of the first piece.
fn xdp_md(meta: usize, end: usize) -> Vec<u8> {
    [meta as u32, end as u32, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn shape(context: &Context) -> Vec<u8> {
    let packet = context.visible_packet().expect("a packet");
    let all = packet.data_with_meta().len();
    xdp_md(all - packet.data().len(), all)
}

#[test]
fn packets_in_pieces_and_metadata_are_the_kernels() {
    let Some(kernel) = linux_6_18_or_skip("packets_in_pieces_and_metadata_are_the_kernels") else {
        return;
    };
    let (mut refused, mut in_pieces) = (0, 0);
    for seed in 0..TRIALS {
        let mut draw = Draw::new(seed);
        let bytes = size(&mut draw);
        let shaped = draw.below(2) == 0;
        let meta = if shaped { metadata(&mut draw) } else { 0 };
        let first = match draw.below(3) {
            0 => bytes.saturating_sub(meta),
            1 => draw.below(100),
            _ => draw.below(bytes + 10),
        };
        let trial = Trial {
            prog_type: ProgType::Xdp,
            attach_type: AttachType(0),
            source: source(&mut draw, bytes),
            data: draw.bytes(bytes),
            ctx: if shaped { xdp_md(meta, meta + first) } else { Vec::new() },
        };
        let context = || match shaped {
            true => Context::xdp(&trial.data, meta, Some(first)),
            false => Context::packet(ProgType::Xdp, &trial.data),
        };
        let expected = trial.on_kernel(&kernel);
        let made = context();
        assert_eq!(made.is_ok(), expected.is_ok(), "seed {seed}: {made:?} {expected:?}");
        let expected = match expected {
            Ok(expected) => expected,
            Err(errno) => {
                assert!(matches!(errno, Errno::EINVAL | Errno::ENOMEM), "seed {seed}: {errno}");
                refused += 1;
                continue;
            }
        };
        in_pieces += usize::from(made.is_ok_and(|c| c.data_out().len() > 3776));
        let (mut seen, after) = trial.here(|| context().expect("a context"));
        if shaped {
            // The kernel leaves the other numbers as they went in: zero.
            seen.ctx = shape(&after);
        }
        assert!(seen == expected, "seed {seed}: {}", differences(&seen, &expected));
    }
    println!("{TRIALS} packets, {in_pieces} in pieces, {refused} refused");
}

/// What differs between two runs, in words.
fn differences(seen: &Seen, expected: &Seen) -> String {
    let words = |seen: &Seen| -> Vec<u64> {
        let words = seen.results.as_chunks::<8>().0.iter();
        words.map(|word| u64::from_ne_bytes(*word)).collect()
    };
    let mut text = String::new();
    for (i, (a, b)) in words(seen).iter().zip(words(expected)).enumerate() {
        if *a != b {
            let _ = writeln!(text, "result {i}: here {a:#x}, the kernel {b:#x}");
        }
    }
    let (a, b) = (seen.data.len(), expected.data.len());
    let same = seen.data == expected.data;
    let _ = writeln!(text, "data of {a} and {b} bytes are the same: {same}");
    let _ = writeln!(text, "contexts {:?} {:?}", seen.ctx, expected.ctx);
    text
}
