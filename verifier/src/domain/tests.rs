//! The domain against the concrete meaning of instructions.

mod text;
