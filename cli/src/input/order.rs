//! Byte orders on the command line.

use clap::ValueEnum;
use ebpfvm_asm::ByteOrder;

/// The byte order of bare instructions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Order {
    /// bpfel: least significant byte first
    Little,
    /// bpfeb: most significant byte first
    Big,
}

impl From<Order> for ByteOrder {
    fn from(order: Order) -> ByteOrder {
        match order {
            Order::Little => ByteOrder::Little,
            Order::Big => ByteOrder::Big,
        }
    }
}
