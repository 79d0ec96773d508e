//! An object file with as many types as a kernel has, written when it is needed.

use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::encode_btf;
use ebpfvm_spec::btf::{BtfBuilder, Compound, IntEncoding, Kind, Linkage, Member, Name};

const HEADER_BYTES: usize = 64;
/// Members of each struct.
const MEMBERS: u32 = 8;

/// Types of about `structs` times 250 bytes: structs of numbers and pointers to the struct before.
fn types(structs: u32) -> Vec<u8> {
    let mut b = BtfBuilder::new();
    let name = b.intern("int");
    let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
    let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let params = b.span([]);
    let proto = b.push(Name::EMPTY, Kind::FuncProto { ret: int, params });
    let name = b.intern("main");
    b.push(name, Kind::Func { proto, linkage: Linkage::Global });
    let mut last = int;
    for i in 0..structs {
        let pointer = b.push(Name::EMPTY, Kind::Ptr(last));
        let members: Vec<Member> = (0..MEMBERS)
            .map(|m| Member {
                name: b.intern(&format!("member_{}_{m}", i % 5000)),
                type_id: if m % 2 == 0 { int } else { pointer },
                bit_offset: m * 64,
                bitfield_bits: 0,
            })
            .collect();
        let members = b.span(members);
        let name = b.intern(&format!("struct_number_{i}"));
        let kind = Kind::Compound { compound: Compound::Struct, bytes: MEMBERS * 8, members };
        last = b.push(name, kind);
    }
    encode_btf(&b.finish().expect("the types fit together"), ByteOrder::Little)
        .expect("the types fit the wire form")
}

/// An object with one program, a licence and the types.
pub fn large_object(structs: u32) -> Vec<u8> {
    /// `r0 = 0; exit`
    const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    const PROGBITS: u32 = 1;
    const SYMTAB: u32 = 2;
    const STRTAB: u32 = 3;
    /// `SHF_ALLOC`, `SHF_EXECINSTR`
    const CODE_FLAGS: u64 = 6;
    let names = b"\0xdp\0license\0.BTF\0.strtab\0.symtab\0main\0".to_vec();
    let name = |text: &str| {
        let text = [&[0], text.as_bytes(), &[0]].concat();
        names.windows(text.len()).position(|w| w == text).expect("the name is there") as u32 + 1
    };
    // The null symbol, then the function: its name, global, in section 1, 16 bytes at 0.
    let mut symbols = vec![0; 24];
    symbols.extend(name("main").to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend([0u64, 16].iter().flat_map(|n| n.to_le_bytes()));
    let sections = [
        ("xdp", PROGBITS, CODE_FLAGS, CODE.to_vec(), 0, 0),
        ("license", PROGBITS, 3, b"GPL\0".to_vec(), 0, 0),
        (".BTF", PROGBITS, 0, types(structs), 0, 0),
        (".strtab", STRTAB, 0, names.clone(), 0, 0),
        (".symtab", SYMTAB, 0, symbols, 4, 24u64),
    ];
    let mut out = vec![0; HEADER_BYTES];
    let mut headers = vec![0; 64];
    for (section, kind, flags, content, link, entry) in sections {
        out.resize(out.len().next_multiple_of(8), 0);
        let place = (out.len() as u64, content.len() as u64);
        headers.extend([name(section), kind].iter().flat_map(|n| n.to_le_bytes()));
        headers.extend([flags, 0, place.0, place.1].iter().flat_map(|n| n.to_le_bytes()));
        headers
            .extend([link, u32::from(kind == SYMTAB)].iter().flat_map(|n: &u32| n.to_le_bytes()));
        headers.extend([8, entry].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(content);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    let count = (headers.len() / 64) as u16;
    out.extend(headers);
    // 64-bit, little-endian, version 1; a relocatable object for BPF.
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([1u16, 247].iter().flat_map(|n| n.to_le_bytes()));
    header.extend(1u32.to_le_bytes());
    header.extend([0, 0, table].iter().flat_map(|n| n.to_le_bytes()));
    header.extend(0u32.to_le_bytes());
    header.extend([64u16, 0, 0, 64, count, 4].iter().flat_map(|n| n.to_le_bytes()));
    out[..HEADER_BYTES].copy_from_slice(&header);
    out
}

#[cfg(test)]
mod tests {
    use super::large_object;

    #[test]
    fn the_object_opens() {
        let object = ebpfvm_loader::Object::parse(&large_object(10), "large.o").unwrap();
        assert_eq!(object.programs().len(), 1);
        assert_eq!(object.link("main").unwrap().code.len(), 2);
    }
}
