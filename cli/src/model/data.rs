//! What the bytes are called that programs of each type run on.

use ebpfvm::context::{Data, data_of};
use ebpfvm_spec::ProgType;

/// `packet`, `message`, `option value`, ... ; `memory` of programs on plain memory.
pub(crate) fn name(prog_type: ProgType) -> &'static str {
    with_article(prog_type).split_once(' ').map_or("data", |(_, name)| name)
}

/// The same as `a packet`.
pub(crate) fn with_article(prog_type: ProgType) -> &'static str {
    match (prog_type, data_of(prog_type)) {
        (ProgType::Raw, _) => "some memory",
        (ProgType::SockOps, _) => "a TCP header",
        (ProgType::CgroupSockopt, _) => "an option value",
        (ProgType::Syscall, _) => "an argument",
        (ProgType::Kprobe | ProgType::PerfEvent, _) => "some registers",
        (ProgType::RawTracepoint, _) => "some arguments",
        (_, Some(Data::Xdp | Data::Skb | Data::Network)) => "a packet",
        (_, Some(Data::Stream)) => "a stream",
        (_, Some(Data::Message)) => "a message",
        (_, Some(Data::Window)) => "a packet",
        (_, Some(Data::Context | Data::Record)) => "a record",
        (_, Some(Data::Buffer)) => "a buffer",
        _ => "some data",
    }
}
