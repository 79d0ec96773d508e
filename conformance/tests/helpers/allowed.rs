//! Which program types may call which helper: the table says what the kernel says.

use ebpfvm_asm::{Builder, ByteOrder};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, linux_6_18_or_skip};
use ebpfvm_spec::linux::{HELPER_NAMES, HELPERS};
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{AttachType, ProgType};

/// Types that load without a function to attach to, with the attach types that may matter.
fn loadable() -> impl Iterator<Item = (ProgType, AttachType)> {
    ProgType::ALL.iter().flat_map(|prog_type| {
        let attach: &[u32] = match prog_type {
            ProgType::Kprobe => &[0, 42, 48, 56],
            ProgType::Xdp => &[0, 33, 35, 37],
            ProgType::SchedCls => &[0, 46, 47],
            ProgType::CgroupSkb => &[0, 1],
            ProgType::CgroupDevice => &[0, 6],
            ProgType::CgroupSysctl => &[0, 18],
            ProgType::CgroupSockAddr => {
                &[8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53]
            }
            ProgType::CgroupSock => &[2, 12, 13, 34],
            ProgType::CgroupSockopt => &[21, 22],
            ProgType::SkReuseport => &[39, 40],
            ProgType::SkLookup => &[36],
            ProgType::Netfilter => &[45],
            ProgType::Unspec
            | ProgType::LircMode2
            | ProgType::Tracing
            | ProgType::StructOps
            | ProgType::Ext
            | ProgType::Lsm
            | ProgType::Raw => &[],
            _ => &[0],
        };
        attach.iter().map(|attach| (*prog_type, AttachType(*attach)))
    })
}

/// Helpers that only kernels built or locked in a certain way have at all.
const CONFIGURED: &[&str] = &["probe_write_user", "override_return"];

/// What the kernel says of a helper that a program may not call.
const REFUSALS: &[&str] =
    &["cannot use helper", "unknown func", "not supported for program type", "supported only for"];

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
            !REFUSALS.iter().any(|refusal| e.log.contains(refusal))
        }
    }
}

#[test]
fn helpers_are_allowed_where_the_kernel_allows_them() {
    let name = "helpers_are_allowed_where_the_kernel_allows_them";
    let Some(kernel) = linux_6_18_or_skip(name) else { return };
    let mut wrong = Vec::new();
    for (id, (name, _)) in (1..).zip(HELPER_NAMES) {
        if CONFIGURED.contains(&name) {
            continue;
        }
        let protos: Vec<_> = HELPERS.iter().filter(|proto| proto.id == id).collect();
        for (prog_type, attach) in loadable() {
            let expected = kernel_allows(&kernel, id, prog_type, attach);
            if protos.iter().any(|proto| proto.allows(prog_type, attach)) != expected {
                let verb = if expected { "allows" } else { "refuses" };
                let (name_of_type, attach) = (prog_type.name(), attach.0);
                wrong.push(format!(
                    "{name}: the kernel {verb} {name_of_type}, attach type {attach}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
