//! Programs on packets do here what they do in the kernel's test-run: random calls of helpers on
//! random packets.

mod dissector;
mod draw;
mod sides;
mod xdp;
