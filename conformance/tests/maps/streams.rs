//! What programs leave in maps, or take out of them: stacks, and samples of user space.

use crate::cases::Numbers;
use crate::judge::{ours, present, request, theirs};
use crate::operations::OPERATIONS;
use ebpfvm::map::user_ringbuf::Reservation;
use ebpfvm::map::{Map, MapLimits, Ringbuf, StackTrace, UserRingbuf};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, Instance, MapRef, Vm};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Code, Pc};
use ebpfvm_kernel::prog::FuncRecord;
use ebpfvm_kernel::user_ring::{Commit, Reserved};
use ebpfvm_kernel::{
    Kernel, LoadRequest, Map as KernelMap, MapRequest, Prog, RingBuffer, TestRun, UserRingBuffer,
    linux_6_18_or_skip,
};
use ebpfvm_loader::encode_btf;
use ebpfvm_spec::btf::{Btf, BtfBuilder, IntEncoding, Kind, Linkage, Name};
use ebpfvm_spec::{Errno, FuncInfo, MapDef, MapType, ProgType, Program};
use std::collections::VecDeque;
use std::sync::Arc;

fn code(text: &str) -> Code {
    assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Functions that begin at these instructions, and the types that they are of.
fn functions(starts: &[u32]) -> (Vec<FuncInfo>, Btf) {
    let mut builder = BtfBuilder::new();
    let int = builder.intern("int");
    let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
    let int = builder.push(int, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let params = builder.span(Vec::new());
    let proto = builder.push(Name::EMPTY, Kind::FuncProto { ret: int, params });
    let mut function = |at: &u32| {
        let name = format!("function{at}");
        let interned = builder.intern(&name);
        let id = builder.push(interned, Kind::Func { proto, linkage: Linkage::Static });
        FuncInfo { start: Pc(*at), name, type_id: Some(id), is_global: *at == 0 }
    };
    let all = starts.iter().map(&mut function).collect();
    (all, builder.finish().unwrap())
}

fn load(kernel: &Kernel, prog_type: ProgType, text: &str, starts: &[u32]) -> Prog {
    let code = code(text).to_bytes(ByteOrder::HOST).unwrap();
    let (functions, types) = functions(starts);
    let record =
        |f: &FuncInfo| FuncRecord { insn_offset: f.start.0, type_id: f.type_id.unwrap().0 };
    let records: Vec<FuncRecord> = functions.iter().map(record).collect();
    let types = encode_btf(&types, ByteOrder::HOST).unwrap();
    let types = kernel.btf_load(&types, 1).unwrap_or_else(|e| panic!("{e}\n{}", e.log));
    let request = LoadRequest {
        btf: Some(&types),
        func_info: &records,
        log_level: 1,
        ..LoadRequest::new(prog_type, &code)
    };
    kernel.prog_load(&request).unwrap_or_else(|e| panic!("{e}\n{}", e.log))
}

/// The result of a run.
fn run(prog: &Prog) -> i32 {
    prog.test_run(&TestRun { data_in: &[0; 64], ..TestRun::default() }).unwrap().retval as i32
}

/// The stack of a run is the same each time: what differs is how much of it is kept, and of how many.
#[test]
fn stacks_have_the_same_numbers() {
    let Some(kernel) = linux_6_18_or_skip("stacks_have_the_same_numbers") else { return };
    let mut numbers = Numbers(0x1357_9bdf_0246_8ace);
    let number = |result: Result<u32, Errno>| match result {
        Ok(id) => id as i32,
        Err(errno) => -errno.0,
    };
    // One call for all maps and flags: the address behind it is the first of the stack.
    let program = |whole: &KernelMap, map: &KernelMap| {
        let text = format!(
            "r3 = *(u64 *)(r1 + 0)\nr4 = *(u64 *)(r1 + 8)\nr2 = map[fd:{}]\n\
             if r4 == 0 goto ask\nr2 = map[fd:{}]\nask:\ncall 27\nexit",
            whole.fd(),
            map.fd()
        );
        load(&kernel, ProgType::RawTracepoint, &text, &[0])
    };
    let run = |prog: &Prog, flags: u64, map: u64| {
        let arguments = [flags, map].map(u64::to_ne_bytes);
        let request = TestRun { ctx_in: arguments.as_flattened(), ..TestRun::default() };
        prog.test_run(&request).unwrap().retval as i32
    };
    let ips = |value: &[u8]| -> Vec<u64> {
        let words = value.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        words.take_while(|ip| *ip != 0).collect()
    };
    let mut found = 0;
    for (entries, value_bytes) in
        [(1, 8), (1, 80), (2, 40), (3, 16), (4, 80), (64, 24), (1000, 1016)]
    {
        let def = MapDef::new("stacks", MapType::StackTrace, 4, value_bytes, entries);
        let their = kernel.map_create(&request(&def)).unwrap();
        let our = Map::create(&def, 1, &MapLimits::default()).unwrap();
        let stacks = our.as_kind::<StackTrace>().unwrap();
        // The whole stack, from a map that keeps all of it.
        let whole = MapDef::new("whole", MapType::StackTrace, 4, 1016, 1);
        let whole = kernel.map_create(&request(&whole)).unwrap();
        let program = program(&whole, &their);
        assert_eq!(run(&program, 0, 0), 0);
        let stack = ips(&whole.lookup(&[0; 4]).unwrap().unwrap());
        assert!(stack.len() > 3, "{stack:x?}");
        let skips = [0, 1, 2, 3, stack.len() as u64 - 1, stack.len() as u64, 200];
        let flags = skips.iter().flat_map(|skip| [0, 1 << 9, 1 << 10, 3 << 9].map(|f| f | skip));
        let flags: Vec<u64> = flags.chain([1 << 11, 1 << 40]).collect();
        for step in 0..OPERATIONS / 4 {
            let what = format!("{entries} entries of {value_bytes}, step {step}");
            let key = (numbers.below(stacks.slots() as usize + 1) as u32).to_ne_bytes();
            match numbers.below(8) {
                0..4 => {
                    let flags = flags[numbers.below(flags.len())];
                    let expected = run(&program, flags, 1);
                    let got = number(stacks.store(&stack, flags));
                    assert_eq!(got, expected, "{what}: flags {flags:x}");
                    if let Ok(id) = u32::try_from(got) {
                        let expected = present(theirs(their.lookup(&id.to_ne_bytes())));
                        assert_eq!(ours(our.read(&id.to_ne_bytes())), expected, "{what}");
                        found += 1;
                    }
                }
                4 => {
                    let first = present(theirs(their.next_key(None)));
                    assert_eq!(ours(our.next_key(None)), first, "{what}: first key");
                    let key = first.unwrap_or(key.into());
                    let expected = present(theirs(their.lookup_and_delete(&key)));
                    assert_eq!(ours(our.take(&key)), expected, "{what}: take {key:?}");
                }
                5 => {
                    let expected = present(theirs(their.lookup(&key)));
                    assert_eq!(ours(our.read(&key)), expected, "{what}: lookup {key:?}");
                }
                6 => {
                    let expected = theirs(their.delete(&key));
                    assert_eq!(ours(our.remove(&key)), expected, "{what}: delete {key:?}");
                }
                _ => {
                    let expected = present(theirs(their.next_key(Some(&key))));
                    assert_eq!(ours(our.next_key(Some(&key))), expected, "{what}: next {key:?}");
                }
            }
        }
    }
    assert!(found > 1000, "only {found} stacks");
}

/// Takes samples out until one begins with 7: the first 8 bytes of each go to another ring buffer.
fn drain_text(samples: &str, seen: &str, flags: u64) -> String {
    format!(
        "r1 = map[{samples}]\nr2 = subprog[each]\nr3 = 0\nr4 = {flags}\ncall 209\nexit\n\
         each:\nr6 = r1\n*(u64 *)(r10 - 8) = 0\n\
         r1 = r10\nr1 += -8\nr2 = 8\nr3 = r6\nr4 = 0\nr5 = 0\ncall 201\n\
         r1 = map[{seen}]\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 130\n\
         r1 = *(u8 *)(r10 - 8)\nr0 = 0\nif r1 != 7 goto end\nr0 = 1\nend:\nexit"
    )
}

/// Where the functions of [`drain_text`] begin.
const DRAIN_FUNCTIONS: [u32; 2] = [0, 8];

/// The program here, which the verifier accepts.
fn drain_here(vm: &Vm, maps: &[MapRef; 2], flags: u64) -> Arc<Instance> {
    let text = drain_text("idx:0", "idx:1", flags);
    let mut program = Program::from_code("drain", ProgType::SchedCls, code(&text));
    let (functions, types) = functions(&DRAIN_FUNCTIONS);
    program.funcs = functions;
    program.btf = Some(Arc::new(types));
    program.maps = maps.iter().map(|map| map.def().clone()).collect();
    let verdict = vm.verify(program, &Options::default()).verdict;
    let instance = vm.link_verified(verdict.unwrap_or_else(|e| panic!("{e}")), maps).unwrap();
    assert!(instance.is_verified());
    instance
}

#[test]
fn samples_come_alike_and_in_the_same_order() {
    let test = "samples_come_alike_and_in_the_same_order";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let def = MapDef::new("samples", MapType::UserRingbuf, 0, 0, 4096);
    let their = kernel.map_create(&request(&def)).unwrap();
    let mut ring = UserRingBuffer::new(&their).unwrap();
    let seen = kernel.map_create(&MapRequest::new(MapType::Ringbuf, 0, 0, 1 << 16)).unwrap();
    let mut seen_ring = RingBuffer::new(&seen).unwrap();
    let vms = [Engine::Interpreter, Engine::Jit].map(|engine| Vm::linux().engine(engine).build());
    let seen_def = MapDef::new("seen", MapType::Ringbuf, 0, 0, 1 << 16);
    let maps = [&def, &seen_def].map(|def| vms[0].create_map(def).unwrap());
    let our = maps[0].as_kind::<UserRingbuf>().unwrap();
    let our_seen = maps[1].as_kind::<Ringbuf>().unwrap();
    let programs = [0, 1, 2, 3, 4, 1 << 16].map(|flags| {
        let (samples, seen) = (format!("fd:{}", their.fd()), format!("fd:{}", seen.fd()));
        let text = drain_text(&samples, &seen, flags);
        let theirs = load(&kernel, ProgType::SchedCls, &text, &DRAIN_FUNCTIONS);
        (flags, vms.each_ref().map(|vm| drain_here(vm, &maps, flags)), theirs)
    });
    let mut open: VecDeque<(Reservation<'_>, Reserved)> = VecDeque::new();
    let mut numbers = Numbers(0x0fed_cba9_8765_4321);
    let mut total = 0;
    for step in 0..OPERATIONS {
        match numbers.below(8) {
            0..4 => {
                let bytes = match numbers.below(10) {
                    0 => [4088, 4089, 1 << 30, u32::MAX][numbers.below(4)],
                    _ => 8 + numbers.below(500) as u32,
                };
                match (our.reserve(bytes), ring.reserve(bytes)) {
                    (Ok(ours), Ok(theirs)) => open.push_back((ours, theirs)),
                    (got, expected) => {
                        assert_eq!(got.err(), expected.err(), "step {step}: {bytes} bytes");
                    }
                }
            }
            4..7 if !open.is_empty() => {
                // Mostly the oldest, so that those behind it come through.
                let which = if numbers.below(3) > 0 { 0 } else { numbers.below(open.len()) };
                let Some((mut ours, theirs)) = open.remove(which) else { continue };
                let bytes = ours.data_mut().len();
                let data = numbers.bytes(bytes);
                if numbers.below(4) == 0 {
                    ours.discard();
                    ring.commit(theirs, &data, Commit::Discard).unwrap();
                } else {
                    ours.data_mut().copy_from_slice(&data);
                    ours.submit();
                    ring.commit(theirs, &data, Commit::Submit).unwrap();
                }
            }
            _ => {
                let (flags, instances, prog) = &programs[numbers.below(programs.len())];
                let instance = &instances[numbers.below(2)];
                let mut packet = Context::packet(ProgType::SchedCls, &[0; 64]).unwrap();
                let outcome = match numbers.below(2) {
                    0 => instance.run(&mut packet, DEFAULT_FUEL),
                    _ => instance.run_checked(&mut packet, DEFAULT_FUEL),
                };
                let got = outcome.unwrap().retval as i32;
                let mut words = Vec::new();
                our_seen.consume(|word| words.push(word.to_vec()));
                assert_eq!(got, run(prog), "step {step}: flags {flags:x}");
                assert_eq!(words, seen_ring.take_all().unwrap(), "step {step}");
                total += words.len();
            }
        }
    }
    assert!(total > 1000, "only {total} samples");
}
