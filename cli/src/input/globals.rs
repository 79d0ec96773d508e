//! Global variables that are set before a program is loaded.

use super::value::{self, Json, Shape};
use crate::failure::Failure;
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::Object;
use ebpfvm_loader::btf::value::to_json;
use ebpfvm_spec::MapDef;
use ebpfvm_spec::btf::{Btf, Kind, SectionVar};
use ebpfvm_spec::map::MapOrigin;
use serde_json::Value;

/// The variables of a data section.
fn variables<'b>(btf: &'b Btf, def: &MapDef) -> &'b [SectionVar] {
    match def.value_type.and_then(|id| btf.kind(id)) {
        Some(Kind::Datasec { vars, .. }) => btf.list(vars),
        _ => &[],
    }
}

/// Gives a variable of any data section its initial value.
pub(crate) fn set(
    object: &Object,
    defs: &mut [MapDef],
    name: &str,
    json: &Json,
) -> Result<(), Failure> {
    let Some(btf) = object.btf() else {
        let file = object.file().into();
        let problem = "the object has no BTF, so its variables have no names here".to_string();
        return Err(Failure::Input { file, problem, hint: Some("compile it with -g".into()) });
    };
    for def in defs.iter_mut() {
        let found = variables(btf, def).iter().find(|v| btf.name(v.type_id) == name);
        if let Some(var) = found {
            return set_variable(btf, def, *var, &json.value).map_err(|p| json.wrong("", p));
        }
    }
    let known = defs.iter().flat_map(|def| variables(btf, def));
    Err(Failure::Unknown {
        what: "variable",
        name: name.into(),
        place: object.file().into(),
        known: known.map(|v| btf.name(v.type_id).to_string()).collect(),
    })
}

/// Sets a variable; members that are not given keep their values.
fn set_variable(btf: &Btf, def: &mut MapDef, var: SectionVar, json: &Value) -> Result<(), String> {
    let MapOrigin::Section { data, .. } = &mut def.origin else {
        return Err("the map is no data section".into());
    };
    let range = var.offset as usize..var.offset as usize + var.bytes as usize;
    let mut all = data.to_vec();
    let place = all.get_mut(range).ok_or("the variable reaches beyond its section")?;
    let shape = Shape { bytes: place.len(), btf: Some(btf), type_id: Some(var.type_id) };
    let merged = match json {
        Value::Object(_) => {
            let old = to_json(btf, var.type_id, place, ByteOrder::HOST);
            overlaid(old.map_err(|e| e.to_string())?, json)
        }
        other => other.clone(),
    };
    place.copy_from_slice(&value::bytes(&merged, shape)?);
    *data = all.into();
    Ok(())
}

/// Sets variables of one data section: an object by their names.
pub(crate) fn set_section(btf: &Btf, def: &mut MapDef, json: &Json) -> Result<(), Failure> {
    let Value::Object(members) = &json.value else {
        return Err(json.wrong("", "expected an object of variables, {\"name\": value}"));
    };
    for (name, value) in members {
        let vars = variables(btf, def);
        let Some(var) = vars.iter().find(|v| btf.name(v.type_id) == name).copied() else {
            return Err(Failure::Unknown {
                what: "variable",
                name: name.clone(),
                place: def.name.clone(),
                known: vars.iter().map(|v| btf.name(v.type_id).to_string()).collect(),
            });
        };
        set_variable(btf, def, var, value).map_err(|problem| json.wrong(name, problem))?;
    }
    Ok(())
}

/// `old` with the members of `new`, down to the leaves of objects.
fn overlaid(old: Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Object(mut old), Value::Object(new)) => {
            for (name, value) in new {
                let before = old.remove(name).unwrap_or(Value::Null);
                old.insert(name.clone(), overlaid(before, value));
            }
            Value::Object(old)
        }
        (_, new) => new.clone(),
    }
}
