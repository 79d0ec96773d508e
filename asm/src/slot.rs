//! The wire form: one 8-byte slot (RFC 9669, section 3.1).

/// The size of one slot in bytes.
pub const SLOT_BYTES: usize = 8;

/// The byte order of an encoded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    /// `bpfel`: least significant byte first.
    #[default]
    Little,
    /// `bpfeb`: most significant byte first; the register nibbles are swapped too.
    Big,
}

impl ByteOrder {
    /// The byte order of the machine this runs on.
    pub const HOST: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

/// One slot: the five fields of the basic encoding, not yet interpreted.
///
/// `dst` and `src` are the 4-bit fields as they stand, so they may exceed 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Slot {
    /// Class, operation or mode, size or source.
    pub opcode: u8,
    /// Destination register field, 0 to 15.
    pub dst: u8,
    /// Source register field, 0 to 15.
    pub src: u8,
    /// Signed 16-bit offset.
    pub offset: i16,
    /// Signed 32-bit immediate.
    pub imm: i32,
}

impl Slot {
    /// Reads a slot from its 8 bytes.
    pub fn from_bytes(b: [u8; SLOT_BYTES], order: ByteOrder) -> Slot {
        let offset = [b[2], b[3]];
        let imm = [b[4], b[5], b[6], b[7]];
        match order {
            ByteOrder::Little => Slot {
                opcode: b[0],
                dst: b[1] & 0xf,
                src: b[1] >> 4,
                offset: i16::from_le_bytes(offset),
                imm: i32::from_le_bytes(imm),
            },
            ByteOrder::Big => Slot {
                opcode: b[0],
                dst: b[1] >> 4,
                src: b[1] & 0xf,
                offset: i16::from_be_bytes(offset),
                imm: i32::from_be_bytes(imm),
            },
        }
    }

    /// Writes the slot as 8 bytes. Register fields are cut to their 4 bits.
    pub fn to_bytes(self, order: ByteOrder) -> [u8; SLOT_BYTES] {
        let (dst, src) = (self.dst & 0xf, self.src & 0xf);
        let (regs, offset, imm) = match order {
            ByteOrder::Little => {
                (src << 4 | dst, self.offset.to_le_bytes(), self.imm.to_le_bytes())
            }
            ByteOrder::Big => (dst << 4 | src, self.offset.to_be_bytes(), self.imm.to_be_bytes()),
        };
        [self.opcode, regs, offset[0], offset[1], imm[0], imm[1], imm[2], imm[3]]
    }

    /// Splits bytes into slots.
    ///
    /// # Errors
    /// The number of bytes left over when the length is not a multiple of 8.
    pub fn all_from_bytes(bytes: &[u8], order: ByteOrder) -> Result<Vec<Slot>, usize> {
        let (chunks, rest) = bytes.as_chunks::<SLOT_BYTES>();
        if rest.is_empty() {
            Ok(chunks.iter().map(|b| Slot::from_bytes(*b, order)).collect())
        } else {
            Err(rest.len())
        }
    }
}
