//! Calls drawn at random, here and in the kernel.

use crate::case::{Case, Outcome};
use crate::{kernel, machine};
use ebpfvm::World;
use ebpfvm::host::{Random, Space};
use ebpfvm_kernel::linux_6_18_or_skip;

struct Draw(Random);

impl Draw {
    fn below(&self, end: u32) -> u32 {
        self.0.next_u32() % end
    }

    fn of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u32) as usize]
    }
}

fn case(text: &str) -> Case {
    Case::parse_all(&format!("\n{text}")).pop().expect("a case")
}

/// A format of a few conversions, some of them wrong. `%p` and `%pK` are not among them: what they
/// print differs from boot to boot.
fn format(draw: &Draw) -> String {
    let mut text = String::new();
    for _ in 0..1 + draw.below(3) {
        text.push_str(draw.of::<&str>(&["", "a", " ", "x=", "%%", "[", "]", ": "]));
        if draw.below(8) == 0 {
            continue;
        }
        text.push('%');
        for _ in 0..draw.below(3) {
            text.push_str(draw.of::<&str>(&["0", "-", "+", " ", "#"]));
        }
        text.push_str(draw.of::<&str>(&["", "", "", "1", "4", "12", "20", "."]));
        text.push_str(draw.of::<&str>(&[
            "d", "i", "u", "x", "X", "ld", "li", "lu", "lx", "lX", "lld", "lli", "llu", "llx",
            "llX", "hd", "hhu", "c", "s", "px", "ps", "pS", "pB", "pI4", "pi4", "pI6", "pi6",
            "pks", "pus", "pI5", "o", "n", "f", "e", "lc", "ls", "zd", "llll", "",
        ]));
    }
    text
}

/// No address among these is one.
const VALUES: [u64; 9] =
    [0, 1, 42, 65, u64::MAX, 1 << 31, 1 << 63, 0xffff_ffff, 0_u64.wrapping_sub(42)];

#[test]
fn formats_print_what_they_print_in_the_kernel() {
    let Some(kernel) = linux_6_18_or_skip("formats_print_what_they_print_in_the_kernel") else {
        return;
    };
    let draw = Draw(Random::new(0x5eed));
    let (mut printed, mut refused) = (0, 0);
    for number in 0..600 {
        let format = format(&draw);
        let mut text = format!("=== format {number}\nsched_cls tcp4\ntext \"{format}\"\n");
        for at in [24, 16, 8] {
            text.push_str(&format!("set fp-{at} {:#x}\n", draw.of(&VALUES)));
        }
        for at in (32..=96).step_by(8) {
            text.push_str(&format!("set fp-{at} 0x1111111111111111\n"));
        }
        let values = *draw.of(&[24, 24, 16, 8, 0]);
        // Often too small for the text: what comes after its end is counted in a way of its own.
        let size = if draw.below(2) == 0 { 72 } else { draw.below(24) };
        text.push_str(&format!("snprintf fp-96 {size} text:0 fp-24 {values}\n"));
        for at in (32..=96).step_by(8) {
            text.push_str(&format!("get fp-{at}\n"));
        }
        let case = case(&text);
        let here = machine::run(&case).expect("it runs here");
        match kernel::run(&kernel, &case) {
            Ok(there) => {
                assert_eq!(here.to_string(), there.to_string(), "{format:?}, {text}");
                printed += 1;
            }
            // The verifier has read the format.
            Err(log) => {
                assert_eq!(here.results[0] as i64, -22, "{format:?}: {log}");
                refused += 1;
            }
        }
    }
    assert!(printed > 100 && refused > 100, "{printed} printed, {refused} refused");
}

/// Memory of this process, which is the current one of a test-run, is what the world exposes here.
#[test]
fn memory_of_the_process_is_read_as_in_the_kernel() {
    let Some(kernel) = linux_6_18_or_skip("memory_of_the_process_is_read_as_in_the_kernel") else {
        return;
    };
    let draw = Draw(Random::new(0xface));
    let memory: Vec<u8> =
        (0..256).map(|_| if draw.below(9) == 0 { 0 } else { draw.below(255) as u8 + 1 }).collect();
    let base = memory.as_ptr() as u64;
    let helpers = ["probe_read_user", "probe_read_user_str"];
    for number in 0..400 {
        let address = match draw.below(8) {
            0 => *draw.of(&[0, 8, 0x7fff_ffff_f000, 1 << 47, 1 << 63, u64::MAX, u64::MAX - 8]),
            _ => base + u64::from(draw.below(200)),
        };
        let (helper, size) = (draw.of(&helpers), draw.below(33));
        let mut text = format!("=== probe {number}\nsched_cls tcp4\n");
        for at in [32, 24, 16, 8] {
            text.push_str(&format!("set fp-{at} 0x1111111111111111\n"));
        }
        text.push_str(&format!("{helper} fp-32 {size} {address:#x}\n"));
        for at in [32, 24, 16, 8] {
            text.push_str(&format!("get fp-{at}\n"));
        }
        let case = case(&text);
        let world = || World::new().memory(Space::User, base, memory.clone());
        let here: Outcome = machine::run_in(world, &case).expect("it runs here");
        let there = kernel::run(&kernel, &case).expect("the kernel runs it");
        assert_eq!(here.to_string(), there.to_string(), "{text}");
    }
}
