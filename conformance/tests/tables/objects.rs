//! What sockets and flow keys show: loads and stores of every size at every offset.

use crate::bench::{Host, refusal};
use ebpfvm_kernel::{MapRequest, linux_6_18_or_skip};
use ebpfvm_spec::{
    AttachType, ContextAccess, Direction, MapType, ObjectAccess, Platform, Pointee, ProgType,
};

/// How a program comes to a pointer in r7, and what it points to.
fn ways(xskmap: i32) -> Vec<(Pointee, Host, String)> {
    let skb = "r7 = *(u64 *)(r1 + 168)\nif r7 != 0 goto +2\nr0 = 0\nexit\n";
    let cast = |helper: u32| {
        format!("{skb}r1 = r7\ncall {helper}\nif r0 != 0 goto +2\nr0 = 0\nexit\nr7 = r0\n")
    };
    let cls = Host::new(ProgType::SchedCls);
    let lookup = format!(
        "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:{xskmap}]\ncall 1\n\
         if r0 != 0 goto +2\nr0 = 0\nexit\nr7 = r0\n"
    );
    let dissector = "r7 = *(u64 *)(r1 + 144)\n".to_string();
    vec![
        (Pointee::SockCommon, cls, skb.to_string()),
        (Pointee::Sock, cls, cast(95)),
        (Pointee::TcpSock, cls, cast(96)),
        (Pointee::XdpSock, Host::new(ProgType::Xdp), lookup),
        (Pointee::FlowKeys, Host::new(ProgType::FlowDissector), dissector),
    ]
}

#[test]
fn objects_show_what_the_kernel_shows() {
    let test = "objects_show_what_the_kernel_shows";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let platform = Platform::linux();
    let xskmap = kernel.map_create(&MapRequest::new(MapType::Xskmap, 4, 4, 1)).unwrap();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (pointee, host, way) in ways(xskmap.fd()) {
        let object = platform.object(pointee).unwrap();
        let end = object.layout.bytes as i32 + 8;
        for offset in -2..end {
            for (bytes, kind) in [(1u32, "8"), (2, "16"), (4, "32"), (8, "64")] {
                let place = format!("(r7 {} {})", if offset < 0 { '-' } else { '+' }, offset.abs());
                let touches = [
                    (Direction::Read, false, format!("r0 = *(u{kind} *){place}\n")),
                    (Direction::Read, true, format!("r0 = *(s{kind} *){place}\n")),
                    (Direction::Write, false, format!("*(u{kind} *){place} = 1\n")),
                    (Direction::Write, false, format!("r0 = 1\n*(u{kind} *){place} = r0\n")),
                ];
                for (direction, sign_extends, text) in touches {
                    if sign_extends && bytes == 8 {
                        continue;
                    }
                    asked += 1;
                    let expected = u32::try_from(offset).is_ok_and(|offset| match object.access {
                        ObjectAccess::Memory => offset + bytes <= object.layout.bytes,
                        ObjectAccess::Fields => {
                            let access = ContextAccess {
                                prog_type: host.prog_type,
                                attach_type: AttachType::NONE,
                                offset,
                                bytes,
                                direction,
                                sign_extends,
                            };
                            object.layout.access(&access).is_some()
                        }
                    });
                    let log = refusal(&kernel, host, &format!("{way}{text}r0 = 0\nexit\n"));
                    if log.is_none() != expected {
                        let said = log.as_deref().map_or("accepted", crate::bench::last);
                        wrong.push(format!("{pointee:?} {}: {said}", text.trim_end()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
}
