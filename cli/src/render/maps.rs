//! The contents of maps as text: through their types where there are any, else in hex.

use super::style::{self, paint};
use crate::model::maps::{CpuValue, MapEntry};
use ebpfvm_spec::MapDef;
use serde_json::Value;
use std::fmt::Write;

/// A map with its entries, one on a line.
pub(crate) fn text(def: &MapDef, entries: &[MapEntry]) -> String {
    let mut text = String::new();
    let count = match entries.len() {
        0 => "empty".to_string(),
        1 => "1 entry".into(),
        n => format!("{n} entries"),
    };
    let name = paint(style::HEADING, &def.name);
    // Writing to a String does not fail.
    let _ = match def.origin {
        ebpfvm_spec::map::MapOrigin::Section { .. } => writeln!(text, "{name}:"),
        ebpfvm_spec::map::MapOrigin::Declared => {
            writeln!(text, "{name} ({}, {count}):", def.map_type.name())
        }
    };
    for entry in entries {
        if let (Some(Value::Object(variables)), ebpfvm_spec::map::MapOrigin::Section { .. }) =
            (entry.formatted.as_ref().and_then(|f| f.value.as_ref()), &def.origin)
        {
            for (name, value) in variables {
                let _ = writeln!(text, "  {name} = {}", compact(value));
            }
            continue;
        }
        let key = match &entry.formatted {
            Some(formatted) => compact(&formatted.key),
            None => entry.key.clone(),
        };
        let _ = writeln!(text, "  {key}: {}", value(entry));
    }
    text
}

fn value(entry: &MapEntry) -> String {
    if let Some(formatted) = &entry.formatted {
        match (&formatted.value, &formatted.values) {
            (Some(value), _) => return compact(value),
            (None, Some(values)) => return lanes(values, compact),
            (None, None) => {}
        }
    }
    match (&entry.value, &entry.values) {
        (Some(value), _) => value.clone(),
        (None, Some(values)) => lanes(values, String::clone),
        (None, None) => String::new(),
    }
}

/// The values of CPUs; one alone stands for itself.
fn lanes<T>(values: &[CpuValue<T>], show: impl Fn(&T) -> String) -> String {
    match values {
        [only] => format!("{} (CPU 0)", show(&only.value)),
        values => {
            let each = values.iter().map(|v| format!("CPU {}: {}", v.cpu, show(&v.value)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// JSON on one line with room to breathe, names without quotes.
fn compact(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name}: {}", compact(value)));
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(compact).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
