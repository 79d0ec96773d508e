//! Programs that are made to explode, in the format of `conformance/verdicts`.

use ebpfvm_conformance::cases::{Case, parse};

/// Slots of a frame that are filled in the programs that are about stacks.
const SLOTS: u32 = 58;

/// Why callbacks are followed further here; `docs/parity.md` has it.
pub(crate) const CALLBACKS: &str = "Calls of helpers that call back are loops";

/// A program that is made when it is needed: all together would take more memory than judging them.
pub(crate) struct Explosive {
    pub(crate) name: &'static str,
    /// What goes before the code.
    needs: String,
    code: fn() -> String,
    verdict: String,
}

impl Explosive {
    pub(crate) fn case(&self) -> Case {
        let Explosive { name, needs, code, verdict } = self;
        let text = format!("=== {name}\n{needs}\n{}\n=> {verdict}\n", code());
        let mut cases = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        cases.pop().expect("one case")
    }
}

/// All programs with the verdicts that they must get.
pub(crate) fn programs() -> Vec<Explosive> {
    let filter = "type socket_filter".to_string();
    let maps = format!("{filter}\nmap m hash 4 8 8");
    let probe = "type kprobe".to_string();
    let deeper = format!("accept 547\n=> here: accept 10385 because {CALLBACKS}");
    let large = "reject BPF program is too large. Processed 1000001 insn";
    let frames = "reject the call stack of 9 frames is too deep";
    let jumps = "reject The sequence of 8193 jumps is too complex.";
    let row = |name, needs: &str, code, verdict: &str| Explosive {
        name,
        needs: needs.to_string(),
        code,
        verdict: verdict.to_string(),
    };
    vec![
        row("2^40 sums that matter", &filter, || sums(40, true), large),
        row("2^40 sums that do not matter", &filter, || sums(40, false), "accept 341"),
        row("a million rounds of three loops", &filter, || nested_loops(100), large),
        row("a loop of 333,000 rounds", &filter, || counted(333_000), "accept 999004"),
        row("functions that call twice, 8 frames", &filter, || calls_twice(8, 3), large),
        row("9 frames", &filter, || calls_twice(9, 0), frames),
        row("256 functions", &filter, || functions(256), "accept 767"),
        row("257 functions", &filter, || functions(257), "reject too many subprograms"),
        row("callbacks in callbacks, 7 frames", &callback_types(6), || callbacks(6), &deeper),
        row("callbacks in callbacks, 9 frames", &callback_types(8), || callbacks(8), frames),
        row("a million instructions", &filter, || straight(1_000_000), "accept 1000000"),
        row("a million instructions and one", &filter, || straight(1_000_001), "reject"),
        row("8,192 jumps wait", &filter, || waiting(8_192), "accept 16391"),
        row("8,193 jumps wait", &filter, || waiting(8_193), jumps),
        row("3,000 ways to one place", &filter, || switch(3_000), "accept 33010"),
        row("rounds that fill the stack", &filter, fills_stack, large),
        row("8,000 jumps wait over 8 full frames", &probe, || full_frames(8_000), "accept 17889"),
        row("may_goto in may_goto", &filter, || may_goto(4), "accept 50"),
        row("30,000 sizes in one register", &probe, || sizes(30_000), "accept 150003"),
        row("400 numbers that matter after long code", &probe, late, "accept 302423"),
        row("rounds that change eight full frames", &probe, || changed_frames(60_000), large),
        row("200 values that may be null", &maps, || nulls(200), "accept 1379"),
    ]
}

/// A sum of powers of two, each added or not; whether it is looked at in the end.
fn sums(count: u32, matters: bool) -> String {
    let mut code = String::from("    r6 = 0\n");
    for i in 0..count {
        code += "    call get_prandom_u32\n";
        code +=
            &format!("    r7 = {} ll\n    if r0 == 0 goto a{i}\n    r6 += r7\na{i}:\n", 1u64 << i);
    }
    if matters {
        code += "    r7 = 0x123456789a ll\n    if r6 == r7 goto out\n";
    }
    code + "    r0 = 0\nout:\n    r0 = 0\n    exit"
}

fn nested_loops(rounds: u32) -> String {
    format!(
        "    r6 = 0\na:\n    r7 = 0\nb:\n    r8 = 0\nc:\n    r8 += 1\n    if r8 < {rounds} goto c\n    r7 += 1\n    \
         if r7 < {rounds} goto b\n    r6 += 1\n    if r6 < {rounds} goto a\n    r0 = 0\n    exit"
    )
}

fn counted(rounds: u32) -> String {
    format!(
        "    r0 = 0\n    r1 = 0\na:\n    r1 += 3\n    r0 += 1\n    if r0 < {rounds} goto a\n    r0 = 0\n    exit"
    )
}

/// Functions that call the next one twice and add to its result what branches decide.
fn calls_twice(frames: u32, branches: u32) -> String {
    let mut code = String::new();
    for frame in 0..frames {
        code += &format!("f{frame}:\n    r6 = {frame}\n");
        for i in 0..branches {
            code += &format!("    call get_prandom_u32\n    if r0 > 9 goto b{frame}_{i}\n");
            code += &format!("    r6 += {}\nb{frame}_{i}:\n", 1u64 << (frame * branches + i));
        }
        if frame + 1 < frames {
            let next = frame + 1;
            code += &format!("    call f{next}\n    r6 += r0\n    call f{next}\n    r6 += r0\n");
        }
        code += "    if r6 == 0x7654321 goto +0\n    r0 = r6\n";
        code += if frame == 0 { "    r0 = 0\n    exit\n" } else { "    exit\n" };
    }
    code.trim_end().to_string()
}

/// So many functions, each called once.
fn functions(count: u32) -> String {
    let mut code = String::new();
    for i in 1..count {
        code += &format!("    call f{i}\n");
    }
    code += "    r0 = 0\n    exit\n";
    for i in 1..count {
        code += &format!("f{i}:\n    r0 = {i}\n    exit\n");
    }
    code.trim_end().to_string()
}

fn callback_types(callbacks: u32) -> String {
    let mut types = String::from("type socket_filter\nfunc main global int ctx");
    for i in 0..callbacks {
        types += &format!("\nfunc c{i} static int u32 mem:8");
    }
    types
}

/// Callbacks that loop over the next one, with a branch that changes their number.
fn callbacks(count: u32) -> String {
    let looped = |i: u32| {
        format!(
            "    r1 = 8\n    r2 = subprog[c{i}]\n    r3 = r10\n    r3 += -8\n    r4 = 0\n    call bpf_loop\n"
        )
    };
    let mut code = String::from("    *(u64 *)(r10 - 8) = 0\n");
    code += &looped(0);
    code += "    r0 = 0\n    exit\n";
    for i in 0..count {
        code +=
            &format!("c{i}:\n    r6 = *(u64 *)(r2 + 0)\n    r7 = r2\n    *(u64 *)(r10 - 8) = r6\n");
        code += &format!("    call get_prandom_u32\n    if r0 > 3 goto d{i}\n    r6 += 1\nd{i}:\n");
        code += "    *(u64 *)(r7 + 0) = r6\n";
        if i + 1 < count {
            code += &looped(i + 1);
        }
        code += "    r0 = 0\n    exit\n";
    }
    code.trim_end().to_string()
}

fn straight(count: usize) -> String {
    "    r0 = 0\n".repeat(count - 1) + "    exit"
}

/// Branches that wait until the end of the program is reached.
fn waiting(count: u32) -> String {
    let mut code = String::from("    call get_prandom_u32\n");
    for i in 0..count {
        code += &format!("    if r0 == {i} goto out\n");
    }
    code + "    r0 = 1\nout:\n    r0 = 0\n    exit"
}

/// Cases that meet with different numbers, which then matter.
fn switch(count: u32) -> String {
    let mut code = String::from("    call get_prandom_u32\n    r6 = 0\n");
    for i in 0..count {
        code += &format!("    if r0 == {i} goto c{i}\n");
    }
    code += "    goto out\n";
    for i in 0..count {
        code += &format!("c{i}:\n    r6 = {}\n    goto out\n", i + 7);
    }
    code += "out:\n    r7 = r6\n    r7 *= 3\n    r8 = r7\n    r8 ^= 5\n    if r8 == 77 goto end\n";
    code + "    if r6 == 78 goto end\nend:\n    r0 = 0\n    exit"
}

/// Rounds in which every slot of the stack gets a number that differs from round to round.
fn fills_stack() -> String {
    let mut code = String::from("    r6 = 0\na:\n    r6 += 1\n    r7 = r6\n");
    for slot in 1..=SLOTS {
        code += &format!("    r7 += {slot}\n    *(u64 *)(r10 - {}) = r7\n", slot * 8);
    }
    code += "    call get_prandom_u32\n    if r0 == 0 goto b\n    r6 += 1\nb:\n";
    for slot in (1..=SLOTS).step_by(8) {
        code +=
            &format!("    r1 = *(u64 *)(r10 - {})\n    if r1 == 0x1234567 goto out\n", slot * 8);
    }
    code + "    if r6 < 1000000 goto a\nout:\n    r0 = 0\n    exit"
}

/// Eight frames, each full of numbers that are not known, above branches that wait.
fn full_frames(count: u32) -> String {
    let mut code = String::new();
    for frame in 0..8 {
        code += &format!("f{frame}:\n    call get_prandom_u32\n    r6 = r0\n");
        for slot in 1..=SLOTS {
            code += &format!("    r6 += {slot}\n    *(u64 *)(r10 - {}) = r6\n", slot * 8);
        }
        if frame < 7 {
            code += &format!("    call f{}\n", frame + 1);
        } else {
            code += "    call get_prandom_u32\n";
            for i in 0..count {
                code += &format!("    if r0 == {i} goto out\n");
            }
            code += "out:\n";
        }
        for slot in 1..=SLOTS {
            code += &format!("    r1 = *(u64 *)(r10 - {})\n    r0 += r1\n", slot * 8);
        }
        code += if frame == 0 { "    r0 = 0\n    exit\n" } else { "    exit\n" };
    }
    code.trim_end().to_string()
}

fn may_goto(depth: u32) -> String {
    let mut code = String::from("    r6 = 0\n");
    for i in 0..depth {
        code += &format!(
            "l{i}:\n    may_goto o{i}\n    call get_prandom_u32\n    if r0 > 7 goto s{i}\n    r6 += 1\ns{i}:\n"
        );
    }
    for i in (0..depth).rev() {
        code += &format!("    goto l{i}\no{i}:\n");
    }
    code + "    r0 = 0\n    exit"
}

/// Results of look-ups, of which none is known to be there until the end.
fn nulls(count: u32) -> String {
    let mut code = String::from("    *(u32 *)(r10 - 4) = 0\n    r6 = 0\n");
    for i in 0..count {
        code += "    r2 = r10\n    r2 += -4\n    r1 = map[idx:0]\n    call map_lookup_elem\n";
        let slot = 2 + i % 50;
        code += &format!("    *(u64 *)(r10 - {}) = r0\n", slot * 8);
    }
    for slot in 2..52 {
        code += &format!("    r1 = *(u64 *)(r10 - {0})\n    if r1 == 0 goto n{slot}\n", slot * 8);
        code += &format!("    r2 = *(u64 *)(r1 + 0)\n    r6 += r2\nn{slot}:\n");
    }
    code + "    r0 = 0\n    exit"
}

/// Calls without a branch between them, each of which makes a number matter that was set at the start.
fn sizes(count: u32) -> String {
    let call = "    r1 = r10\n    r1 += -8\n    r2 = r6\n    r3 = 0\n    call probe_read_kernel\n";
    "    r6 = 8\n".to_string() + &call.repeat(count as usize) + "    r0 = 0\n    exit"
}

/// Numbers on the stacks of eight frames that come to matter after much code.
fn late() -> String {
    let mut code = String::new();
    for frame in 0..8 {
        code += &format!("f{frame}:\n    call get_prandom_u32\n    r6 = r0\n");
        for slot in 1..=SLOTS {
            code += &format!("    r6 += {slot}\n    *(u64 *)(r10 - {}) = r6\n", slot * 8);
        }
        code += &match frame {
            7 => "    r6 += 1\n".repeat(300_000),
            _ => format!("    call f{}\n", frame + 1),
        };
        for slot in 1..=SLOTS {
            code += &format!(
                "    r1 = *(u64 *)(r10 - {0})\n    if r1 == {slot} goto o{frame}\n",
                slot * 8
            );
        }
        code += &format!("o{frame}:\n    r0 = 0\n    exit\n");
    }
    code.trim_end().to_string()
}

/// Eight full frames; every round of a loop in the last one changes a number in each of them.
fn changed_frames(rounds: u32) -> String {
    let mut code = String::new();
    for frame in 0..8 {
        code += &format!("f{frame}:\n    r7 = r1\n    call get_prandom_u32\n    r6 = r0\n");
        for slot in 1..=SLOTS {
            code += &format!("    r6 += {slot}\n    *(u64 *)(r10 - {}) = r6\n", slot * 8);
        }
        if frame < 7 {
            // Each frame's pointer to its stack lies in the frame below.
            code +=
                &format!("    *(u64 *)(r10 - 472) = r7\n    r1 = r10\n    call f{}\n", frame + 1);
        } else {
            code += "    r6 = 0\na:\n    r6 += 1\n    *(u64 *)(r10 - 8) = r6\n    r8 = r7\n";
            for up in 0..7 {
                code += "    *(u64 *)(r8 - 8) = r6\n";
                if up < 6 {
                    code += "    r8 = *(u64 *)(r8 - 472)\n";
                }
            }
            code += &format!("    if r6 < {rounds} goto a\n");
        }
        code += "    r0 = 0\n    exit\n";
    }
    code.trim_end().to_string()
}
