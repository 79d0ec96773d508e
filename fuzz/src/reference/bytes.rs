//! Memory that holds values: a byte is a number, a part of a pointer, or unknown.

use super::value::{Pointer, Value};
use ebpfvm_asm::Size;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Number(u8),
    /// The byte with this index, in the order of addresses, of a pointer.
    Part(Pointer, u8),
    Unknown,
}

/// The bytes of one region.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Vec<Byte>);

/// The part of a value's eight bytes that a store of a size writes.
fn low(bytes: [u8; 8], size: Size) -> Vec<u8> {
    let n = size.bytes() as usize;
    let part = if cfg!(target_endian = "little") { &bytes[..n] } else { &bytes[8 - n..] };
    part.to_vec()
}

impl Bytes {
    /// A region with this content.
    pub(super) fn new(content: &[u8]) -> Bytes {
        Bytes(content.iter().map(|byte| Byte::Number(*byte)).collect())
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The numbers; none where a byte depends on addresses.
    pub(super) fn numbers(&self) -> Vec<Option<u8>> {
        let number = |byte: &Byte| if let Byte::Number(n) = byte { Some(*n) } else { None };
        self.0.iter().map(number).collect()
    }

    /// The zero-extended value at an index; all its bytes are in the region.
    pub(super) fn load(&self, at: usize, size: Size) -> Value {
        let bytes = &self.0[at..at + size.bytes() as usize];
        if let (Byte::Part(pointer, 0), Size::Dw) = (bytes[0], size) {
            let whole = (0..8).all(|i| bytes[i] == Byte::Part(pointer, i as u8));
            return if whole { Value::Pointer(pointer) } else { Value::Unknown };
        }
        let mut number = 0u64;
        for (i, byte) in bytes.iter().enumerate() {
            let Byte::Number(byte) = byte else { return Value::Unknown };
            let place = if cfg!(target_endian = "little") { i } else { bytes.len() - 1 - i };
            number |= u64::from(*byte) << (8 * place);
        }
        Value::Number(number)
    }

    /// Stores the low part of a value at an index; all its bytes are in the region.
    pub(super) fn store(&mut self, at: usize, size: Size, value: Value) {
        let bytes = &mut self.0[at..at + size.bytes() as usize];
        match (value, size) {
            (Value::Number(number), _) => {
                for (byte, number) in bytes.iter_mut().zip(low(number.to_ne_bytes(), size)) {
                    *byte = Byte::Number(number);
                }
            }
            (Value::Pointer(pointer), Size::Dw) => {
                for (byte, i) in bytes.iter_mut().zip(0..) {
                    *byte = Byte::Part(pointer, i);
                }
            }
            _ => bytes.fill(Byte::Unknown),
        }
    }
}
