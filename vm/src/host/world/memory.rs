//! Memory of a given world that is not the program's: of its kernel and of its current process.

use crate::host::Space;

/// A piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose it is.
    pub space: Space,
    /// The address of its first byte.
    pub address: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// All that can be read. Where pieces overlap, the first counts; everywhere else reading faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The pieces.
    pub pieces: Vec<Piece>,
}

impl Memory {
    /// Copies as many bytes as `out` takes; whether all of them are there.
    pub(super) fn read(&self, space: Space, address: u64, out: &mut [u8]) -> bool {
        let mut done = 0;
        while done < out.len() {
            let Some(from) = address.checked_add(done as u64) else { return false };
            let part = self.pieces.iter().filter(|piece| piece.space == space).find_map(|piece| {
                let start = usize::try_from(from.checked_sub(piece.address)?).ok()?;
                piece.bytes.get(start..).filter(|part| !part.is_empty())
            });
            let Some(part) = part else { return false };
            let bytes = part.len().min(out.len() - done);
            out[done..done + bytes].copy_from_slice(&part[..bytes]);
            done += bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_touch_are_read_as_one() {
        let piece = |space, address, bytes: &[u8]| Piece { space, address, bytes: bytes.into() };
        let pieces = vec![
            piece(Space::User, 10, b"abc"),
            piece(Space::User, 13, b"def"),
            piece(Space::Kernel, 16, b"x"),
            piece(Space::User, u64::MAX, b"z"),
        ];
        let memory = Memory { pieces };
        let read = |space, address, bytes| {
            let mut out = vec![0; bytes];
            memory.read(space, address, &mut out).then_some(out)
        };
        assert_eq!(read(Space::User, 11, 4).as_deref(), Some(&b"bcde"[..]));
        assert_eq!(read(Space::User, 11, 6), None);
        assert_eq!(read(Space::User, 9, 2), None);
        assert_eq!(read(Space::Kernel, 16, 1).as_deref(), Some(&b"x"[..]));
        assert_eq!(read(Space::Kernel, 10, 1), None);
        assert_eq!(read(Space::User, u64::MAX, 1).as_deref(), Some(&b"z"[..]));
        assert_eq!(read(Space::User, u64::MAX, 2), None);
    }
}
