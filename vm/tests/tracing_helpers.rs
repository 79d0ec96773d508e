//! Helpers that ask the world about memory, stacks, the current task and the probe.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::PidTgid;
use ebpfvm::host::Space;
use ebpfvm::host::world::{PidNamespace, Task};
use ebpfvm::map::CgroupArray;
use ebpfvm::spec::linux::helper_id;
use ebpfvm::spec::map::{MapDef, MapType};
use ebpfvm::spec::{ProgType, Program, load_flags};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, MapRef, Vm, World};
use std::num::NonZeroU64;
use std::sync::Arc;

/// The helpers' numbers in place of their names.
fn numbered(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim().strip_prefix("call ") {
        Some(name) => format!("call {}\n", helper_id(name).expect("a helper")),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Runs a kprobe's program with and without checks; the value returned.
fn probe(vm: &Vm, map: Option<&MapDef>, prepare: impl Fn(&[MapRef]), body: &str) -> i64 {
    let code = assemble(&numbered(body), Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("test", ProgType::Kprobe, code);
    program.license = "GPL".into();
    program.maps = map.into_iter().cloned().collect();
    let maps: Vec<MapRef> = map.into_iter().map(|def| vm.create_map(def).unwrap()).collect();
    prepare(&maps);
    let verdict = vm.verify(program, &Options::default()).verdict;
    let accepted = verdict.unwrap_or_else(|rejection| panic!("{rejection:?}"));
    let instance = vm.link_verified(accepted, &maps).expect("it can be linked");
    let mut context = vm.context(ProgType::Kprobe, &[]).unwrap();
    context.set_field("func_ip", 0xffff_ffff_8100_0000).unwrap();
    context.set_field("cookie", 99).unwrap();
    let fast = instance.run(&mut context, DEFAULT_FUEL).expect("it runs").retval as i64;
    let checked = instance.run_checked(&mut context, DEFAULT_FUEL).expect("checked").retval;
    assert_eq!(fast, checked as i64, "{body}");
    fast
}

/// Runs a program that stores numbers in the 64 bytes of its argument, with and without checks;
/// `call NAME` calls a helper. The value returned, and the bytes.
fn run(world: World, maps: &[MapDef], prepare: impl Fn(&[MapRef]), text: &str) -> (i64, Vec<u8>) {
    let vm = Vm::linux().host(Arc::new(world)).build();
    let code = assemble(&numbered(text), Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("test", ProgType::Syscall, code);
    program.flags = load_flags::SLEEPABLE;
    program.maps = maps.to_vec().into();
    let verdict = vm.verify(program, &Options::default()).verdict;
    let accepted = verdict.unwrap_or_else(|rejection| panic!("{rejection:?}"));
    let maps: Vec<MapRef> = maps.iter().map(|def| vm.create_map(def).unwrap()).collect();
    prepare(&maps);
    let instance = vm.link_verified(accepted, &maps).expect("it can be linked");
    assert!(instance.is_verified());
    let context = || Context::linux(ProgType::Syscall, &[0xee; 64]).unwrap();
    let (mut first, mut second) = (context(), context());
    let fast = instance.run(&mut first, DEFAULT_FUEL).expect("it runs");
    let checked = instance.run_checked(&mut second, DEFAULT_FUEL).expect("it runs with checks");
    assert_eq!((fast, first.data_out()), (checked, second.data_out()));
    let mut third = context();
    let retval = instance.run(&mut third, DEFAULT_FUEL).unwrap().retval;
    (retval as i64, third.data_out())
}

/// Calls a helper that reads 16 bytes from an address onto the stack, which is full of 0x11.
fn read(world: World, helper: &str, size: u32, address: u64) -> (i64, Vec<u8>) {
    let text = format!(
        "r6 = r1\nr7 = 0x1111111111111111 ll\n*(u64 *)(r10 - 16) = r7\n*(u64 *)(r10 - 8) = r7\n\
         r1 = r10\nr1 += -16\nr2 = {size}\nr3 = {address:#x} ll\ncall {helper}\n\
         r1 = *(u64 *)(r10 - 16)\n*(u64 *)(r6 + 0) = r1\n\
         r1 = *(u64 *)(r10 - 8)\n*(u64 *)(r6 + 8) = r1\nexit"
    );
    let (retval, mut out) = run(world, &[], |_| {}, &text);
    out.truncate(16);
    (retval, out)
}

const USER: u64 = 0x5555_0000_1000;
const KERNEL: u64 = 0xffff_8880_0000_1000;
const EFAULT: i64 = -14;
const ERANGE: i64 = -34;
const EINVAL: i64 = -22;

fn world() -> World {
    World::new().memory(Space::User, USER, *b"user memory\0 and more").memory(
        Space::Kernel,
        KERNEL,
        *b"kernel\0",
    )
}

#[test]
fn memory_is_read_where_the_world_has_it_and_zeroed_elsewhere() {
    let zeros = vec![0; 16];
    for helper in ["probe_read_user", "copy_from_user"] {
        assert_eq!(read(world(), helper, 16, USER), (0, b"user memory\0 and".to_vec()));
        assert_eq!(read(world(), helper, 16, USER + 6), (EFAULT, zeros.clone()));
        assert_eq!(read(world(), helper, 16, KERNEL), (EFAULT, zeros.clone()));
    }
    assert_eq!(read(world(), "copy_from_user", 0, KERNEL), (0, vec![0x11; 16]));
    assert_eq!(read(world(), "probe_read_user", 0, KERNEL), (EFAULT, vec![0x11; 16]));
    let (retval, out) = read(world(), "probe_read_kernel", 7, KERNEL);
    assert_eq!((retval, &out[..8]), (0, &b"kernel\0\x11"[..]));
    assert_eq!(read(world(), "probe_read_kernel", 8, KERNEL).0, EFAULT);
    assert_eq!(read(world(), "probe_read_kernel", 8, USER).0, ERANGE);
    // The old form looks at the address.
    assert_eq!(read(world(), "probe_read", 4, USER).0, 0);
    assert_eq!(read(world(), "probe_read", 4, KERNEL).0, 0);
    assert_eq!(read(world(), "probe_read", 4, 0).0, EFAULT);
}

#[test]
fn strings_end_with_a_zero_and_zeros_fill_their_last_word() {
    let expected = b"user memory\0\0\0\0\0".to_vec();
    assert_eq!(read(world(), "probe_read_user_str", 16, USER), (12, expected));
    // There is no room for the second word: its bytes come one by one.
    let expected = b"user memory\0\x11\x11\x11\x11".to_vec();
    assert_eq!(read(world(), "probe_read_user_str", 15, USER), (12, expected));
    let expected = b"use\0\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11".to_vec();
    assert_eq!(read(world(), "probe_read_user_str", 4, USER), (4, expected));
    let (retval, out) = read(world(), "probe_read_kernel_str", 16, KERNEL);
    assert_eq!((retval, &out[..8]), (7, &b"kernel\0\x11"[..]));
    assert_eq!(read(world(), "probe_read_str", 16, KERNEL).0, 7);
    assert_eq!(read(world(), "probe_read_str", 16, USER).0, 12);
    let unending = world().memory(Space::User, 0x1000, [b'x'; 8]);
    assert_eq!(read(unending, "probe_read_user_str", 16, 0x1000), (EFAULT, vec![0; 16]));
}

#[test]
fn formats_read_strings_of_the_world() {
    let mut format = b"[%s] [%pks] [%pus] [%s]\0".to_vec();
    format.resize(24, 0);
    let def = MapDef {
        origin: ebpfvm::spec::map::MapOrigin::Section {
            section: ".rodata".into(),
            data: format.into(),
        },
        flags: ebpfvm::spec::MapFlags(ebpfvm::spec::MapFlags::RDONLY_PROG),
        ..MapDef::new("text", MapType::Array, 4, 24, 1)
    };
    let text = format!(
        "r6 = r1\nr1 = {USER:#x} ll\n*(u64 *)(r10 - 32) = r1\nr1 = {KERNEL:#x} ll\n\
         *(u64 *)(r10 - 24) = r1\nr1 = {USER:#x} ll\n*(u64 *)(r10 - 16) = r1\n\
         r1 = 16\n*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -96\nr2 = 64\nr3 = map[idx:0][0]+0\n\
         r4 = r10\nr4 += -32\nr5 = 32\ncall snprintf\nr7 = r0\n\
         r1 = *(u64 *)(r10 - 96)\n*(u64 *)(r6 + 0) = r1\nr1 = *(u64 *)(r10 - 88)\n\
         *(u64 *)(r6 + 8) = r1\nr1 = *(u64 *)(r10 - 80)\n*(u64 *)(r6 + 16) = r1\n\
         r1 = *(u64 *)(r10 - 72)\n*(u64 *)(r6 + 24) = r1\n\
         r1 = *(u64 *)(r10 - 64)\n*(u64 *)(r6 + 32) = r1\nr0 = r7\nexit"
    );
    let (retval, out) = run(world(), &[def], |_| {}, &text);
    let expected = b"[user memory] [kernel] [user memory] []\0";
    assert_eq!((retval, &out[..40]), (40, &expected[..]), "{}", String::from_utf8_lossy(&out));
}

#[test]
fn the_task_is_asked_about_its_namespace_and_cgroups() {
    let task = Task::new(500, "worker").cgroups(["/", "/a", "/a/b"]).pid_namespace(PidNamespace {
        dev: 4,
        ino: 9,
        id: PidTgid { pid: 3, tgid: 2 },
    });
    let world = || World::new().task(task.clone());
    let ask = |dev: u64, ino: u64, size: u64| {
        let text = format!(
            "r6 = r1\nr1 = {dev} ll\nr2 = {ino} ll\nr3 = r10\nr3 += -8\nr4 = -1\n\
             *(u64 *)(r10 - 8) = r4\nr4 = {size}\ncall get_ns_current_pid_tgid\n\
             r1 = *(u64 *)(r10 - 8)\n*(u64 *)(r6 + 0) = r1\nexit"
        );
        let (retval, out) = run(world(), &[], |_| {}, &text);
        (retval, u64::from_le_bytes(out[..8].try_into().unwrap()))
    };
    assert_eq!(ask(4, 9, 8), (0, 2 << 32 | 3));
    assert_eq!(ask(4, 8, 8), (EINVAL, 0));
    assert_eq!(ask(1 << 32 | 4, 9, 8), (EINVAL, 0));
    assert_eq!(ask(4, 9, 4), (EINVAL, 0xffff_ffff_0000_0000));
    for (level, id) in [(0, 1), (2, 3), (3, 0), (-1, 0)] {
        let text = format!("r1 = {level}\ncall get_current_ancestor_cgroup_id\nexit");
        assert_eq!(run(world(), &[], |_| {}, &text).0, id);
    }
    let def = MapDef::new("groups", MapType::CgroupArray, 4, 4, 3);
    let fill = |maps: &[MapRef]| {
        let groups: &CgroupArray = maps[0].as_kind().unwrap();
        groups.set(0, NonZeroU64::new(2).unwrap()).unwrap();
        groups.set(1, NonZeroU64::new(7).unwrap()).unwrap();
    };
    let vm = Vm::linux().host(Arc::new(world())).build();
    for (index, expected) in [(0, 1), (1, 0), (2, -11), (3, -7)] {
        let text = format!("r1 = map[idx:0]\nr2 = {index}\ncall current_task_under_cgroup\nexit");
        assert_eq!(probe(&vm, Some(&def), fill, &text), expected);
    }
}

/// Kprobe programs: what the probe hit, and the stacks there.
#[test]
fn probes_know_their_function_their_cookie_and_the_stacks() {
    let world =
        World::new().stack(Space::Kernel, [0xa1, 0xa2, 0xa3]).stack(Space::User, [0xb1, 0xb2]);
    let vm = Vm::linux().host(Arc::new(world)).build();
    let stacks = MapDef::new("stacks", MapType::StackTrace, 4, 16, 8);
    let run = |body: &str| {
        let map = Some(&stacks).filter(|_| body.contains("map[idx"));
        probe(&vm, map, |_| {}, body)
    };
    assert_eq!(run("call get_func_ip\nexit") as u64, 0xffff_ffff_8100_0000);
    assert_eq!(run("call get_attach_cookie\nexit"), 99);
    let get = |size: u32, flags: u64, after: &str| {
        run(&format!(
            "r2 = -1\n*(u64 *)(r10 - 24) = r2\n*(u64 *)(r10 - 16) = r2\n*(u64 *)(r10 - 8) = r2\n\
             r2 = r10\nr2 += -24\nr3 = {size}\nr4 = {flags}\ncall get_stack\n{after}exit"
        ))
    };
    let frame = |at: i32| format!("r0 = *(u64 *)(r10 {at})\n");
    assert_eq!(get(24, 0, ""), 24);
    assert_eq!(get(24, 0, &frame(-24)), 0xa1);
    assert_eq!(get(16, 1, &frame(-16)), 0xa3);
    assert_eq!((get(24, 2, ""), get(24, 2, &frame(-16))), (8, 0));
    assert_eq!((get(24, 3, ""), get(24, 4, "")), (0, EFAULT));
    assert_eq!((get(24, 256, ""), get(24, 256, &frame(-16))), (16, 0xb2));
    assert_eq!((get(20, 0, ""), get(24, 0x200, ""), get(24, 0x800, "")), (EINVAL, EINVAL, EINVAL));
    let id = |flags: u64, after: &str| {
        run(&format!("r6 = r1\nr2 = map[idx:0]\nr3 = {flags}\ncall get_stackid\n{after}exit"))
    };
    assert!((0..8).contains(&id(0, "")));
    assert_ne!(id(0, ""), id(256, ""));
    assert_eq!((id(3, ""), id(0x800, "")), (EFAULT, EINVAL));
    let again = "r7 = r0\nr1 = r6\nr2 = map[idx:0]\nr3 = 0\ncall get_stackid\nr0 -= r7\n";
    assert_eq!(id(0, again), 0);
}
