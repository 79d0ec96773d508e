//! The contents of maps as text: through their types where there are any, else in hex.

use super::style::{self, paint};
use crate::model::maps::{CpuValue, MapEntry, MapReport};
use ebpfvm_spec::MapDef;
use ebpfvm_spec::btf::{Btf, Kind, TypeId};
use ebpfvm_spec::map::MapOrigin;
use serde_json::Value;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// A map with its entries, one on a line.
pub(crate) fn text(def: &MapDef, btf: Option<&Btf>, entries: &[MapEntry]) -> String {
    let mut text = String::new();
    let count = match entries.len() {
        0 => "empty".to_string(),
        1 => "1 entry".into(),
        n => format!("{n} entries"),
    };
    let name = paint(style::HEADING, &def.name);
    // Writing to a String does not fail.
    let _ = match def.origin {
        MapOrigin::Section { .. } => writeln!(text, "{name}:"),
        MapOrigin::Declared => writeln!(text, "{name} ({}, {count}):", def.map_type.name()),
    };
    lines(&mut text, def, btf, entries, "  ");
    text
}

/// Entries, one on a line, and those of inner maps below their key.
fn lines(text: &mut String, def: &MapDef, btf: Option<&Btf>, entries: &[MapEntry], indent: &str) {
    let show = |type_id: Option<TypeId>, value: &Value| typed(btf, type_id, value);
    for entry in entries {
        if let (Some(variables), MapOrigin::Section { .. }) = (variables(entry), &def.origin) {
            for (variable, value) in variables {
                let type_id = member(btf, def.value_type, variable);
                let _ = writeln!(text, "{indent}{variable} = {}", show(type_id, value));
            }
            continue;
        }
        let key = match &entry.formatted {
            Some(formatted) => show(def.key_type, &formatted.key),
            None => entry.key.clone(),
        };
        if let (Some(inside), Some(inner)) = (&entry.entries, &def.inner) {
            let _ = writeln!(text, "{indent}{key}:");
            lines(text, inner, btf, inside, &format!("{indent}  "));
            continue;
        }
        let value = match &entry.socket {
            Some(socket) => socket.text(),
            None => value(entry, |value| show(def.value_type, value)),
        };
        let _ = match def.key_bytes {
            0 => writeln!(text, "{indent}{value}"),
            _ => writeln!(text, "{indent}{key}: {value}"),
        };
    }
}

/// A map that was kept: what it is, and its contents.
pub(crate) fn report(def: &MapDef, btf: Option<&Btf>, report: &MapReport) -> String {
    let mut facts = vec![format!("{} bytes -> {} bytes", def.key_bytes, def.value_bytes)];
    facts.push(format!("at most {} entries", def.max_entries));
    facts.extend(report.flags.iter().map(|flags| format!("flags {flags}")));
    facts.extend((report.cpus > 1).then(|| format!("{} CPUs", report.cpus)));
    let kind = def.map_type.name();
    if def.key_bytes > 0 {
        return format!("{kind}: {}\n{}", facts.join(", "), text(def, btf, &report.entries));
    }
    let values: Vec<String> = report.values.iter().map(|value| format!("  {value}\n")).collect();
    format!("{kind}: {}\n{} values:\n{}", facts.join(", "), values.len(), values.concat())
}

fn variables(entry: &MapEntry) -> Option<&serde_json::Map<String, Value>> {
    entry.formatted.as_ref()?.value.as_ref()?.as_object()
}

fn value(entry: &MapEntry, show: impl Fn(&Value) -> String) -> String {
    if let Some(formatted) = &entry.formatted {
        match (&formatted.value, &formatted.values) {
            (Some(value), _) => return show(value),
            (None, Some(values)) => return lanes(values, show),
            (None, None) => {}
        }
    }
    match (&entry.value, &entry.values) {
        (Some(value), _) => value.clone(),
        (None, Some(values)) => lanes(values, String::clone),
        (None, None) => String::new(),
    }
}

/// The values of CPUs.
fn lanes<T>(values: &[CpuValue<T>], show: impl Fn(&T) -> String) -> String {
    match values {
        [only] => format!("{} (CPU {})", show(&only.value), only.cpu),
        values => {
            let each = values.iter().map(|v| format!("CPU {}: {}", v.cpu, show(&v.value)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The type of a member of a struct, or of a variable of a data section, of this name.
fn member(btf: Option<&Btf>, type_id: Option<TypeId>, name: &str) -> Option<TypeId> {
    let btf = btf?;
    let (_, kind) = btf.resolve(type_id?).ok()?;
    match kind {
        Kind::Compound { members, .. } => {
            let mut members = btf.list(members).iter();
            members.find(|m| btf.str(m.name) == name).map(|m| m.type_id)
        }
        Kind::Datasec { vars, .. } => {
            let mut vars = btf.list(vars).iter();
            let var = vars.find(|v| btf.name(v.type_id) == name)?;
            match btf.kind(var.type_id) {
                Some(Kind::Var { type_id, .. }) => Some(type_id),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A value on one line with room to breathe, names without quotes. Types say more than the values
/// alone: numbers in network order (`__be32` is an IPv4 address nearly always) and bytes in a row.
pub(crate) fn typed(btf: Option<&Btf>, type_id: Option<TypeId>, value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| {
                format!("{name}: {}", typed(btf, member(btf, type_id, name), value))
            });
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(elements) => {
            let element = element(btf, type_id);
            if let Some(bytes) = element.and_then(|id| byte_row(btf?, id, elements)) {
                return bytes;
            }
            let each = elements.iter().map(|value| typed(btf, element, value));
            format!("[{}]", each.collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) => number
            .as_u64()
            .zip(btf.zip(type_id))
            .and_then(|(number, (btf, id))| network_order(btf, id, number))
            .unwrap_or_else(|| number.to_string()),
        other => other.to_string(),
    }
}

fn element(btf: Option<&Btf>, type_id: Option<TypeId>) -> Option<TypeId> {
    match btf?.resolve(type_id?).ok()? {
        (_, Kind::Array { element, .. }) => Some(element),
        _ => None,
    }
}

/// An array of bytes as `02:00:00:00:00:11`.
fn byte_row(btf: &Btf, element: TypeId, elements: &[Value]) -> Option<String> {
    let (_, kind) = btf.resolve(element).ok()?;
    if !matches!(kind, Kind::Int { bytes: 1, encoding, .. } if !encoding.signed && !encoding.bool) {
        return None;
    }
    let each = elements.iter().map(|e| Some(format!("{:02x}", e.as_u64()?)));
    Some(each.collect::<Option<Vec<_>>>()?.join(":"))
}

/// A number that is in network order by its type's name.
fn network_order(btf: &Btf, mut id: TypeId, number: u64) -> Option<String> {
    /// Longer chains of names than any real one.
    const MOST: usize = 16;
    for _ in 0..MOST {
        match btf.name(id) {
            "__be32" => return Some(Ipv4Addr::from((number as u32).to_ne_bytes()).to_string()),
            "__be16" => return Some(u16::from_be_bytes((number as u16).to_ne_bytes()).to_string()),
            "__be64" => return Some(format!("{:#x}", u64::from_be_bytes(number.to_ne_bytes()))),
            _ => id = btf.kind(id)?.same_values()?,
        }
    }
    None
}
