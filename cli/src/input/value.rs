//! Keys and values of maps as JSON: through their types where the object has them, as hex bytes or
//! addresses always.

use super::file;
use crate::failure::Failure;
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::btf::value::from_json;
use ebpfvm_spec::btf::{Btf, Kind, TypeId};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

/// JSON from the command line or a file, with what it is called in messages.
#[derive(Debug)]
pub(crate) struct Json {
    pub(crate) origin: String,
    pub(crate) value: Value,
}

impl Json {
    /// Reads `NAME=JSON` or `NAME=@FILE`, as the option gives it: the name and the JSON.
    pub(crate) fn assignment(option: &str, argument: &str) -> Result<(String, Json), Failure> {
        let Some((name, text)) = argument.split_once('=') else {
            let problem = format!("{option} {argument}: expected NAME=JSON or NAME=@FILE");
            return Err(Failure::Usage(problem));
        };
        let json = match text.strip_prefix('@') {
            Some(path) => Json::file(Path::new(path))?,
            None => Json::parse(format!("{option} {name}"), text)?,
        };
        Ok((name.to_string(), json))
    }

    /// Reads the argument of an option: an object as it stands, or the file that it names.
    pub(crate) fn argument(option: &str, argument: &str) -> Result<Json, Failure> {
        if argument.trim_start().starts_with('{') {
            return Json::parse(option.into(), argument);
        }
        let path = Path::new(argument.strip_prefix('@').unwrap_or(argument));
        if !path.exists() {
            let problem = format!(
                "{option} {argument}: expected a JSON object, {{...}}, or a file with one; there is no \
                 such file"
            );
            return Err(Failure::Usage(problem));
        }
        Json::file(path)
    }

    /// Reads a file.
    pub(crate) fn file(path: &Path) -> Result<Json, Failure> {
        let (origin, bytes) = (file::name(path), file::read(path)?);
        let text = file::text(&origin, &bytes)?;
        Json::parse(origin, text)
    }

    fn parse(origin: String, text: &str) -> Result<Json, Failure> {
        match serde_json::from_str(text) {
            Ok(value) => Ok(Json { origin, value }),
            Err(error) => {
                let message = error.to_string();
                // The place stands in the failure.
                let problem = message.split(" at line ").next().unwrap_or_default();
                let (line, column) = (error.line(), error.column());
                Err(Failure::Json { origin, line, column, problem: problem.into() })
            }
        }
    }

    /// The JSON as a description of this kind.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        if !self.value.is_object() {
            return Err(self.wrong("", "expected an object, {...}"));
        }
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            self.wrong(&path, error.into_inner().to_string())
        })
    }

    /// A failure about a place in this JSON.
    pub(crate) fn wrong(&self, path: &str, problem: impl Into<String>) -> Failure {
        let (origin, path) = (self.origin.clone(), path.into());
        Failure::JsonShape { origin, path, problem: problem.into() }
    }
}

/// What a key or value is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) bytes: usize,
    pub(crate) btf: Option<&'a Btf>,
    pub(crate) type_id: Option<TypeId>,
}

/// Makes bytes of JSON. In this order a string may be: as many pairs of hex digits as there are
/// bytes; an IP address of as many bytes, in network order; what the type says. Without a type,
/// numbers of 1, 2, 4 or 8 bytes are taken too.
pub(crate) fn bytes(json: &Value, shape: Shape<'_>) -> Result<Vec<u8>, String> {
    if let Value::String(text) = json {
        if let Some(bytes) = exact_hex(text, shape.bytes) {
            return Ok(bytes);
        }
        match text.parse() {
            Ok(IpAddr::V4(ip)) if shape.bytes == 4 => return Ok(ip.octets().to_vec()),
            Ok(IpAddr::V6(ip)) if shape.bytes == 16 => return Ok(ip.octets().to_vec()),
            _ => {}
        }
    }
    if let (Some(btf), Some(id)) = (shape.btf, shape.type_id) {
        let json = with_addresses(btf, id, json);
        let bytes = from_json(btf, id, &json, ByteOrder::HOST).map_err(|e| e.to_string())?;
        return match bytes.len() == shape.bytes {
            true => Ok(bytes),
            false => Err(format!("its type has {} bytes, expected {}", bytes.len(), shape.bytes)),
        };
    }
    untyped(json, shape.bytes)
}

/// JSON in which IP addresses have become the numbers that their type wants: in integers of 4 bytes
/// and arrays of 16.
fn with_addresses(btf: &Btf, id: TypeId, json: &Value) -> Value {
    let Ok((_, kind)) = btf.resolve(id) else { return json.clone() };
    match (json, kind) {
        (Value::String(text), Kind::Int { bytes: 4, .. }) => match text.parse() {
            Ok(IpAddr::V4(ip)) => u32::from_ne_bytes(ip.octets()).into(),
            _ => json.clone(),
        },
        (Value::String(text), Kind::Array { count: 16, .. }) => match text.parse() {
            Ok(IpAddr::V6(ip)) => ip.octets().to_vec().into(),
            _ => json.clone(),
        },
        (Value::Array(elements), Kind::Array { element, .. }) => {
            elements.iter().map(|json| with_addresses(btf, element, json)).collect()
        }
        (Value::Object(given), Kind::Compound { members, .. }) => {
            let member = |name: &str| btf.list(members).iter().find(|m| btf.str(m.name) == name);
            let each = given.iter().map(|(name, json)| match member(name) {
                Some(m) => (name.clone(), with_addresses(btf, m.type_id, json)),
                None => (name.clone(), json.clone()),
            });
            Value::Object(each.collect())
        }
        _ => json.clone(),
    }
}

fn exact_hex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != 2 * bytes || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..bytes).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

fn untyped(json: &Value, bytes: usize) -> Result<Vec<u8>, String> {
    let number = json.as_u64().or_else(|| json.as_i64().map(|n| n as u64));
    match (number, bytes) {
        (Some(number), 1 | 2 | 4 | 8) => {
            let fits = json.as_i64().is_some_and(|n| n < 0 && n >> (8 * bytes - 1) == -1)
                || bytes == 8
                || number >> (8 * bytes) == 0;
            let all = number.to_ne_bytes();
            let part = if cfg!(target_endian = "big") { &all[8 - bytes..] } else { &all[..bytes] };
            if fits { Ok(part.to_vec()) } else { Err(format!("{json} does not fit {bytes} bytes")) }
        }
        _ => Err(format!("{json} is not a string of {} hex digits ({bytes} bytes)", 2 * bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_a_type() {
        let read =
            |json: Value, size| bytes(&json, Shape { bytes: size, btf: None, type_id: None });
        assert_eq!(read(json!("0a000001"), 4), Ok(vec![10, 0, 0, 1]));
        assert_eq!(read(json!("10.0.0.1"), 4), Ok(vec![10, 0, 0, 1]));
        assert_eq!(read(json!("::1"), 16).unwrap()[15], 1);
        assert_eq!(read(json!(1), 2), Ok(1u16.to_ne_bytes().to_vec()));
        assert_eq!(read(json!(-1), 4), Ok(vec![255; 4]));
        assert_eq!(read(json!(u64::MAX), 8), Ok(vec![255; 8]));
        assert!(read(json!(256), 1).unwrap_err().contains("does not fit 1 bytes"));
        assert!(read(json!(-129), 1).is_err());
        assert!(read(json!("0a00"), 4).unwrap_err().contains("8 hex digits"));
        assert!(read(json!(1), 3).is_err());
    }

    #[test]
    fn assignments() {
        let (name, json) = Json::assignment("--map", "m={\"1\": 2}").unwrap();
        assert_eq!((name.as_str(), json.origin.as_str()), ("m", "--map m"));
        let failure = Json::assignment("--map", "m").unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)));
        let failure = Json::assignment("--map", "m={\n\"a\" 1}").unwrap_err();
        assert!(matches!(failure, Failure::Json { line: 2, column: 5, .. }), "{failure:?}");
        let failure = Json::assignment("--map", "m=@no such file").unwrap_err();
        assert!(matches!(failure, Failure::Read { .. }));
    }
}
