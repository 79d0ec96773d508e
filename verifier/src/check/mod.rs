//! Whether the needs of an instruction are met. Nothing here changes what a register holds.
//!
//! By kind of memory:
//! - [`mod@alignment`]: addresses that are multiples of the size
//! - [`mod@region`]: memory of known size; pointers that must not be moved
//! - [`mod@map_value`]: values, keys and kernel structs of maps
//! - [`mod@packet`]: packets and their metadata
//! - [`mod@object`]: contexts, sockets, flow keys, buffers
//! - [`mod@stack`]: bytes, spills and fills of stacks
//!
//! And what helpers take: [`mod@argument`].

mod access;
mod alignment;
pub(crate) mod argument;
mod map_value;
mod object;
mod packet;
mod region;
mod stack;

pub(crate) use access::Access;
pub(crate) use alignment::alignment;
pub(crate) use map_value::{By, known_content, map_direction, map_struct, map_value};
pub(crate) use object::{buffer, context, flow_keys, pointee, socket};
pub(crate) use packet::packet;
pub(crate) use region::{MAX_VARIABLE_BYTES, Range, Region, fixed_offset, memory_region};
pub(crate) use stack::{
    Fill, Place, fixed_place, load, load_in_place, load_somewhere, reads_anything, stack_place,
};
