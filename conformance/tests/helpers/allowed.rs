//! Which program types may call which helper: the table says what the kernel says.

use ebpfvm_asm::{Builder, ByteOrder};
use ebpfvm_kernel::prog::{load_flags, log_level};
use ebpfvm_kernel::{Kernel, LoadRequest};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{AttachType, ProgType};

/// Types that load without a function to attach to, with an attach type where one is needed.
fn loadable() -> impl Iterator<Item = (ProgType, AttachType)> {
    ProgType::ALL.iter().filter_map(|prog_type| {
        let attach = match prog_type {
            ProgType::CgroupSockAddr => 8,
            ProgType::CgroupSock => 2,
            ProgType::CgroupSockopt => 21,
            ProgType::SkLookup => 36,
            ProgType::Netfilter => 45,
            ProgType::Unspec
            | ProgType::LircMode2
            | ProgType::Tracing
            | ProgType::StructOps
            | ProgType::Ext
            | ProgType::Lsm
            | ProgType::Raw => return None,
            _ => 0,
        };
        Some((*prog_type, AttachType(attach)))
    })
}

/// Where the kernel has another helper under the same number, with other arguments.
const OTHERS: &[(&str, ProgType)] = &[("xdp_get_buff_len", ProgType::Syscall)];

/// Whether the kernel lets a program of this type call the helper at all, whatever its arguments.
fn kernel_allows(kernel: &Kernel, id: u32, prog_type: ProgType, attach: AttachType) -> bool {
    let mut program = Builder::new();
    program.call(id).exit();
    let bytes = program.build().unwrap().to_bytes(ByteOrder::HOST).unwrap();
    let request = LoadRequest {
        log_level: log_level::PATH,
        expected_attach_type: attach,
        flags: if prog_type == ProgType::Syscall { load_flags::SLEEPABLE } else { 0 },
        ..LoadRequest::new(prog_type, &bytes)
    };
    match kernel.prog_load(&request) {
        Ok(_) => true,
        Err(e) => {
            assert!(!e.log.is_empty(), "{} is not loaded: {e}", prog_type.name());
            !e.log.contains("cannot use helper") && !e.log.contains("unknown func")
        }
    }
}

#[test]
fn helpers_are_allowed_where_the_kernel_allows_them() {
    let name = "helpers_are_allowed_where_the_kernel_allows_them";
    let kernel = match Kernel::probe() {
        Ok(kernel) if kernel.version() >= (6, 18) => kernel,
        Ok(kernel) => return eprintln!("SKIPPED {name}: Linux {} is too old", kernel.release()),
        Err(e) => return eprintln!("SKIPPED {name}: {e}"),
    };
    let mut wrong = Vec::new();
    for proto in HELPERS {
        for (prog_type, attach) in loadable() {
            if OTHERS.contains(&(&proto.name, prog_type)) {
                continue;
            }
            let expected = kernel_allows(&kernel, proto.id, prog_type, attach);
            if proto.allowed.contains(prog_type) != expected {
                let verb = if expected { "allows" } else { "refuses" };
                wrong.push(format!("{}: the kernel {verb} {}", proto.name, prog_type.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
