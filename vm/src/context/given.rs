//! What belongs to a context although no field of it shows it: the name of a system parameter, the
//! key of a tunnel, the class of a packet. Helpers ask for it and change it.
//!
//! It is set and read by name like the fields; which there are is one table.

use super::{Context, ContextError};
use crate::helper::XFRM_STATE_BYTES;
use crate::tunnel::KEY_BYTES;
use ebpfvm_spec::ProgType;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A number of at most so many bytes.
    Number(u32),
    /// So many bytes, a multiple of `unit`.
    Bytes { min: usize, max: usize, unit: usize },
}

/// Something given with contexts of these types.
pub(super) struct Given {
    pub(super) name: &'static str,
    pub(super) types: &'static [ProgType],
    pub(super) form: Form,
}

const fn given(name: &'static str, types: &'static [ProgType], form: Form) -> Given {
    Given { name, types, form }
}

/// A page, to which the kernel cuts the texts of system parameters.
const PAGE_BYTES: usize = 4096;

/// Programs whose system call gives back what they set. Of socket options it is a field.
const WITH_RETVAL: &[ProgType] = &[
    ProgType::CgroupSysctl,
    ProgType::CgroupDevice,
    ProgType::CgroupSock,
    ProgType::CgroupSockAddr,
];
const SYSCTL: &[ProgType] = &[ProgType::CgroupSysctl];
const CLASSIFIERS: &[ProgType] = &[ProgType::SchedCls, ProgType::SchedAct];
const SK_MSG: &[ProgType] = &[ProgType::SkMsg];
const SK_LOOKUP: &[ProgType] = &[ProgType::SkLookup];
const SK_REUSEPORT: &[ProgType] = &[ProgType::SkReuseport];
const SOCK_OPS: &[ProgType] = &[ProgType::SockOps];

const KPROBE: &[ProgType] = &[ProgType::Kprobe];
const ATTACHED: &[ProgType] = &[
    ProgType::Kprobe,
    ProgType::Tracepoint,
    ProgType::RawTracepoint,
    ProgType::RawTracepointWritable,
    ProgType::PerfEvent,
];

/// Programs that set and read tunnels, and those that know the packet's socket.
const TUNNELLED: &[ProgType] = &[ProgType::SchedCls, ProgType::SchedAct, ProgType::LwtXmit];
const WITH_SOCKET: &[ProgType] = &[
    ProgType::SchedCls,
    ProgType::SchedAct,
    ProgType::CgroupSkb,
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
    ProgType::LwtSeg6local,
];

/// The most levels of cgroups, far more than the kernel's limit of memory for paths allows.
const CGROUP_LEVELS: usize = 512;

/// All that can be given.
pub(super) const GIVEN: &[Given] = &[
    given("retval", WITH_RETVAL, Form::Number(4)),
    // `struct bpf_tunnel_key` with its flags, as received; afterwards what a program has set.
    given("tunnel_key", TUNNELLED, Form::Bytes { min: KEY_BYTES, max: KEY_BYTES, unit: 1 }),
    given("tunnel_is_ipv6", TUNNELLED, Form::Number(1)),
    given("tunnel_options", TUNNELLED, Form::Bytes { min: 0, max: 255, unit: 1 }),
    // One `struct bpf_xfrm_state` after the other.
    given(
        "xfrm_states",
        CLASSIFIERS,
        Form::Bytes { min: 0, max: 6 * XFRM_STATE_BYTES, unit: XFRM_STATE_BYTES },
    ),
    // Numbers of 8 bytes: the cgroups of the packet's socket, the root first.
    given("cgroup_ids", WITH_SOCKET, Form::Bytes { min: 8, max: 8 * CGROUP_LEVELS, unit: 8 }),
    given("cgroup_classid", CLASSIFIERS, Form::Number(4)),
    // The path below `/proc/sys`.
    given("name", SYSCTL, Form::Bytes { min: 1, max: PAGE_BYTES, unit: 1 }),
    given("current_value", SYSCTL, Form::Bytes { min: 0, max: PAGE_BYTES, unit: 1 }),
    given("new_value", SYSCTL, Form::Bytes { min: 0, max: PAGE_BYTES, unit: 1 }),
    // Whether the packet is on its way in, where sockets can be assigned to it.
    given("at_ingress", CLASSIFIERS, Form::Number(1)),
    // For how many bytes the verdict is, and from how many on the next is asked for.
    given("apply_bytes", SK_MSG, Form::Number(4)),
    given("cork_bytes", SK_MSG, Form::Number(4)),
    // Whether a group of sockets that share an address is not asked (`BPF_SK_LOOKUP_F_NO_REUSEPORT`).
    given("no_reuseport", SK_LOOKUP, Form::Number(1)),
    // The headers before the bytes that the program sees, from the link-layer header on.
    given("headers", SK_REUSEPORT, Form::Bytes { min: 14, max: PAGE_BYTES, unit: 1 }),
    // The bytes of options that can still be reserved or written.
    given("remaining_opt_len", SOCK_OPS, Form::Number(1)),
    // The frame that asks for the connection, where a request is.
    given("syn", SOCK_OPS, Form::Bytes { min: 54, max: PAGE_BYTES, unit: 1 }),
    // Where the probed function begins.
    given("func_ip", KPROBE, Form::Number(8)),
    // What the program was attached with.
    given("cookie", ATTACHED, Form::Number(8)),
];

/// What was given with one context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gifts {
    numbers: Vec<(&'static str, u64)>,
    bytes: Vec<(&'static str, Vec<u8>)>,
}

impl Gifts {
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.bytes.clear();
    }
}

fn put<T>(all: &mut Vec<(&'static str, T)>, name: &'static str, value: T) {
    match all.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => all.push((name, value)),
    }
}

fn get<'a, T>(all: &'a [(&'static str, T)], name: &str) -> Option<&'a T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

impl Context {
    /// Gives bytes that belong to the context although no field shows them, such as the name of a
    /// system parameter.
    ///
    /// # Errors
    /// [`ContextError`] if nothing of this name can be given, or not as many bytes.
    pub fn set_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ContextError> {
        let Some((name, Form::Bytes { min, max, unit })) = self.can_give(name) else {
            let mut known: Vec<&str> = Vec::new();
            let is_bytes = |given: &&Given| matches!(given.form, Form::Bytes { .. });
            known.extend(self.all_given().filter(is_bytes).map(|given| given.name));
            return Err(ContextError::NoBytes {
                context: self.context_name(),
                name: name.into(),
                known: if known.is_empty() { "nothing".into() } else { known.join(", ") },
            });
        };
        if !(min..=max).contains(&bytes.len()) || !bytes.len().is_multiple_of(unit) {
            return Err(ContextError::BytesRange {
                context: self.context_name(),
                name: name.into(),
                min,
                max,
                unit,
                got: bytes.len(),
            });
        }
        put(&mut self.gifts.bytes, name, bytes.to_vec());
        Ok(())
    }

    /// The bytes that were given under this name or that helpers have put there; none if neither.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        get(&self.gifts.bytes, name).map(Vec::as_slice)
    }

    /// All bytes that belong to the context although no field shows them, with their names.
    pub fn byte_fields(&self) -> Vec<(String, Vec<u8>)> {
        let all = self.all_given().filter_map(|given| Some((given.name, self.bytes(given.name)?)));
        all.map(|(name, bytes)| (name.into(), bytes.to_vec())).collect()
    }

    /// What can be given under this name.
    fn can_give(&self, name: &str) -> Option<(&'static str, Form)> {
        self.all_given().find(|given| given.name == name).map(|given| (given.name, given.form))
    }

    fn all_given(&self) -> impl Iterator<Item = &'static Given> {
        let prog_type = self.prog_type;
        GIVEN.iter().filter(move |given| given.types.contains(&prog_type))
    }

    /// The name and the size in bytes of a number that no field shows.
    pub(super) fn given_number(&self, name: &str) -> Option<(&'static str, u32)> {
        match self.can_give(name)? {
            (name, Form::Number(bytes)) => Some((name, bytes)),
            (_, Form::Bytes { .. }) => None,
        }
    }

    /// Sets such a number.
    pub(super) fn put_number(&mut self, name: &'static str, value: u64) {
        put(&mut self.gifts.numbers, name, value);
    }

    /// Such a number; 0 if nobody has set it.
    pub(crate) fn number(&self, name: &str) -> u64 {
        get(&self.gifts.numbers, name).copied().unwrap_or(0)
    }

    /// Such a number, if somebody has set it.
    pub(crate) fn given(&self, name: &str) -> Option<u64> {
        get(&self.gifts.numbers, name).copied()
    }

    /// All such numbers, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (String, u64)> {
        let is_number = |given: &&Given| matches!(given.form, Form::Number(_));
        let all = self.all_given().filter(is_number);
        all.map(|given| (given.name.to_string(), self.number(given.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_spec::Platform;

    #[test]
    fn names_are_unique_within_a_type_and_not_those_of_fields() {
        let platform = Platform::linux();
        for prog_type in ProgType::ALL {
            let mut seen = std::collections::BTreeSet::new();
            let def = platform.prog_type(*prog_type).and_then(|def| def.context.as_ref());
            for given in GIVEN.iter().filter(|given| given.types.contains(prog_type)) {
                assert!(seen.insert(given.name), "{} twice", given.name);
                let shown = def.is_some_and(|def| def.field(given.name).is_some());
                assert!(!shown, "{} is a field of {}", given.name, prog_type.name());
            }
        }
    }

    #[test]
    fn bytes_are_given_and_read_back_by_name() {
        let mut context = Context::linux(ProgType::CgroupSysctl, &[]).unwrap();
        assert_eq!((context.bytes("name"), context.byte_fields()), (None, Vec::new()));
        context.set_bytes("new_value", b"1\n").unwrap();
        context.set_bytes("name", b"net/core/wmem_max").unwrap();
        context.set_bytes("name", b"kernel/ostype").unwrap();
        assert_eq!(context.bytes("name"), Some(&b"kernel/ostype"[..]));
        let expected = [("name", &b"kernel/ostype"[..]), ("new_value", b"1\n")]
            .map(|(n, b)| (n.into(), b.to_vec()));
        assert_eq!(context.byte_fields(), expected);
        let error = context.set_bytes("nam", b"x").unwrap_err().to_string();
        assert_eq!(error, "bpf_sysctl is given no nam; it is given name, current_value, new_value");
        let error = context.set_bytes("name", &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "bpf_sysctl takes 1 to 4096 bytes as name, a multiple of 1; 0 were given"
        );
        let error = Context::raw([]).set_bytes("name", b"x").unwrap_err().to_string();
        assert_eq!(error, "raw memory is given no name; it is given nothing");
    }
}
