//! What a context of sockets must be so that a program can be run on it at its hook: of the address
//! family of the hook, with addresses of one family and ports in their range. The kernel has no
//! others, so what programs would find in them is nobody's promise.

use super::Context;
use crate::socket::{AF_INET, AF_INET6};
use ebpfvm_spec::{AttachType, ProgType};

/// Hooks of IPv4 and of IPv6.
const HOOKS: &[(AttachType, u64)] = &[
    (AttachType::CGROUP_INET4_BIND, AF_INET),
    (AttachType::CGROUP_INET4_CONNECT, AF_INET),
    (AttachType::CGROUP_INET4_GETPEERNAME, AF_INET),
    (AttachType::CGROUP_INET4_GETSOCKNAME, AF_INET),
    (AttachType::CGROUP_INET4_POST_BIND, AF_INET),
    (AttachType::CGROUP_UDP4_SENDMSG, AF_INET),
    (AttachType::CGROUP_UDP4_RECVMSG, AF_INET),
    (AttachType::CGROUP_INET6_BIND, AF_INET6),
    (AttachType::CGROUP_INET6_CONNECT, AF_INET6),
    (AttachType::CGROUP_INET6_GETPEERNAME, AF_INET6),
    (AttachType::CGROUP_INET6_GETSOCKNAME, AF_INET6),
    (AttachType::CGROUP_INET6_POST_BIND, AF_INET6),
    (AttachType::CGROUP_UDP6_SENDMSG, AF_INET6),
    (AttachType::CGROUP_UDP6_RECVMSG, AF_INET6),
];

/// The fields with addresses, by program type: the one that says the family, and those of each.
struct Addresses {
    prog_type: ProgType,
    family: &'static str,
    ip4: &'static [&'static str],
    ip6: &'static [&'static str],
    /// Fields that hold a port in 16 bits.
    ports: &'static [&'static str],
}

const ADDRESSES: &[Addresses] = &[
    Addresses {
        prog_type: ProgType::CgroupSockAddr,
        family: "user_family",
        ip4: &["user_ip4", "msg_src_ip4"],
        ip6: &["user_ip6", "msg_src_ip6"],
        ports: &["user_port"],
    },
    Addresses {
        prog_type: ProgType::SkLookup,
        family: "family",
        ip4: &["remote_ip4", "local_ip4"],
        ip6: &["remote_ip6", "local_ip6"],
        ports: &["remote_port", "local_port"],
    },
    Addresses {
        prog_type: ProgType::CgroupSock,
        family: "family",
        // A socket of IPv6 has an address of IPv4 too.
        ip4: &[],
        ip6: &[],
        ports: &["src_port"],
    },
];

impl Context {
    /// Makes the context ready for a program at this hook.
    ///
    /// # Errors
    /// What in it contradicts itself or the hook.
    pub(crate) fn prepare(&mut self, attach: AttachType) -> Result<(), String> {
        let Some(rule) = ADDRESSES.iter().find(|rule| rule.prog_type == self.prog_type) else {
            return Ok(());
        };
        let name = self.context_name();
        let mut family = self.field(rule.family).unwrap_or(0);
        if let Some((_, hook)) = HOOKS.iter().find(|(hook, _)| *hook == attach) {
            if family == 0 {
                family = *hook;
                self.put(rule.family, family);
            }
            if family != *hook {
                return Err(format!(
                    "{name}.{} is {family}, but the program is for a hook of {}",
                    rule.family,
                    version(*hook)
                ));
            }
        }
        let wrong = match family {
            AF_INET => rule.ip6,
            AF_INET6 => rule.ip4,
            0 if self.prog_type == ProgType::SkLookup => {
                return Err(format!("{name}.family must be 2 (IPv4) or 10 (IPv6)"));
            }
            other if self.prog_type == ProgType::SkLookup => {
                return Err(format!("{name}.family is {other}, neither 2 (IPv4) nor 10 (IPv6)"));
            }
            _ => &[],
        };
        if let Some(field) = wrong.iter().find(|field| self.is_set(field)) {
            return Err(format!("{name}.{field} is set in a context of {}", version(family)));
        }
        for port in rule.ports {
            let value = self.field(port).unwrap_or(0);
            // A port in network order is in the first two bytes of its field.
            if value > u16::MAX.into() {
                return Err(format!("{name}.{port} is {value}; ports have 16 bits"));
            }
        }
        Ok(())
    }

    /// Whether a field, or an element of it, is not 0.
    fn is_set(&self, name: &str) -> bool {
        let elements = self.def.as_ref().and_then(|def| def.field(name));
        let count = elements.map_or(0, |field| field.bytes / field.unit);
        (0..count).any(|i| self.field(&format!("{name}[{i}]")).is_ok_and(|value| value != 0))
    }
}

fn version(family: u64) -> &'static str {
    if family == AF_INET { "IPv4" } else { "IPv6" }
}
