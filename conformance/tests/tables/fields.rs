//! Special fields of map values: every byte of many values is read, and the kernel's message tells
//! which field it belongs to. Then which maps may have them and which programs use such maps.

use crate::bench::{Host, Types, last, map_of, refusal};
use ebpfvm_kernel::{Kernel, Map, MapRequest, linux_6_18_or_skip};
use ebpfvm_spec::btf::{
    Compound, Holder, Kind, SpecialField, SpecialKind, SpecialSet, TypeId, special_fields,
};
use ebpfvm_spec::linux::{ProgMapRefusal, check_holder, map_in_program};
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{Errno, MapFlags, MapType, ProgType};

/// Types as a program's object has them, with one value type under test.
struct Case {
    what: &'static str,
    types: Types,
    value: TypeId,
}

/// What a value is made of: a place and a type.
#[derive(Clone, Copy)]
enum Part {
    Int,
    Long,
    /// A struct of this name and size.
    Named(&'static str, u32),
    /// A typedef of the struct.
    Alias(&'static str, u32),
    /// A pointer with this tag to a struct of this name.
    Tagged(&'static str, &'static str),
    Volatile(&'static str, &'static str),
    /// Tagged twice.
    Twice(&'static str, &'static str),
    /// Tagged, to an integer.
    TaggedInt(&'static str),
    Plain,
}

const LOCK: Part = Part::Named("bpf_spin_lock", 4);
const RES_LOCK: Part = Part::Named("bpf_res_spin_lock", 4);
const TIMER: Part = Part::Named("bpf_timer", 16);
const WQ: Part = Part::Named("bpf_wq", 16);
const WORK: Part = Part::Named("bpf_task_work", 8);
const REFS: Part = Part::Named("bpf_refcount", 4);
const HEAD: Part = Part::Named("bpf_list_head", 16);
const ROOT: Part = Part::Named("bpf_rb_root", 16);
const KPTR: Part = Part::Tagged("kptr", "task_struct");
const UNREF: Part = Part::Tagged("kptr_untrusted", "task_struct");

impl Part {
    fn build(self, types: &mut Types) -> TypeId {
        let mut tagged = |tag: &str, to: TypeId| {
            types.push(tag, Kind::TypeTag { type_id: to, attribute: false })
        };
        match self {
            Part::Int => types.int,
            Part::Long => types.long,
            Part::Named(name, bytes) => {
                // The kernel knows a type by its id, the first of its name.
                let known = types.builder.so_far().iter().find(|(_, t)| {
                    types.builder.so_far().str(t.name) == name
                        && matches!(t.kind, Kind::Compound { .. })
                });
                if let Some((id, _)) = known {
                    return id;
                }
                let (int, words) = (types.int, bytes / 4);
                let array = types.array(int, words);
                types.structure(name, bytes, &[("opaque", array, 0)])
            }
            Part::Alias(name, bytes) => {
                let to = Part::Named(name, bytes).build(types);
                types.push("alias", Kind::Typedef(to))
            }
            Part::Tagged(tag, name) => {
                let to = Part::Named(name, 8).build(types);
                let to = types.push(tag, Kind::TypeTag { type_id: to, attribute: false });
                types.push("", Kind::Ptr(to))
            }
            Part::Volatile(tag, name) => {
                let to = Part::Tagged(tag, name).build(types);
                types.push("", Kind::Volatile(to))
            }
            Part::Twice(tag, name) => {
                let to = Part::Named(name, 8).build(types);
                let to = types.push(tag, Kind::TypeTag { type_id: to, attribute: false });
                let to = types.push(tag, Kind::TypeTag { type_id: to, attribute: false });
                types.push("", Kind::Ptr(to))
            }
            Part::TaggedInt(tag) => {
                let to = tagged(tag, TypeId(1));
                types.push("", Kind::Ptr(to))
            }
            Part::Plain => {
                let to = types.int;
                types.push("", Kind::Ptr(to))
            }
        }
    }
}

/// A value of these parts at these offsets, with the tags that lists and trees need.
fn plain(what: &'static str, bytes: u32, parts: &[(Part, u32)]) -> Case {
    let mut types = Types::new();
    let value = structure(&mut types, "value", bytes, parts);
    Case { what, types, value }
}

fn structure(types: &mut Types, name: &str, bytes: u32, parts: &[(Part, u32)]) -> TypeId {
    let members: Vec<(&str, TypeId, u32)> =
        parts.iter().map(|(part, offset)| ("m", part.build(types), *offset)).collect();
    let id = types.structure(name, bytes, &members);
    for (i, (part, _)) in parts.iter().enumerate() {
        let (node, bytes) = match part {
            Part::Named("bpf_list_head", _) => ("bpf_list_node", 24),
            Part::Named("bpf_rb_root", _) => ("bpf_rb_node", 32),
            _ => continue,
        };
        let element = format!("element{}{i}", id.0);
        let node = Part::Named(node, bytes).build(types);
        types.structure(&element, 8 + bytes, &[("data", types.long, 0), ("node", node, 8)]);
        let component = Some(i as u32);
        types.push(
            &format!("contains:{element}:node"),
            Kind::DeclTag { type_id: id, component, attribute: false },
        );
    }
    id
}

/// An array of these values within a value.
fn array(what: &'static str, count: u32, bytes: u32, parts: &[(Part, u32)]) -> Case {
    let mut types = Types::new();
    let element = structure(&mut types, "element", bytes, parts);
    let array = types.array(element, count);
    let value =
        types.structure("value", 8 + bytes * count, &[("a", types.long, 0), ("b", array, 8)]);
    Case { what, types, value }
}

fn array_of_part(what: &'static str, count: u32, part: Part) -> Case {
    let mut types = Types::new();
    let element = part.build(&mut types);
    let array = types.array(element, count);
    let value = types.structure("value", 8 + 8 * count, &[("a", types.long, 0), ("b", array, 8)]);
    Case { what, types, value }
}

fn union(what: &'static str, part: Part) -> Case {
    let mut case = plain(what, 24, &[(Part::Long, 0)]);
    let type_id = part.build(&mut case.types);
    let name = case.types.builder.intern("u");
    let members = case.types.builder.span([ebpfvm_spec::btf::Member {
        name,
        type_id,
        bit_offset: 0,
        bitfield_bits: 0,
    }]);
    let kind = Kind::Compound { compound: Compound::Union, bytes: 16, members };
    let inner = case.types.push("inner", kind);
    case.value = case.types.structure("outer", 24, &[("u", inner, 0), ("v", case.types.long, 16)]);
    case
}

fn deep(what: &'static str, levels: u32) -> Case {
    let mut types = Types::new();
    let mut inner = KPTR.build(&mut types);
    for level in 0..levels {
        inner = types.structure(&format!("level{level}"), 8, &[("inner", inner, 0)]);
    }
    let value = types.structure("value", 16, &[("a", types.long, 0), ("b", inner, 8)]);
    Case { what, types, value }
}

fn typedefed(what: &'static str) -> Case {
    let mut case = plain(what, 16, &[(LOCK, 0), (Part::Long, 8)]);
    let value = case.types.push("value_t", Kind::Typedef(case.value));
    case.value = case.types.push("", Kind::Const(value));
    case
}

fn untagged(what: &'static str) -> Case {
    let mut types = Types::new();
    let lock = LOCK.build(&mut types);
    let head = HEAD.build(&mut types);
    let value = types.structure("value", 24, &[("l", lock, 0), ("h", head, 8)]);
    Case { what, types, value }
}

fn cases() -> Vec<Case> {
    vec![
        plain("numbers", 16, &[(Part::Int, 0), (Part::Long, 8)]),
        plain("lock", 16, &[(LOCK, 0), (Part::Long, 8)]),
        plain("lock later", 16, &[(Part::Long, 0), (LOCK, 12)]),
        plain("odd lock", 16, &[(Part::Long, 0), (LOCK, 9)]),
        plain("lock of another size", 16, &[(Part::Named("bpf_spin_lock", 8), 0)]),
        plain("lock behind a typedef", 16, &[(Part::Alias("bpf_spin_lock", 4), 0)]),
        plain("two locks", 16, &[(LOCK, 0), (LOCK, 4)]),
        plain("two kinds of locks", 16, &[(LOCK, 0), (RES_LOCK, 4)]),
        plain("resilient lock", 16, &[(RES_LOCK, 4), (Part::Long, 8)]),
        plain("timer", 24, &[(Part::Long, 0), (TIMER, 8)]),
        plain("timer and lock", 24, &[(LOCK, 0), (TIMER, 8)]),
        plain("timer before lock", 24, &[(TIMER, 0), (LOCK, 16)]),
        plain("two timers", 32, &[(TIMER, 0), (TIMER, 16)]),
        plain("work queue", 24, &[(Part::Long, 0), (WQ, 8)]),
        plain("two work queues", 32, &[(WQ, 0), (WQ, 16)]),
        plain("task work", 24, &[(Part::Long, 0), (WORK, 8)]),
        plain("two task works", 24, &[(WORK, 0), (WORK, 8)]),
        plain("reference count", 16, &[(REFS, 4)]),
        plain("two reference counts", 16, &[(REFS, 4), (REFS, 8)]),
        plain("list and lock", 32, &[(LOCK, 0), (HEAD, 8)]),
        plain("list and resilient lock", 32, &[(RES_LOCK, 0), (HEAD, 8)]),
        plain("list without lock", 32, &[(HEAD, 8)]),
        plain("two lists, a tree and a lock", 56, &[(LOCK, 0), (HEAD, 8), (HEAD, 24), (ROOT, 40)]),
        plain("a node", 32, &[(Part::Named("bpf_list_node", 24), 0)]),
        untagged("list without tag"),
        plain("kernel pointer", 16, &[(KPTR, 8)]),
        plain("untrusted kernel pointer", 16, &[(Part::Long, 0), (UNREF, 8)]),
        plain("both", 24, &[(UNREF, 8), (KPTR, 16)]),
        plain("volatile", 16, &[(Part::Volatile("kptr", "task_struct"), 8)]),
        plain("tagged twice", 16, &[(Part::Twice("kptr", "task_struct"), 8)]),
        plain("tagged number", 16, &[(Part::TaggedInt("kptr"), 8)]),
        plain("unknown tag", 16, &[(LOCK, 0), (Part::Tagged("user", "task_struct"), 8)]),
        plain("plain pointer", 16, &[(LOCK, 0), (Part::Plain, 8)]),
        plain("pointer to a type of the program", 16, &[(Part::Tagged("kptr", "mine"), 8)]),
        plain("per-CPU pointer", 16, &[(Part::Tagged("percpu_kptr", "mine"), 8)]),
        plain("odd kernel pointer", 16, &[(KPTR, 4)]),
        array("structs with kernel pointers", 3, 16, &[(Part::Long, 0), (KPTR, 8)]),
        array("too many", 12, 16, &[(Part::Long, 0), (KPTR, 8)]),
        array("just not too many", 11, 16, &[(Part::Long, 0), (KPTR, 8)]),
        array("lists", 2, 16, &[(HEAD, 0)]),
        array("one lock", 1, 8, &[(LOCK, 0)]),
        array("locks", 2, 8, &[(LOCK, 0)]),
        array("none", 0, 8, &[(LOCK, 0)]),
        array_of_part("kernel pointers", 4, KPTR),
        array_of_part("a timer", 2, TIMER),
        union("in a union", LOCK),
        deep("nested", 4),
        deep("nested too deep", 33),
        deep("nested almost too deep", 31),
        deep("nested just not too deep", 30),
        typedefed("a typedef of a value"),
    ]
}

impl Case {
    fn bytes(&self) -> u32 {
        self.types.builder.so_far().size_of(self.value).unwrap() as u32
    }

    /// The fields by our rules; none at all when the type has a mistake.
    fn fields(&self) -> Vec<SpecialField> {
        let btf = self.types.builder.so_far();
        special_fields(btf, self.value, self.bytes(), Holder::MapValue).unwrap_or_default()
    }

    fn create(&self, kernel: &Kernel, kind: MapType, flags: u32) -> Result<Map, Errno> {
        let btf = self.types.load(kernel);
        let entries = if map_needs_no_entries(kind) { 0 } else { 1 };
        let mut request = MapRequest::new(kind, 4, self.bytes(), entries);
        request.flags = flags | if entries == 0 { MapFlags::NO_PREALLOC } else { 0 };
        request.btf = Some(&btf);
        (request.btf_key_type_id, request.btf_value_type_id) = (self.types.int.0, self.value.0);
        kernel.map_create(&request)
    }
}

fn map_needs_no_entries(kind: MapType) -> bool {
    use MapType::*;
    matches!(kind, SkStorage | InodeStorage | TaskStorage | CgrpStorage)
}

/// What the kernel says of a load of one byte.
fn found_at(kernel: &Kernel, map: &Map, offset: u32) -> Option<&'static str> {
    let text = format!(
        "r1 = map[fd:{}]\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +1\n\
         r0 = *(u8 *)(r0 + {offset})\nr0 = 0\nexit\n",
        map.fd()
    );
    let log = refusal(kernel, Host::new(ProgType::SchedCls), &text)?;
    let line = last(&log);
    let name = line
        .strip_suffix(" cannot be accessed directly by load/store")
        .or_else(|| Some(line.split_once(" access size must be BPF_DW")?.0))
        .or_else(|| Some(line.split_once(" access misaligned ")?.0));
    let kind = name.and_then(|name| SpecialKind::ALL.iter().find(|kind| kind.name() == name));
    Some(kind.unwrap_or_else(|| panic!("{line}")).name())
}

#[test]
fn special_fields_are_where_the_kernel_sees_them() {
    let test = "special_fields_are_where_the_kernel_sees_them";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let (mut wrong, mut refused) = (Vec::new(), Vec::new());
    for case in cases() {
        let fields = case.fields();
        let kinds = SpecialSet::of_fields(&fields);
        // Types that the kernel does not load tell nothing.
        if kernel.btf_load(&case.types.bytes(), 0).is_err() {
            refused.push(case.what);
            continue;
        }
        let map = match case.create(&kernel, MapType::Array, 0) {
            Ok(map) => map,
            Err(e) => {
                wrong.push(format!("{}: no map: {e}", case.what));
                continue;
            }
        };
        assert!(check_holder(MapType::Array, MapFlags(0), kinds).is_ok(), "{}", case.what);
        for offset in 0..case.bytes().min(256) {
            let field = fields.iter().find(|f| (f.offset..f.offset + f.bytes).contains(&offset));
            let expected = field.map(|field| field.kind.name());
            let found = found_at(&kernel, &map, offset);
            if expected != found {
                wrong.push(format!("{} at {offset}: {expected:?}, kernel {found:?}", case.what));
                break;
            }
        }
    }
    println!("types that the kernel does not load: {}", refused.join(", "));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One value of each kind that maps can have.
fn holders() -> Vec<Case> {
    vec![
        plain("lock", 24, &[(LOCK, 0)]),
        plain("resilient lock", 24, &[(RES_LOCK, 0)]),
        plain("timer", 24, &[(TIMER, 0)]),
        plain("work queue", 24, &[(WQ, 0)]),
        plain("task work", 24, &[(WORK, 0)]),
        plain("reference count", 24, &[(REFS, 0)]),
        plain("list", 24, &[(LOCK, 0), (HEAD, 8)]),
        plain("tree", 24, &[(LOCK, 0), (ROOT, 8)]),
        plain("untrusted pointer", 24, &[(UNREF, 0)]),
        plain("pointer", 24, &[(KPTR, 0)]),
        plain("per-CPU pointer", 24, &[(Part::Tagged("percpu_kptr", "mine"), 0)]),
        plain("user pointer", 24, &[(Part::Tagged("uptr", "mine"), 0)]),
    ]
}

#[test]
fn maps_have_the_special_fields_that_the_kernel_lets_them() {
    let test = "maps_have_the_special_fields_that_the_kernel_lets_them";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    use MapType::*;
    let kinds = [
        Hash,
        Array,
        PercpuHash,
        PercpuArray,
        LruHash,
        LruPercpuHash,
        SkStorage,
        InodeStorage,
        TaskStorage,
        CgrpStorage,
    ];
    let mut wrong = Vec::new();
    for case in holders() {
        let fields = SpecialSet::of_fields(&case.fields());
        assert_ne!(fields, SpecialSet::NONE, "{}", case.what);
        for kind in kinds {
            for flags in [0, MapFlags::RDONLY_PROG] {
                if flags != 0 && map_needs_no_entries(kind) {
                    continue;
                }
                let found = case.create(&kernel, kind, flags).map(drop);
                if found != check_holder(kind, MapFlags(flags), fields) {
                    wrong.push(format!("{} in {} {flags}: {found:?}", case.what, kind.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn refusal_of(line: &str) -> Option<ProgMapRefusal> {
    use ProgMapRefusal::*;
    Some(match line {
        "tracing progs cannot use bpf_{list_head,rb_root} yet" => TracingCollection,
        "socket filter progs cannot use bpf_spin_lock yet" => FilterSpinLock,
        "tracing progs cannot use bpf_spin_lock yet" => TracingSpinLock,
        "tracing progs cannot use bpf_timer yet" => TracingTimer,
        "tracing progs cannot use bpf_wq yet" => TracingWorkqueue,
        "Sleepable programs can only use array, hash, ringbuf and local storage maps" => Sleepable,
        _ => return None,
    })
}

#[test]
fn programs_use_the_maps_that_the_kernel_lets_them() {
    let test = "programs_use_the_maps_that_the_kernel_lets_them";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let mut wrong = Vec::new();
    let mut ask = |host: Host, kind: MapType, map: &Map, fields: SpecialSet, what: &str| {
        let log = refusal(&kernel, host, &format!("r1 = map[fd:{}]\nr0 = 0\nexit\n", map.fd()));
        let found = match log.as_deref().map(last) {
            None => Ok(()),
            Some(line) => match refusal_of(line) {
                Some(refusal) => Err(refusal),
                None => panic!("{what} in {}: {line}\n{log:?}", host.prog_type.name()),
            },
        };
        let sleepable = host.flags & load_flags::SLEEPABLE != 0;
        let expected = map_in_program(host.prog_type, sleepable, kind, fields);
        if found != expected {
            wrong.push(format!("{what} in {}: {expected:?}, {found:?}", host.prog_type.name()));
        }
    };
    use ProgType as T;
    for case in holders() {
        let fields = SpecialSet::of_fields(&case.fields());
        let kind = if case.what == "user pointer" { MapType::TaskStorage } else { MapType::Array };
        let map = case.create(&kernel, kind, 0).unwrap();
        for prog_type in [
            T::SocketFilter,
            T::SchedCls,
            T::Xdp,
            T::Kprobe,
            T::Tracepoint,
            T::PerfEvent,
            T::RawTracepoint,
            T::RawTracepointWritable,
            T::SkSkb,
            T::Syscall,
        ] {
            ask(Host::new(prog_type), kind, &map, fields, case.what);
        }
    }
    let ids = Types::new();
    let types = ids.load(&kernel);
    for kind in MapType::ALL.iter().filter(|kind| **kind != MapType::StructOps) {
        for prog_type in [T::Syscall, T::SchedCls, T::Kprobe] {
            // A new one for each: the first program of a prog_array decides about the others.
            match map_of(&kernel, *kind, &types, &ids) {
                Ok(map) => ask(Host::new(prog_type), *kind, &map, SpecialSet::NONE, kind.name()),
                Err(e) => ebpfvm_kernel::report_skip(test, format!("{}: {e}", kind.name())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
