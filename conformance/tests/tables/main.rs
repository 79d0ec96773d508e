//! Tables that verdicts depend on, compared with the kernel: which maps go with which helpers and
//! programs, which fields of map values are special, what sockets show.

mod bench;
mod contracts;
mod fields;
mod map_kinds;
mod objects;
mod privileges;
