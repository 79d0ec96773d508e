//! What programs do with maps: the same program on the same packets, here and as the kernel's test
//! run, with operations of the host in between.
//!
//! Per-CPU maps are left out: the kernel chooses on which CPU a test run takes place.

use crate::cases::{Case, Numbers, cases, value};
use crate::judge::create_theirs;
use crate::operations::{OPERATIONS, contents, step};
use crate::typed;
use ebpfvm::map::{Map, MapLimits, MapRef};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, Instance, Vm};
use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_kernel::prog::TestRun;
use ebpfvm_kernel::{Kernel, LoadRequest, Map as KernelMap, Prog, linux_6_18_or_skip};
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::{MapDef, MapFlags, MapType, ProgType, Program};
use std::sync::Arc;

/// Where a packet has the key.
const KEY: usize = 16;

/// Where a packet has its parts, in bytes.
struct Packet {
    value: usize,
    flags: usize,
    bytes: usize,
}

impl Packet {
    fn of(def: &MapDef) -> Packet {
        let value = KEY + (def.key_bytes as usize).next_multiple_of(8);
        let flags = value + (def.value_bytes as usize).next_multiple_of(8);
        Packet { value, flags, bytes: flags + 8 }
    }
}

/// A byte of values that is data.
fn data_byte(def: &MapDef) -> u32 {
    let special =
        |byte: &u32| def.special.iter().any(|f| (f.offset..f.offset + f.bytes).contains(byte));
    (0..def.value_bytes).rev().find(|byte| !special(byte)).unwrap_or(u32::MAX)
}

/// What a program does with `r6` at the packet; its result is what it returns.
fn bodies(def: &MapDef, packet: &Packet) -> Vec<String> {
    let key = format!("r2 = r6\nr2 += {KEY}");
    let value = |reg: u8| format!("r{reg} = r6\nr{reg} += {}", packet.value);
    let flags = |reg: u8| format!("r{reg} = *(u64 *)(r6 + {})", packet.flags);
    if def.key_bytes == 0 {
        let buffer = def.value_bytes.next_multiple_of(8);
        let zeros: String =
            (1..=buffer / 8).map(|i| format!("*(u64 *)(r10 - {}) = 0\n", i * 8)).collect();
        let first = |helper: u32| {
            format!(
                "{zeros}r2 = r10\nr2 += -{buffer}\ncall {helper}\nr0 <<= 8\n\
                 r1 = *(u8 *)(r10 - {buffer})\nr0 |= r1"
            )
        };
        let push = format!("{}\n{}\ncall 87", value(2), flags(3));
        if def.map_type == MapType::BloomFilter {
            // Strangers may be in one filter and not in the other; members are in both.
            let at = packet.value;
            let member = format!(
                "{push}\nif r0 != 0 goto out\nr2 = *(u64 *)(r6 + {at})\n*(u64 *)(r10 - 8) = r2\n\
                 r1 = MAP\nr2 = r10\nr2 += -8\ncall 89"
            );
            return vec![push, member];
        }
        return vec![push.clone(), push, first(88), first(89)];
    }
    let found = |act: &str| format!("{key}\ncall 1\nif r0 == 0 goto out\n{act}");
    let update = format!("{key}\n{}\n{}\ncall 2", value(3), flags(4));
    let mut bodies = vec![update.clone(), update, format!("{key}\ncall 3")];
    let byte = data_byte(def);
    if byte < def.value_bytes {
        bodies.push(found(&format!("r0 = *(u8 *)(r0 + {byte})\nr0 += 256")));
        bodies.push(found(&format!("r1 = 7\n*(u8 *)(r0 + {byte}) = r1\nr0 = 1")));
        if let Some(lock) = def.special.iter().find(|f| f.kind == SpecialKind::SpinLock) {
            let at = lock.offset;
            bodies.push(found(&format!(
                "r7 = r0\nr1 = r7\nr1 += {at}\ncall 93\nr8 = *(u8 *)(r7 + {byte})\nr8 += 1\n\
                 *(u8 *)(r7 + {byte}) = r8\nr1 = r7\nr1 += {at}\ncall 94\nr0 = r8"
            )));
        }
    }
    bodies
}

fn text(body: &str, packet: &Packet, map: &str) -> String {
    let text = format!(
        "r6 = *(u32 *)(r1 + 76)\nr2 = *(u32 *)(r1 + 80)\nr3 = r6\nr3 += {}\nr0 = 77\n\
         if r3 > r2 goto out\nr1 = MAP\n{body}\nout:\nexit",
        packet.bytes
    );
    text.replace("MAP", map)
}

/// A program on both sides.
struct Pair {
    what: String,
    our: Arc<Instance>,
    their: Prog,
}

fn pairs(vm: &Vm, kernel: &Kernel, case: &Case, our: &MapRef, their: &KernelMap) -> Vec<Pair> {
    let packet = Packet::of(&case.def);
    let pair = |body: String| {
        let ours = text(&body, &packet, "map[idx:0]");
        let code = assemble(&ours, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{ours}"));
        let mut program = Program::from_code("p", ProgType::SchedCls, code);
        program.maps = [case.def.clone()].into();
        program.btf = case.types.clone().map(Arc::new);
        let judgement = vm.verify(program, &Options::default());
        let accepted = judgement.verdict.unwrap_or_else(|e| panic!("{e}\n{ours}"));
        let our = vm.link_verified(accepted, std::slice::from_ref(our)).unwrap();
        let theirs = text(&body, &packet, &format!("map[fd:{}]", their.fd()));
        let code = assemble(&theirs, Dialect::PseudoC).unwrap();
        let bytes = code.to_bytes(ByteOrder::HOST).unwrap();
        let their = kernel.prog_load(&LoadRequest {
            license: "GPL",
            log_level: 1,
            ..LoadRequest::new(ProgType::SchedCls, &bytes)
        });
        let their = their.unwrap_or_else(|e| panic!("{e}\n{}\n{theirs}", e.log));
        Pair { what: body, our, their }
    };
    bodies(&case.def, &packet).into_iter().map(pair).collect()
}

/// Maps that programs of every type may write to, whatever user space may.
fn open(case: &Case) -> bool {
    use MapType::*;
    let sides = MapFlags::RDONLY | MapFlags::WRONLY;
    let kinds = [Array, Hash, LruHash, LpmTrie, Queue, Stack, BloomFilter];
    kinds.contains(&case.def.map_type) && case.def.flags.0 & sides == 0
}

#[test]
fn programs_do_the_same() {
    let Some(kernel) = linux_6_18_or_skip("programs_do_the_same") else { return };
    let vms = [Engine::Interpreter, Engine::Jit].map(|engine| Vm::linux().engine(engine).build());
    let mut numbers = Numbers(0x1357_9bdf_0246_8ace);
    let mut runs = 0;
    for case in cases().into_iter().chain(typed::cases()).filter(open) {
        let our = Map::create(&case.def, 1, &MapLimits::default()).unwrap();
        let their = create_theirs(&kernel, &case);
        let pairs: Vec<Pair> =
            vms.iter().flat_map(|vm| pairs(vm, &kernel, &case, &our, &their)).collect();
        let packet = Packet::of(&case.def);
        for i in 0..OPERATIONS {
            let what = format!("{}, step {i}", case.def.map_type.name());
            if numbers.below(4) == 0 {
                step(&case, &our, &their, &mut numbers, &what);
                continue;
            }
            let pair = &pairs[numbers.below(pairs.len())];
            let mut data = vec![0; packet.bytes];
            let key = &case.keys[numbers.below(case.keys.len())];
            data[KEY..][..key.len()].copy_from_slice(key);
            let bytes = case.def.value_bytes as usize;
            data[packet.value..][..bytes].copy_from_slice(&value(&case.def, bytes, &mut numbers));
            let flags: u64 =
                [0, 0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 16, 1 << 40][numbers.below(15)];
            data[packet.flags..].copy_from_slice(&flags.to_ne_bytes());
            let mut context = Context::packet(ProgType::SchedCls, &data).unwrap();
            let got = match numbers.below(2) {
                0 => pair.our.run(&mut context, DEFAULT_FUEL),
                _ => pair.our.run_checked(&mut context, DEFAULT_FUEL),
            };
            let request = TestRun { data_in: &data, ..TestRun::default() };
            let expected = pair.their.test_run(&request).unwrap();
            let got = got.unwrap().retval as u32;
            assert_eq!(got, expected.retval, "{what}, {key:x?}, flags {flags}:\n{}", pair.what);
            runs += 1;
        }
        if let Ok(entries) = their.entries() {
            let our_entries = our.entries().collect();
            assert_eq!(contents(&case, our_entries), contents(&case, entries), "{:?}", case.def);
        }
    }
    eprintln!("{runs} runs of programs");
}
