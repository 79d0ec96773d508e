//! Values of context fields as people read them: addresses and ports as such.

use serde_json::Value;
use std::net::Ipv4Addr;

/// What a number stands for.
#[derive(Clone, Copy)]
enum Meaning {
    /// An IPv4 address in network order.
    Address,
    /// A number of 16 bits in network order, in the first two bytes.
    Be16,
    /// The same, as a type of packet.
    EtherType,
    /// A number of 32 bits in network order.
    Be32,
    /// A number of 32 bits that may be below 0.
    Signed,
}

/// Which fields of which types of programs mean what; no type for all.
const MEANINGS: &[(&str, &str, Meaning)] = &[
    ("cgroup_sock_addr", "user_port", Meaning::Be16),
    ("sk_lookup", "remote_port", Meaning::Be16),
    ("cgroup_sock", "dst_port", Meaning::Be16),
    ("", "remote_port", Meaning::Be32),
    ("", "flow_keys.sport", Meaning::Be16),
    ("", "flow_keys.dport", Meaning::Be16),
    ("", "flow_keys.n_proto", Meaning::EtherType),
    ("", "retval", Meaning::Signed),
    ("", "optlen", Meaning::Signed),
    ("", "eth_protocol", Meaning::EtherType),
    ("sched_cls", "protocol", Meaning::EtherType),
    ("sched_act", "protocol", Meaning::EtherType),
];

/// A field of the context of a program of this type.
pub(crate) fn text(prog_type: &str, name: &str, value: &Value) -> String {
    match (value, value.get("hex").and_then(Value::as_str)) {
        (_, Some(hex)) => return hex.into(),
        (Value::Null, _) => return "nothing".into(),
        _ => {}
    }
    let is_this = |(of, known, _): &&(&str, &str, Meaning)| {
        *known == name && (of.is_empty() || *of == prog_type)
    };
    let meaning = match MEANINGS.iter().find(is_this) {
        Some((_, _, meaning)) => Some(*meaning),
        None if name.ends_with("_ip4") => Some(Meaning::Address),
        None => None,
    };
    let number = value.as_u64();
    match (meaning, number, number.and_then(|number| u32::try_from(number).ok())) {
        (Some(Meaning::Address), _, Some(word)) => Ipv4Addr::from(word.to_ne_bytes()).to_string(),
        (Some(Meaning::Be16), _, Some(word)) => u16::from_be(word as u16).to_string(),
        (Some(Meaning::EtherType), _, Some(word)) => format!("{:#06x}", u16::from_be(word as u16)),
        (Some(Meaning::Be32), _, Some(word)) => u32::from_be(word).to_string(),
        (Some(Meaning::Signed), _, Some(word)) => (word as i32).to_string(),
        // Addresses and the like.
        (None, Some(number), _) if number > u16::MAX.into() => format!("{number} ({number:#x})"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_shown_as_what_they_mean() {
        let port = u64::from(443_u16.to_be());
        let address = u64::from(u32::from_ne_bytes([192, 0, 2, 1]));
        for (of, name, value, expected) in [
            ("cgroup_sock_addr", "user_port", json!(port), "443"),
            ("cgroup_sock_addr", "user_ip4", json!(address), "192.0.2.1"),
            ("sk_lookup", "remote_port", json!(port), "443"),
            ("sock_ops", "remote_port", json!(443_u32.to_be()), "443"),
            ("sched_cls", "protocol", json!(0x800_u16.to_be()), "0x0800"),
            ("cgroup_sockopt", "retval", json!(0xffff_fff3_u32), "-13"),
            ("sk_lookup", "protocol", json!(6), "6"),
            ("sched_cls", "mark", json!(65536), "65536 (0x10000)"),
            ("cgroup_sysctl", "new_value", json!("1\n"), "\"1\\n\""),
            ("cgroup_sysctl", "new_value", json!({"hex": "ff"}), "ff"),
            ("cgroup_sysctl", "new_value", Value::Null, "nothing"),
        ] {
            assert_eq!(text(of, name, &value), expected);
        }
    }
}
