//! Maps of the machine and of the kernel: the same definitions are refused with the same error
//! numbers, and the same operations give the same results, errors and contents.

mod batches;
mod cases;
mod definitions;
mod judge;
mod nested;
mod operations;
mod owners;
mod programs;
mod sockets;
mod streams;
mod struct_ops;
mod typed;
