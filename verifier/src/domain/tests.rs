//! The domain against the concrete meaning of instructions: exhaustively on small words, with
//! random values on the real one. The operations are those of the instruction set's own lists.

mod bits;
mod exhaustive;
mod sample;
mod text;
mod tnum;
pub(crate) mod words;
