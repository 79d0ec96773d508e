//! What a run left, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Values by key, as the host reads them.
    Entries(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Values or records in order.
    Sequence(Vec<Vec<u8>>),
}

/// What a run left.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Observation {
    /// The low half of `r0`, which is what a test-run reports.
    pub retval: u32,
    /// The packet as a test-run gives it back: of XDP with the metadata before it, and zeros for a
    /// header that the program does not see.
    pub packet: Vec<u8>,
    /// Numbers of the context by name.
    pub context: BTreeMap<String, u64>,
    /// Maps by name.
    pub maps: BTreeMap<String, Contents>,
}

/// Most bytes of a packet or value that a difference shows.
const SHOWN_BYTES: usize = 96;

impl Observation {
    /// What `other` has different, a line each; none if they are equal.
    pub fn difference(&self, other: &Observation) -> Option<String> {
        let mut text = String::new();
        let mut line = |what: &str, a: String, b: String| {
            let _ = writeln!(text, "  {what}: {a} / {b}");
        };
        if self.retval != other.retval {
            line("return value", self.retval.to_string(), other.retval.to_string());
        }
        if self.packet != other.packet {
            bytes_differ(&mut line, "packet", &self.packet, &other.packet);
        }
        for (name, (a, b)) in both(&self.context, &other.context) {
            let show = |value: Option<&u64>| value.map_or("absent".into(), u64::to_string);
            if a != b {
                line(name, show(a), show(b));
            }
        }
        for (name, (a, b)) in both(&self.maps, &other.maps) {
            match (a, b) {
                (Some(Contents::Entries(a)), Some(Contents::Entries(b))) => {
                    for (key, (a, b)) in both(a, b) {
                        let what = format!("map {name}, key {}", hex(key));
                        maybe_bytes_differ(&mut line, &what, a, b);
                    }
                }
                (Some(Contents::Sequence(a)), Some(Contents::Sequence(b))) => {
                    for i in 0..a.len().max(b.len()) {
                        maybe_bytes_differ(
                            &mut line,
                            &format!("map {name}, value {i}"),
                            a.get(i),
                            b.get(i),
                        );
                    }
                }
                (a, b) if a != b => line(name, format!("{a:?}"), format!("{b:?}")),
                _ => {}
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The values of two maps by key.
fn both<'a, K: Ord, V>(
    a: &'a BTreeMap<K, V>,
    b: &'a BTreeMap<K, V>,
) -> BTreeMap<&'a K, (Option<&'a V>, Option<&'a V>)> {
    a.keys().chain(b.keys()).map(|key| (key, (a.get(key), b.get(key)))).collect()
}

fn maybe_bytes_differ(
    line: &mut impl FnMut(&str, String, String),
    what: &str,
    a: Option<&Vec<u8>>,
    b: Option<&Vec<u8>>,
) {
    match (a, b) {
        (Some(a), Some(b)) => bytes_differ(line, what, a, b),
        (a, b) => {
            let show = |value: Option<&Vec<u8>>| value.map_or("absent".into(), |v| hex(v));
            line(what, show(a), show(b));
        }
    }
}

/// Names the first byte that differs and shows the bytes from there.
fn bytes_differ(line: &mut impl FnMut(&str, String, String), what: &str, a: &[u8], b: &[u8]) {
    if a == b {
        return;
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| format!("{} ({} bytes)", hex(&bytes[at..]), bytes.len());
    line(&format!("{what}, from byte {at}"), show(a), show(b));
}

fn hex(bytes: &[u8]) -> String {
    let mut text: String =
        bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let entries = |value: u8| Contents::Entries([(vec![1], vec![0, value])].into());
        let a = Observation {
            retval: 2,
            packet: vec![1, 2, 3],
            context: [("mark".to_string(), 7)].into(),
            maps: [("m".to_string(), entries(5)), ("q".into(), Contents::Sequence(vec![]))].into(),
        };
        assert_eq!(a.difference(&a.clone()), None);
        let b = Observation {
            retval: 1,
            packet: vec![1, 9],
            context: [("mark".to_string(), 8)].into(),
            maps: [("m".to_string(), entries(6)), ("q".into(), Contents::Sequence(vec![vec![4]]))]
                .into(),
        };
        assert_eq!(
            a.difference(&b).unwrap(),
            "  return value: 2 / 1\n  \
               packet, from byte 1: 0203 (3 bytes) / 09 (2 bytes)\n  \
               mark: 7 / 8\n  \
               map m, key 01, from byte 1: 05 (2 bytes) / 06 (2 bytes)\n  \
               map q, value 0: absent / 04\n"
        );
    }
}
