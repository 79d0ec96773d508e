//! Programs of type `sk_lookup`: what they see of the packet, and which sockets they may choose.

use crate::kernel;
use crate::program::{Case, save};
use crate::world::{Pairs, Random};
use ebpfvm::Context;
use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::MapDef;
use ebpfvm_kernel::{MapRequest, TestRun};
use ebpfvm_spec::{MapType, ProgType};
use std::fmt::Write as _;

/// Fields of `struct bpf_sk_lookup`: name and offset in 4-byte words.
const FIELDS: &[(&str, usize)] = &[
    ("family", 2),
    ("protocol", 3),
    ("remote_ip4", 4),
    ("remote_ip6[0]", 5),
    ("remote_ip6[1]", 6),
    ("remote_ip6[2]", 7),
    ("remote_ip6[3]", 8),
    ("remote_port", 9),
    ("local_ip4", 10),
    ("local_ip6[0]", 11),
    ("local_ip6[1]", 12),
    ("local_ip6[2]", 13),
    ("local_ip6[3]", 14),
    ("local_port", 15),
    ("ingress_ifindex", 16),
];

#[test]
fn lookups_choose_the_sockets_that_the_kernel_lets_them() {
    let test = "lookups_choose_the_sockets_that_the_kernel_lets_them";
    let Some(kernel) = kernel(test) else { return };
    let (pairs, random) = (Pairs::make(), Random::new(9));
    let vms = pairs.vms();
    let count = pairs.here.len();
    let theirs = kernel.map_create(&MapRequest::new(MapType::Sockmap, 4, 8, count as u32));
    let theirs = theirs.expect("a map of sockets");
    let ours = vms[0].create_map(&MapDef::new("sockets", MapType::Sockmap, 4, 8, count as u32));
    let ours = ours.expect("a map of sockets");
    for (i, (fd, socket)) in pairs.fds.iter().zip(&pairs.here).enumerate() {
        let key = (i as u32).to_ne_bytes();
        theirs.update(&key, &(*fd as u64).to_ne_bytes(), 0).expect("the map takes it");
        ours.set_socket(&key, socket.clone(), UpdateFlags::ANY).expect("the map takes it");
    }
    let (mut chosen, mut differences) = (0, String::new());
    const ROUNDS: usize = 1500;
    for _ in 0..ROUNDS {
        let mut words = [0u32; 18];
        let v6 = random.below(2) == 1;
        words[2] = if v6 { 10 } else { 2 };
        words[3] = random.of(&[6, 17, 6, 17, 1]);
        let number = || u32::from_ne_bytes(random.bytes(4).try_into().expect("4 bytes"));
        for (name, at) in FIELDS {
            match (name.contains("ip4"), name.contains("ip6")) {
                (true, _) if !v6 => words[*at] = number(),
                (_, true) if v6 => words[*at] = number(),
                _ if name.ends_with("port") => words[*at] = number() & 0xffff,
                _ => {}
            }
        }
        let mut source = String::new();
        for (i, (_, at)) in FIELDS.iter().enumerate() {
            let _ = write!(source, "r1 = *(u32 *)(r6 + {})\n{}", 4 * at, save("r1", i));
        }
        let mut result = FIELDS.len();
        // Two sockets after each other, then none; what is chosen is seen in the context.
        for round in 0..3 {
            let (key, flags) = (random.below(count + 1), random.of(&[0u64, 0, 1, 2, 3, 4]));
            let _ = write!(
                source,
                "*(u32 *)(r10 - 4) = {key}\nr1 = map[idx:1]\nr2 = r10\nr2 += -4\ncall 1\n\
                 if r0 == 0 goto none{round}\nr7 = r0\nr1 = r6\nr2 = r7\nr3 = {flags}\ncall 124\n{}\
                 r1 = r7\ncall 86\nnone{round}:\nr1 = *(u64 *)(r6 + 0)\nif r1 == 0 goto bare{round}\n\
                 r2 = *(u32 *)(r1 + 44)\n{}bare{round}:\n",
                save("r0", result),
                save("r2", result + 1),
            );
            result += 2;
        }
        if random.below(3) == 0 {
            let flags = random.below(2);
            let _ =
                write!(source, "r1 = r6\nr2 = 0\nr3 = {flags}\ncall 124\n{}", save("r0", result));
        }
        let _ = writeln!(source, "r0 = {}\nexit", random.below(2));
        let case = Case { prog_type: ProgType::SkLookup, source };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let run = TestRun { ctx_in: &bytes, ..TestRun::default() };
        let in_kernel = case.in_kernel(&kernel, &[&theirs], &[], &run);
        let context = || {
            let mut ctx = Context::linux(ProgType::SkLookup, &[]).expect("a context");
            for (name, at) in FIELDS {
                ctx.set_field(name, words[*at].into()).expect("a field");
            }
            ctx
        };
        let here = case.here(&vms, std::slice::from_ref(&ours), &[], context);
        if in_kernel != here {
            let _ = writeln!(
                differences,
                "{}\n  kernel {in_kernel:?}\n  here   {here:?}",
                case.source.replace('\n', "; ")
            );
        }
        chosen += usize::from(in_kernel.is_ok_and(|ran| ran.results[FIELDS.len() + 1] != 0));
    }
    let shown: String = differences.lines().take(12).map(|line| format!("{line}\n")).collect();
    let wrong = differences.lines().count() / 3;
    assert!(wrong == 0, "{wrong} of {ROUNDS} programs differ\n{shown}");
    assert!(chosen > 50, "only {chosen} of {ROUNDS} programs choose a socket");
    eprintln!("{ROUNDS} programs, {chosen} choose a socket at first");
}
