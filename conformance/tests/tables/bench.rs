//! What the comparisons share: the kernel, types to load, maps of every kind, programs as text.

use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Btf as KernelBtf, Kernel, LoadRequest, Map, MapRequest};
use ebpfvm_loader::encode_btf;
use ebpfvm_spec::btf::{BtfBuilder, Compound, IntEncoding, Kind, Member, TypeId};
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{AttachType, MapFlags, MapType, ProgType};

/// A program to load.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) prog_type: ProgType,
    pub(crate) attach: AttachType,
    pub(crate) flags: u32,
}

impl Host {
    pub(crate) const fn new(prog_type: ProgType) -> Host {
        let flags = if matches!(prog_type, ProgType::Syscall) { load_flags::SLEEPABLE } else { 0 };
        Host { prog_type, attach: AttachType::NONE, flags }
    }

    pub(crate) const fn at(prog_type: ProgType, attach: AttachType) -> Host {
        Host { attach, ..Host::new(prog_type) }
    }
}

/// The kernel's log if it refuses the program.
pub(crate) fn refusal(kernel: &Kernel, host: Host, text: &str) -> Option<String> {
    let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let bytes = code.to_bytes(ByteOrder::HOST).unwrap();
    let request = LoadRequest {
        log_level: log_level::PATH,
        expected_attach_type: host.attach,
        flags: host.flags,
        ..LoadRequest::new(host.prog_type, &bytes)
    };
    let error = kernel.prog_load(&request).err()?;
    Some(if error.log.is_empty() { error.to_string() } else { error.log })
}

/// Types under construction, with the ones that everything needs.
pub(crate) struct Types {
    pub(crate) builder: BtfBuilder,
    pub(crate) int: TypeId,
    pub(crate) long: TypeId,
}

impl Types {
    pub(crate) fn new() -> Types {
        let mut builder = BtfBuilder::new();
        let mut int = |name, bytes: u32| {
            let name = builder.intern(name);
            let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
            let bits = bytes as u8 * 8;
            builder.push(name, Kind::Int { bytes, encoding, bit_offset: 0, bits })
        };
        let (int, long) = (int("int", 4), int("long", 8));
        Types { builder, int, long }
    }

    pub(crate) fn push(&mut self, name: &str, kind: Kind) -> TypeId {
        let name = self.builder.intern(name);
        self.builder.push(name, kind)
    }

    /// A struct of these members: name, type, offset in bytes.
    pub(crate) fn structure(
        &mut self,
        name: &str,
        bytes: u32,
        members: &[(&str, TypeId, u32)],
    ) -> TypeId {
        let members: Vec<Member> = members
            .iter()
            .map(|(name, type_id, offset)| Member {
                name: self.builder.intern(name),
                type_id: *type_id,
                bit_offset: offset * 8,
                bitfield_bits: 0,
            })
            .collect();
        let members = self.builder.span(members);
        self.push(name, Kind::Compound { compound: Compound::Struct, bytes, members })
    }

    pub(crate) fn array(&mut self, element: TypeId, count: u32) -> TypeId {
        let index = self.int;
        self.push("", Kind::Array { element, index, count })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        encode_btf(self.builder.so_far(), ByteOrder::HOST).unwrap()
    }

    pub(crate) fn load(&self, kernel: &Kernel) -> KernelBtf {
        kernel.btf_load(&self.bytes(), 1).unwrap_or_else(|e| panic!("{e}\n{}", e.log))
    }
}

/// A map of this kind with keys of 4 and values of 8 bytes where the kind leaves the choice.
pub(crate) fn map_of(
    kernel: &Kernel,
    kind: MapType,
    types: &KernelBtf,
    ids: &Types,
) -> Result<Map, String> {
    use MapType as M;
    let (key, value, entries) = match kind {
        M::Ringbuf | M::UserRingbuf => (0, 0, 4096),
        M::Queue | M::Stack | M::BloomFilter => (0, 8, 4),
        M::ProgArray | M::PerfEventArray | M::CgroupArray | M::ArrayOfMaps | M::HashOfMaps => {
            (4, 4, 4)
        }
        M::Devmap | M::DevmapHash | M::Cpumap | M::Xskmap | M::Sockmap | M::Sockhash => (4, 4, 4),
        M::StackTrace => (4, 80, 4),
        M::CgroupStorage | M::PercpuCgroupStorage => (8, 8, 0),
        M::SkStorage | M::InodeStorage | M::TaskStorage | M::CgrpStorage => (4, 8, 0),
        M::LpmTrie => (8, 8, 4),
        M::Arena => (0, 0, 1),
        _ => (4, 8, 4),
    };
    let mut request = MapRequest::new(kind, key, value, entries);
    let inner;
    match kind {
        M::SkStorage | M::InodeStorage | M::TaskStorage | M::CgrpStorage => {
            request.flags = MapFlags::NO_PREALLOC;
            request.btf = Some(types);
            (request.btf_key_type_id, request.btf_value_type_id) = (ids.int.0, ids.long.0);
        }
        M::LpmTrie => request.flags = MapFlags::NO_PREALLOC,
        M::Arena => {
            request.flags = MapFlags::MMAPABLE;
            request.extra = 1 << 44;
        }
        M::ArrayOfMaps | M::HashOfMaps => {
            inner = kernel
                .map_create(&MapRequest::new(M::Array, 4, 8, 1))
                .map_err(|e| e.to_string())?;
            request.inner_map = Some(&inner);
        }
        _ => {}
    }
    kernel.map_create(&request).map_err(|e| e.to_string())
}

/// The last line of a log that gives a reason.
pub(crate) fn last(log: &str) -> &str {
    let follows = |line: &&str| !line.starts_with("processed ") && !line.is_empty();
    log.lines().rev().find(follows).unwrap_or_default()
}
