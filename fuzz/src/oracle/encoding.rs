//! What decodes, encodes to the same bytes; in both byte orders the same program.

use super::{Failure, Seen, expect};
use ebpfvm_asm::slot::SLOT_BYTES;
use ebpfvm_asm::{ByteOrder, Code, DecodeErrorKind};

/// Checks a program given as bytes.
///
/// # Errors
/// What does not come back.
pub fn check(bytes: &[u8]) -> Result<Seen, Failure> {
    let mut seen = "refused";
    for order in [ByteOrder::Little, ByteOrder::Big] {
        match Code::from_bytes(bytes, order) {
            Ok(code) => {
                round_trip(&code, bytes, order)?;
                seen = "decoded";
            }
            Err(error) => {
                let slots = bytes.len() / SLOT_BYTES;
                let whole = bytes.len().is_multiple_of(SLOT_BYTES);
                let at_end = error.kind == DecodeErrorKind::Truncated && error.slot <= slots;
                let inside = error.slot < slots;
                expect("decode", inside || (at_end && (!whole || slots > 0)), || {
                    format!("the error is outside the program of {slots} slots: {error}")
                })?;
                // All that is before the error is a program.
                if whole {
                    let before = &bytes[..error.slot * SLOT_BYTES];
                    let code = Code::from_bytes(before, order).map_err(|e| {
                        Failure::new("decode", format!("{error}, but without it: {e}"))
                    })?;
                    round_trip(&code, before, order)?;
                }
            }
        }
    }
    Ok(seen)
}

fn round_trip(code: &Code, bytes: &[u8], order: ByteOrder) -> Result<(), Failure> {
    let failed = |e| Failure::new("encode", format!("what decodes has no encoding: {e}"));
    let again = code.to_bytes(order).map_err(failed)?;
    expect("encode", again == bytes, || {
        format!("{order:?}: {again:02x?}; expected {bytes:02x?}, of {code:?}")
    })?;
    let other = if order == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little };
    let swapped = code.to_bytes(other).map_err(failed)?;
    let same = Code::from_bytes(&swapped, other);
    expect("byte order", same.as_ref() == Ok(code), || format!("{same:?}; expected {code:?}"))
}
