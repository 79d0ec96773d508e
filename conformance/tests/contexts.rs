//! Which accesses to contexts, return values and attach types programs may have: the tables say
//! what the kernel says.
//!
//! Every access of the layouts is tried, of long ones a sample; with `EBPFVM_FULL` set, all of them
//! (700,000 programs).

use ebpfvm_asm::{Builder, ByteOrder, Imm64, JmpOp, Operand, Reg, Size, Width};
use ebpfvm_kernel::{Kernel, LoadRequest, MapRequest, linux_6_18_or_skip, report_skip};
use ebpfvm_spec::linux::prog_types;
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{
    AttachType, AttachTypeSet, ContextAccess, Direction, Errno, FieldKind, MapType, PacketAccess,
    ProgType, ProgTypeDef,
};
use std::fmt::Write;

/// Attach types that tables or the kernel could tell apart.
const LAST_ATTACH_TYPE: u32 = 62;

/// Offsets below this are all tried, others in steps.
const SHORT_BYTES: u32 = 260;

/// `bpf_map_lookup_elem`, which every type may call.
const MAP_LOOKUP_ELEM: u32 = 1;

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::Dw];

/// How a program touches its context.
#[derive(Clone, Copy, Debug)]
enum Touch {
    Load,
    LoadSigned,
    StoreRegister,
    StoreImmediate,
}

struct Oracle {
    kernel: Kernel,
    differences: String,
    cases: usize,
}

fn full() -> bool {
    std::env::var_os("EBPFVM_FULL").is_some()
}

fn oracle(test: &str) -> Option<Oracle> {
    if !cfg!(target_arch = "x86_64") {
        report_skip(test, "the kernel's contexts are those of x86_64");
        return None;
    }
    let kernel = linux_6_18_or_skip(test)?;
    Some(Oracle { kernel, differences: String::new(), cases: 0 })
}

impl Oracle {
    /// Whether the kernel accepts the program, or the number with which it does not.
    fn load(
        &mut self,
        prog_type: ProgType,
        attach_type: AttachType,
        program: &Builder,
    ) -> Result<(), Errno> {
        let bytes = program.build().unwrap().to_bytes(ByteOrder::HOST).unwrap();
        let request = LoadRequest {
            expected_attach_type: attach_type,
            flags: if prog_type == ProgType::Syscall { load_flags::SLEEPABLE } else { 0 },
            ..LoadRequest::new(prog_type, &bytes)
        };
        self.cases += 1;
        self.kernel.prog_load(&request).map(drop).map_err(|e| e.errno)
    }

    fn compare(&mut self, expected: bool, found: Result<(), Errno>, what: impl FnOnce() -> String) {
        if expected != found.is_ok() {
            let _ = writeln!(self.differences, "{}: table {expected}, kernel {found:?}", what());
        }
    }

    fn finish(self, test: &str) {
        let shown: String = self.differences.lines().take(60).map(|l| format!("{l}\n")).collect();
        let count = self.differences.lines().count();
        assert!(count == 0, "{test}: {count} of {} cases differ\n{shown}", self.cases);
        println!("{test}: {} cases", self.cases);
    }
}

/// The types of the tables that this kernel knows.
fn kernel_types(oracle: &mut Oracle, test: &str) -> Vec<ProgTypeDef> {
    let mut known = Vec::new();
    for def in prog_types() {
        let Some(attach) = accepted_attach_types(&def).next() else { continue };
        if def.context.is_none() {
            continue;
        }
        // A type that is not configured is refused with the same number as a bad attach type.
        match oracle.load(def.prog_type, attach, &returning(in_range(&def, attach))) {
            Ok(()) => known.push(def),
            Err(_) if def.prog_type == ProgType::LircMode2 => report_skip(
                test,
                format!("this kernel has no programs of type {}", def.prog_type.name()),
            ),
            Err(e) => panic!("{} does not load: {e}", def.prog_type.name()),
        }
    }
    known
}

/// What may be expected, as programs of the type tell apart.
fn accepted_attach_types(def: &ProgTypeDef) -> impl Iterator<Item = AttachType> {
    let accepted = move |n: &u32| def.attach_types.contains(AttachType(*n));
    (0..=LAST_ATTACH_TYPE).filter(accepted).map(AttachType)
}

/// Attach types to try accesses with: all that a type is restricted to, otherwise 0 and the one
/// that XDP tells apart.
fn tried_attach_types(def: &ProgTypeDef) -> Vec<AttachType> {
    let restricted = def.attach_types != AttachTypeSet::ALL;
    let tried = |a: &AttachType| {
        let devmap = def.prog_type == ProgType::Xdp && *a == AttachType::XDP_DEVMAP;
        restricted || *a == AttachType(0) || devmap
    };
    accepted_attach_types(def).filter(tried).collect()
}

fn in_range(def: &ProgTypeDef, attach: AttachType) -> i64 {
    def.return_range(attach).map_or(0, |r| r.min)
}

fn returning(value: i64) -> Builder {
    let mut program = Builder::new();
    program.load_imm(Reg::R0, Imm64::Value(value as u64)).exit();
    program
}

fn touching(touch: Touch, size: Size, offset: i16, value: i64) -> Builder {
    let mut program = Builder::new();
    match touch {
        Touch::Load => program.load(size, Reg::R0, Reg::R1, offset),
        Touch::LoadSigned => program.load_sx(size, Reg::R0, Reg::R1, offset),
        Touch::StoreRegister => {
            program.mov(Reg::R0, Operand::Imm(1)).store(size, Reg::R1, offset, Reg::R0)
        }
        Touch::StoreImmediate => program.store(size, Reg::R1, offset, Operand::Imm(1)),
    };
    program.mov(Reg::R0, Operand::Imm(value as i32)).exit();
    program
}

/// Known differences: here the table refuses what the kernel accepts.
///
/// Of the buffer's address at the start of a writable tracepoint's arguments the kernel refuses parts
/// at the first byte only. The fields of a netfilter program's context point to structs of the
/// kernel, which are not here.
fn is_known(access: &ContextAccess) -> bool {
    let refused = match access.prog_type {
        ProgType::RawTracepointWritable => (1..8).contains(&access.offset),
        ProgType::Netfilter => [0, 8].contains(&access.offset) && access.bytes == 8,
        _ => false,
    };
    refused && access.direction == Direction::Read
}

#[test]
fn contexts_may_be_accessed_where_the_kernel_says() {
    let test = "contexts_may_be_accessed_where_the_kernel_says";
    let Some(mut oracle) = oracle(test) else { return };
    for def in kernel_types(&mut oracle, test) {
        let context = def.context.as_ref().unwrap();
        // No instruction reaches further, and context pointers cannot be moved.
        let end = (context.bytes + 8).min(1 << 15);
        let step = if full() { 1 } else { 61 };
        let near_end = end.saturating_sub(24).max(SHORT_BYTES);
        let long = (SHORT_BYTES..near_end).step_by(step);
        let offsets: Vec<u32> =
            (0..end.min(SHORT_BYTES)).chain(long).chain(near_end..end).collect();
        for attach in tried_attach_types(&def) {
            let actual = def.attach_type(attach).unwrap();
            let value = in_range(&def, actual);
            for &offset in &offsets {
                for size in SIZES {
                    for touch in [
                        Touch::Load,
                        Touch::LoadSigned,
                        Touch::StoreRegister,
                        Touch::StoreImmediate,
                    ] {
                        let sign_extends = matches!(touch, Touch::LoadSigned);
                        if sign_extends && size == Size::Dw {
                            continue;
                        }
                        let is_load = matches!(touch, Touch::Load | Touch::LoadSigned);
                        let access = ContextAccess {
                            prog_type: def.prog_type,
                            attach_type: actual,
                            offset,
                            bytes: size.bytes(),
                            direction: if is_load { Direction::Read } else { Direction::Write },
                            sign_extends,
                        };
                        if is_known(&access) {
                            continue;
                        }
                        let program = touching(touch, size, offset as i16, value);
                        let found = oracle.load(def.prog_type, attach, &program);
                        let expected = context.access(&access).is_some();
                        oracle.compare(expected, found, || {
                            let name = def.prog_type.name();
                            format!("{name} at {}: {touch:?} {size:?} at {offset}", attach.0)
                        });
                    }
                }
            }
        }
    }
    oracle.finish(test);
}

#[test]
fn programs_return_what_the_kernel_allows() {
    let test = "programs_return_what_the_kernel_allows";
    let Some(mut oracle) = oracle(test) else { return };
    for def in kernel_types(&mut oracle, test) {
        for attach in accepted_attach_types(&def) {
            let range = def.return_range(def.attach_type(attach).unwrap());
            let values = [-1, 0, 1, 2, 3, 4, 5, 0xffff_ffff, 1 << 32, i64::MIN, i64::MAX];
            for value in values {
                let found = oracle.load(def.prog_type, attach, &returning(value));
                let expected = range.is_none_or(|r| (r.min..=r.max).contains(&value));
                oracle.compare(expected, found, || {
                    format!("{} at {}: returns {value}", def.prog_type.name(), attach.0)
                });
            }
        }
    }
    oracle.finish(test);
}

#[test]
fn programs_load_with_the_attach_types_of_the_kernel() {
    let test = "programs_load_with_the_attach_types_of_the_kernel";
    let Some(mut oracle) = oracle(test) else { return };
    for def in kernel_types(&mut oracle, test) {
        for attach in (0..=LAST_ATTACH_TYPE + 2).chain([1000, u32::MAX]).map(AttachType) {
            let actual = def.attach_type(attach);
            let value = actual.map_or(0, |a| in_range(&def, a));
            let found = oracle.load(def.prog_type, attach, &returning(value));
            oracle.compare(actual.is_some(), found, || {
                format!("{} at {}", def.prog_type.name(), attach.0)
            });
        }
    }
    oracle.finish(test);
}

/// Loads from the packet, gives it to a helper as a key, stores to it.
#[test]
fn packets_are_open_as_in_the_kernel() {
    let test = "packets_are_open_as_in_the_kernel";
    let Some(mut oracle) = oracle(test) else { return };
    let map = oracle.kernel.map_create(&MapRequest::new(MapType::Hash, 4, 4, 1)).unwrap();
    for def in kernel_types(&mut oracle, test) {
        let context = def.context.as_ref().unwrap();
        let attach = tried_attach_types(&def)[0];
        let actual = def.attach_type(attach).unwrap();
        let place = |kind: FieldKind| {
            let readable = |f: &&ebpfvm_spec::Field| f.read.prog_types.contains(def.prog_type);
            let field = context.fields.iter().filter(readable).find(|f| f.kind == kind)?;
            let size = if field.bytes == 8 { Size::Dw } else { Size::W };
            Some((size, field.offset as i16))
        };
        let ends = place(FieldKind::PacketStart).zip(place(FieldKind::PacketEnd));
        let Some(((size, start), (_, end))) = ends else { continue };
        for wanted in [PacketAccess::Load, PacketAccess::Helpers, PacketAccess::Store] {
            let mut program = Builder::new();
            let out = program.new_label();
            program
                .load(size, Reg::R2, Reg::R1, start)
                .load(size, Reg::R3, Reg::R1, end)
                .mov(Reg::R4, Reg::R2)
                .add(Reg::R4, Operand::Imm(4))
                .jump_if(Width::W64, JmpOp::Gt, Reg::R4, Reg::R3, out);
            match wanted {
                PacketAccess::Load => program.load(Size::W, Reg::R0, Reg::R2, 0),
                PacketAccess::Helpers => {
                    program.load_imm(Reg::R1, Imm64::MapFd(map.fd())).call(MAP_LOOKUP_ELEM)
                }
                PacketAccess::Store => program.store(Size::W, Reg::R2, 0, Operand::Imm(1)),
            };
            program.label(out).mov(Reg::R0, Operand::Imm(in_range(&def, actual) as i32)).exit();
            let found = oracle.load(def.prog_type, attach, &program);
            oracle.compare(wanted <= def.packet, found, || {
                format!("{}: {wanted:?} in the packet", def.prog_type.name())
            });
        }
    }
    oracle.finish(test);
}
