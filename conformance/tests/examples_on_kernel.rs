//! The programs of the examples run here and on Linux at the same time: every program on every
//! packet of all examples and on what is left when packets are cut short, one after the other on the
//! same maps. Return value and packet are the same each time, and the maps at the end.

use ebpfvm::map::UpdateFlags;
use ebpfvm::{Context, DEFAULT_FUEL, Loaded, Map, Vm};
use ebpfvm_asm::ByteOrder;
use ebpfvm_kernel::{
    Kernel, LoadRequest, Map as KernelMap, MapRequest, Prog, TestRun, report_skip,
};
use ebpfvm_loader::Object;
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{MapFlags, MapType, Program};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TEST: &str = "programs_do_what_they_do_on_linux";
/// Room for the packet afterwards.
const OUT_BYTES: usize = 8192;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// All packets of all examples, whole and cut short, in a fixed order.
fn packets() -> Vec<Vec<u8>> {
    let folders = std::fs::read_dir(examples()).expect("examples");
    let folders = folders.map(|folder| folder.expect("an entry").path());
    let files = folders.filter(|path| path.is_dir() && !path.ends_with("raw"));
    let mut files: Vec<PathBuf> = files
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"))
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "hex"))
        .collect();
    files.sort();
    let mut packets = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a packet");
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        for length in [14, 15, 18, 33, 34, 37, 42, 53, 54, 55, bytes.len() - 1] {
            if (14..bytes.len()).contains(&length) {
                packets.push(bytes[..length].to_vec());
            }
        }
        packets.push(bytes);
    }
    packets
}

/// The objects that the kernel can test-run, with programs of these types only.
fn objects() -> Vec<(String, Vec<u8>)> {
    let mut objects = Vec::new();
    for folder in std::fs::read_dir(examples()).expect("examples") {
        let folder = folder.expect("an entry").path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = folder.join(format!("{name}.bpf.o"));
        if name != "raw" && file.exists() {
            objects.push((format!("{name}.bpf.o"), std::fs::read(file).expect("an object")));
        }
    }
    objects.sort();
    objects
}

/// An object in the kernel.
struct InKernel {
    maps: Vec<KernelMap>,
    programs: BTreeMap<String, Prog>,
}

impl InKernel {
    /// Creates and fills the maps, loads the programs, fills arrays of programs. The definitions are
    /// those that the machine has fitted to itself.
    fn load(kernel: &Kernel, loaded: &Loaded) -> InKernel {
        let create = |map: &ebpfvm::MapRef| {
            let def = map.def();
            let (key, value) = (def.key_bytes, def.value_bytes);
            let request = MapRequest {
                flags: def.flags.0,
                ..MapRequest::new(def.map_type, key, value, def.max_entries)
            };
            let created = kernel.map_create(&request);
            let created = created.unwrap_or_else(|e| panic!("map {}: {e}", def.name));
            if let MapOrigin::Section { data, .. } = &def.origin {
                created.update(&[0; 4], data, UpdateFlags::ANY.0).expect("the section's data");
                if def.flags.has(MapFlags::RDONLY_PROG) {
                    created.freeze().expect("read-only data");
                }
            }
            created
        };
        let maps: Vec<KernelMap> = loaded.maps().iter().map(create).collect();
        let fds: Vec<i32> = maps.iter().map(KernelMap::fd).collect();
        let mut programs = BTreeMap::new();
        for info in loaded.object().programs() {
            let program = loaded.program(&info.name).expect("a program");
            programs.insert(info.name.clone(), load(kernel, program.program(), &fds));
        }
        for (map, created) in loaded.maps().iter().zip(&maps) {
            for (index, value) in &map.def().values {
                let InitialValue::Program(name) = value else { panic!("a map of maps") };
                let fd = programs[name].fd().to_ne_bytes();
                created.update(&index.to_ne_bytes(), &fd, 0).expect("a program in an array");
            }
        }
        InKernel { maps, programs }
    }
}

fn load(kernel: &Kernel, program: &Program, fds: &[i32]) -> Prog {
    let insns = program.code.to_bytes(ByteOrder::HOST).expect("an encoding");
    let request = LoadRequest {
        expected_attach_type: program.attach_type,
        license: &program.license,
        flags: program.flags,
        fd_array: fds,
        ..LoadRequest::new(program.prog_type, &insns)
    };
    kernel.prog_load(&request).unwrap_or_else(|e| panic!("{}: {e:?}", program.name))
}

/// The entries of a map without those that are all zero, the values of CPUs added up by words.
fn contents(
    def: &ebpfvm_spec::MapDef,
    entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let one = (def.value_bytes as usize).next_multiple_of(8);
    let value = |value: Vec<u8>| {
        if !def.map_type.is_percpu() {
            return value;
        }
        let mut sum = vec![0u64; one / 8];
        for lane in value.chunks_exact(one) {
            for (sum, word) in sum.iter_mut().zip(lane.chunks_exact(8)) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(word.try_into().expect("8 bytes")));
            }
        }
        sum.iter().flat_map(|word| word.to_ne_bytes()).collect()
    };
    let entries = entries.map(|(key, bytes)| (key, value(bytes)));
    entries.filter(|(_, value)| value.iter().any(|b| *b != 0)).collect()
}

/// Whether the contents of a map are values: not events, programs or the like.
fn has_values(map: &Map) -> bool {
    use MapType::{Array, Hash, PercpuArray, PercpuHash};
    matches!(map.def().map_type, Array | Hash | PercpuArray | PercpuHash)
}

#[test]
fn programs_do_what_they_do_on_linux() {
    let kernel = match Kernel::probe() {
        Ok(kernel) => kernel,
        Err(e) => return report_skip(TEST, e),
    };
    let (packets, objects) = (packets(), objects());
    assert!(packets.len() > 100 && objects.len() >= 8);
    let (mut same, mut refused) = (0, 0);
    for (file, bytes) in objects {
        let object = Object::parse(&bytes, &file).expect("an object");
        let vm = Vm::linux().build();
        let loaded = Loaded::new(&vm, object).expect("the machine loads it");
        let in_kernel = InKernel::load(&kernel, &loaded);
        for info in loaded.object().programs() {
            let instance = loaded.program(&info.name).expect("a program");
            for packet in &packets {
                let request =
                    TestRun { data_in: packet, data_out_capacity: OUT_BYTES, ..TestRun::default() };
                let Ok(theirs) = in_kernel.programs[&info.name].test_run(&request) else {
                    // A packet that it does not make a socket buffer of.
                    refused += 1;
                    continue;
                };
                let what = || format!("{file}: {}: {packet:02x?}", info.name);
                let mut context = Context::packet(instance.prog_type(), packet).expect("a packet");
                let ours = instance.run(&mut context, DEFAULT_FUEL);
                let ours = ours.unwrap_or_else(|trap| panic!("{}: {trap}", what()));
                assert_eq!(ours.retval as u32, theirs.retval, "{}", what());
                assert_eq!(context.data_out(), theirs.data_out, "{}", what());
                same += 1;
            }
        }
        for (map, created) in loaded.maps().iter().zip(&in_kernel.maps) {
            if has_values(map) {
                let theirs = created.entries().expect("entries").into_iter();
                let (ours, theirs) =
                    (contents(map.def(), map.entries()), contents(map.def(), theirs));
                assert_eq!(ours, theirs, "{file}: map {}", map.def().name);
            }
        }
    }
    // The kernel refuses packets whose IP header is cut, and only for programs on socket buffers.
    assert!(same > 4 * refused, "{same} runs were compared, {refused} packets refused");
    println!("{same} runs are the same; the kernel refused {refused} packets");
}
