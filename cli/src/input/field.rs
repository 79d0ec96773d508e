//! Numbers and bytes that JSON gives to fields by name.

use super::hex;
use super::value::Json;
use crate::failure::Failure;
use ebpfvm::ContextError;
use ebpfvm::fields::FieldError;
use serde_json::Value;
use std::net::IpAddr;

/// What a field may be given as.
const NUMBER: &str = "a number, a list of such for an array, \"0x\" and hex digits, an IP address, or \
                      {\"be16\": N} or {\"be32\": N} for a number in network order";

/// Why a field cannot be set, in words.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The number has more bytes than the field.
    TooLarge(String),
    Else(String),
}

impl Refused {
    fn words(self) -> String {
        match self {
            Refused::TooLarge(words) | Refused::Else(words) => words,
        }
    }
}

impl From<ContextError> for Refused {
    fn from(error: ContextError) -> Refused {
        let words = error.to_string();
        match error {
            ContextError::FieldRange { .. } => Refused::TooLarge(words),
            _ => Refused::Else(words),
        }
    }
}

impl From<FieldError> for Refused {
    fn from(error: FieldError) -> Refused {
        let words = error.to_string();
        match error {
            FieldError::Range { .. } => Refused::TooLarge(words),
            FieldError::Unknown { .. } => Refused::Else(words),
        }
    }
}

/// Sets a field by its name to a number.
pub(crate) type Set<'a> = &'a mut dyn FnMut(&str, u64) -> Result<(), Refused>;

/// Where a member is in the JSON.
pub(crate) fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.into(),
        path => format!("{path}.{name}"),
    }
}

/// Sets a field, all elements of an array or the members of an object. `path` is where the value
/// is in the JSON.
pub(crate) fn set(
    json: &Json,
    path: &str,
    name: &str,
    value: &Value,
    to: Set<'_>,
) -> Result<(), Failure> {
    let wrong = |problem: String| json.wrong(path, problem);
    let refused = |refused: Refused| json.wrong(path, refused.words());
    match value {
        Value::Array(elements) => {
            for (i, element) in elements.iter().enumerate() {
                set(json, &format!("{path}[{i}]"), &format!("{name}[{i}]"), element, to)?;
            }
            Ok(())
        }
        Value::Object(members) => match in_network_order(members) {
            Some(Some(number)) => to(name, number).map_err(refused),
            Some(None) => Err(wrong(format!("found {value}, expected a number that fits"))),
            None if members.is_empty() => Err(wrong(format!("found {{}}, expected {NUMBER}"))),
            None => {
                for (member, value) in members {
                    set(json, &below(path, member), &format!("{name}.{member}"), value, to)?;
                }
                Ok(())
            }
        },
        Value::String(text) => match (address(text), hex_number(text)) {
            (Some(words), _) if words.len() == 1 => to(name, words[0]).map_err(refused),
            (Some(words), _) => {
                let elements = words.iter().enumerate();
                let mut each = elements.map(|(i, word)| to(&format!("{name}[{i}]"), *word));
                each.try_for_each(|set| set).map_err(refused)
            }
            (None, Some(number)) => to(name, number).map_err(refused),
            (None, None) => Err(wrong(format!("found {value}, expected {NUMBER}"))),
        },
        _ => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => to(name, number).map_err(refused),
            (None, Some(negative)) => set_negative(name, negative, to).map_err(refused),
            (None, None) => Err(wrong(format!("found {value}, expected {NUMBER}"))),
        },
    }
}

/// An address as the words of its field, which hold it in network order.
fn address(text: &str) -> Option<Vec<u64>> {
    let word = |octets: &[u8; 4]| u64::from(u32::from_ne_bytes(*octets));
    Some(match text.parse().ok()? {
        IpAddr::V4(ip) => vec![word(&ip.octets())],
        IpAddr::V6(ip) => ip.octets().as_chunks().0.iter().map(word).collect(),
    })
}

fn hex_number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The number of `{"be16": N}` or `{"be32": N}` as it lies in memory; none inside if it does not
/// fit.
fn in_network_order(members: &serde_json::Map<String, Value>) -> Option<Option<u64>> {
    let (name, value) = members.iter().next().filter(|_| members.len() == 1)?;
    let number = value.as_u64();
    match name.as_str() {
        "be16" => Some(number.and_then(|n| u16::try_from(n).ok()).map(|n| n.to_be().into())),
        "be32" => Some(number.and_then(|n| u32::try_from(n).ok()).map(|n| n.to_be().into())),
        _ => None,
    }
}

/// A number below 0 as a field of its size holds it: the largest size that the field takes.
fn set_negative(name: &str, number: i64, to: Set<'_>) -> Result<(), Refused> {
    let sizes = [
        Some(number as u64),
        i32::try_from(number).map(|n| u64::from(n as u32)).ok(),
        i16::try_from(number).map(|n| u64::from(n as u16)).ok(),
        i8::try_from(number).map(|n| u64::from(n as u8)).ok(),
    ];
    let mut last = Ok(());
    for value in sizes.into_iter().flatten() {
        last = to(name, value);
        if !matches!(last, Err(Refused::TooLarge(_))) {
            return last;
        }
    }
    last.map_err(|_| Refused::Else(format!("{number} does not fit")))
}

/// Bytes: a text as it is, or `{"hex": "..."}`; none if the value is neither.
pub(crate) fn bytes(value: &Value) -> Option<Result<Vec<u8>, String>> {
    match value {
        Value::String(text) => Some(Ok(text.clone().into_bytes())),
        Value::Object(members) if members.len() == 1 => {
            let digits = members.get("hex")?.as_str();
            let digits = digits.ok_or("expected {\"hex\": \"...\"} with hex digits");
            Some(
                digits
                    .map_err(String::from)
                    .and_then(|text| hex::parse(text).map_err(|wrong| wrong.problem)),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json() -> Json {
        Json { origin: "--ctx".into(), value: Value::Null }
    }

    /// What a value sets, of fields with `bytes` bytes.
    fn sets(value: Value, bytes: u32) -> Result<Vec<(String, u64)>, Failure> {
        let mut all = Vec::new();
        let mut to = |name: &str, number: u64| {
            if bytes < 8 && number >> (8 * bytes) != 0 {
                return Err(Refused::TooLarge("too large".into()));
            }
            all.push((name.to_string(), number));
            Ok(())
        };
        set(&json(), "f", "f", &value, &mut to)?;
        Ok(all)
    }

    fn one(value: Value, bytes: u32) -> u64 {
        sets(value, bytes).unwrap()[0].1
    }

    #[test]
    fn numbers_of_all_forms() {
        assert_eq!(one(json!(7), 4), 7);
        assert_eq!(one(json!("0x10"), 4), 16);
        assert_eq!((one(json!(-1), 8), one(json!(-1), 4)), (u64::MAX, u32::MAX.into()));
        assert_eq!((one(json!(-2), 2), one(json!(-2), 1)), (0xfffe, 0xfe));
        assert_eq!(one(json!({"be16": 0x1234}), 2) as u16, 0x1234_u16.to_be());
        assert_eq!(one(json!({"be32": 443}), 4) as u32, 443_u32.to_be());
        assert_eq!(one(json!("1.2.3.4"), 4), u64::from(u32::from_ne_bytes([1, 2, 3, 4])));
        let elements = sets(json!("::1"), 4).unwrap();
        assert_eq!(elements[3], ("f[3]".into(), u64::from(1_u32.to_be())));
        assert_eq!(sets(json!([1, 2]), 4).unwrap()[1], ("f[1]".into(), 2));
        assert_eq!(sets(json!({"a": 3}), 4).unwrap()[0], ("f.a".into(), 3));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (value, expected) in [
            (json!(256), "--ctx: f: too large"),
            (json!(-129), "--ctx: f: -129 does not fit"),
            (json!([1, true]), "--ctx: f[1]: found true, expected a number"),
            (json!({"a": "x"}), "--ctx: f.a: found \"x\", expected a number"),
            (json!({"be16": 65536}), "expected a number that fits"),
            (json!(1.5), "found 1.5, expected a number"),
            (json!({}), "found {}, expected a number"),
        ] {
            let error = sets(value, 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn bytes_are_text_or_hex() {
        assert_eq!(bytes(&json!("ab")), Some(Ok(b"ab".to_vec())));
        assert_eq!(bytes(&json!({"hex": "61 62"})), Some(Ok(b"ab".to_vec())));
        assert!(matches!(bytes(&json!({"hex": "6"})), Some(Err(_))));
        assert!(matches!(bytes(&json!({"hex": 6})), Some(Err(_))));
        assert_eq!((bytes(&json!(6)), bytes(&json!({"a": 1}))), (None, None));
    }
}
