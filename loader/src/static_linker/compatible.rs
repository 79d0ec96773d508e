//! Whether files mean the same by a symbol: variables, functions and maps
//! (`glob_sym_btf_matches` and `map_defs_match` of libbpf).

use super::File;
use super::error::LinkError;
use super::symbols::{Global, Symbols};
use crate::elf::Home;
use crate::maps::{self, DECLARED};
use ebpfvm_spec::MapDef;
use ebpfvm_spec::btf::{Btf, Kind, Linkage, TypeId};
use std::collections::{HashMap, HashSet};

/// The types of the variables and functions of a file that other files can see, by name.
pub(super) fn visible(btf: &Btf) -> HashMap<&str, TypeId> {
    let is_visible = |kind: Kind| match kind {
        Kind::Var { linkage, .. } | Kind::Func { linkage, .. } => linkage != Linkage::Static,
        _ => false,
    };
    let mut found = HashMap::new();
    for (id, t) in btf.iter().filter(|(_, t)| is_visible(t.kind)) {
        found.entry(btf.str(t.name)).or_insert(id);
    }
    found
}

/// How many types and members may be compared. Files of people stay far below; without a limit each of
/// many symbols could have the same large struct.
const MAX_COMPARED: usize = 1 << 22;

/// Compares what each file says about a symbol with what its definition says.
pub(super) fn check(files: &[File<'_>], symbols: &Symbols) -> Result<(), LinkError> {
    let mut left = MAX_COMPARED;
    let types: Vec<_> = files.iter().map(|f| f.btf.as_ref().map(visible)).collect();
    for global in symbols.globals.iter().filter(|g| g.uses.len() > 1) {
        let side = |file: usize| {
            let id = *types[file].as_ref()?.get(global.name.as_str())?;
            Some(Side { file: files[file].name, btf: files[file].btf.as_ref()?, id })
        };
        let defining = global.definition.map(|(file, _)| file);
        let all = defining.into_iter().chain(global.uses.iter().map(|(file, _)| *file));
        let mut sides = all.filter_map(side);
        let Some(first) = sides.next() else { continue };
        let is_map = is_map(files, global);
        for second in sides.filter(|s| s.file != first.file) {
            if is_map {
                compare_maps(&global.name, first, second, &mut left)?;
            } else {
                compare(&global.name, first, second, &mut left)?;
            }
        }
    }
    Ok(())
}

fn is_map(files: &[File<'_>], global: &Global) -> bool {
    let Some((file, symbol)) = global.definition else { return false };
    let elf = &files[file].elf;
    matches!(elf.symbols[symbol].home, Home::Section(home) if elf.sections[home].name == DECLARED)
}

/// What a file says about a symbol.
#[derive(Clone, Copy)]
struct Side<'a> {
    file: &'a str,
    btf: &'a Btf,
    id: TypeId,
}

impl<'a> Side<'a> {
    fn at(self, id: TypeId) -> Side<'a> {
        Side { id, ..self }
    }

    /// Without qualifiers and typedefs. A ring of them, which no compiler makes, is left as it is.
    fn values(self) -> Side<'a> {
        self.btf.resolve(self.id).map_or(self, |(id, _)| self.at(id))
    }

    fn kind(self) -> Kind {
        self.btf.kind(self.id).unwrap_or(Kind::Void)
    }

    fn name(self) -> &'a str {
        self.btf.name(self.id)
    }
}

fn differ(
    symbol: &str,
    what: impl Into<String>,
    first: (Side<'_>, impl ToString),
    second: (Side<'_>, impl ToString),
) -> LinkError {
    LinkError::Type {
        symbol: symbol.into(),
        what: what.into().into(),
        first: first.0.file.into(),
        expected: first.1.to_string().into(),
        second: second.0.file.into(),
        found: second.1.to_string().into(),
    }
}

fn compare_maps(
    symbol: &str,
    first: Side<'_>,
    second: Side<'_>,
    left: &mut usize,
) -> Result<(), LinkError> {
    let mut read = |side: Side<'_>| {
        maps::declared::of_variable(side.btf, side.id, left).map_err(|problem| LinkError::Map {
            file: side.file.into(),
            map: symbol.into(),
            problem,
        })
    };
    let (a, b) = (read(first)?, read(second)?);
    compare_defs(symbol, "", (first, &a), (second, &b), left)
}

fn compare_defs(
    symbol: &str,
    of: &str,
    (first, a): (Side<'_>, &MapDef),
    (second, b): (Side<'_>, &MapDef),
    left: &mut usize,
) -> Result<(), LinkError> {
    let properties = [
        ("type", a.map_type.name().into(), b.map_type.name().into()),
        ("key_size", a.key_bytes.to_string(), b.key_bytes.to_string()),
        ("value_size", a.value_bytes.to_string(), b.value_bytes.to_string()),
        ("max_entries", a.max_entries.to_string(), b.max_entries.to_string()),
        ("map_flags", a.flags.to_string(), b.flags.to_string()),
        ("map_extra", a.extra.to_string(), b.extra.to_string()),
        ("numa_node", a.numa_node.to_string(), b.numa_node.to_string()),
        ("pinning", u32::from(a.pinned).to_string(), u32::from(b.pinned).to_string()),
    ];
    for (what, expected, found) in properties {
        if expected != found {
            return Err(differ(symbol, format!("{of}{what}"), (first, expected), (second, found)));
        }
    }
    for (what, a, b) in [("key", a.key_type, b.key_type), ("value", a.value_type, b.value_type)] {
        match (a, b) {
            (Some(a), Some(b)) => compare_types(symbol, first.at(a), second.at(b), false, left)?,
            (None, None) => {}
            (a, b) => {
                let shown = |id: Option<TypeId>| if id.is_some() { "given" } else { "not given" };
                let what = format!("the type of the {of}{what}");
                return Err(differ(symbol, what, (first, shown(a)), (second, shown(b))));
            }
        }
    }
    match (&a.inner, &b.inner) {
        (Some(a), Some(b)) => compare_defs(symbol, "inner ", (first, a), (second, b), left),
        (None, None) => Ok(()),
        (a, _) => {
            let shown = |is: bool| if is { "given" } else { "not given" };
            let (expected, found) = (shown(a.is_some()), shown(a.is_none()));
            Err(differ(symbol, "the inner map", (first, expected), (second, found)))
        }
    }
}

fn compare(
    symbol: &str,
    first: Side<'_>,
    second: Side<'_>,
    left: &mut usize,
) -> Result<(), LinkError> {
    match (first.kind(), second.kind()) {
        (Kind::Var { type_id: a, .. }, Kind::Var { type_id: b, .. })
        | (Kind::Func { proto: a, .. }, Kind::Func { proto: b, .. }) => {
            compare_types(symbol, first.at(a), second.at(b), true, left)
        }
        (a, b) => {
            let (expected, found) = (a.tag().name(), b.tag().name());
            Err(differ(symbol, "its kind", (first, expected), (second, found)))
        }
    }
}

/// Compares types by what a value of them is: qualifiers, typedefs and the numbers of array elements do not
/// count, and behind a pointer structs only by name, for a file may know no more than that.
fn compare_types(
    symbol: &str,
    first: Side<'_>,
    second: Side<'_>,
    exact: bool,
    left: &mut usize,
) -> Result<(), LinkError> {
    let mut pairs = vec![(first.id, second.id, exact)];
    let mut seen = HashSet::new();
    while let Some((a, b, exact)) = pairs.pop() {
        *left = left.checked_sub(1).ok_or(LinkError::TooLarge {
            what: "the number of types to compare",
            found: MAX_COMPARED as u64 + 1,
            limit: MAX_COMPARED as u64,
        })?;
        if !seen.insert((a, b, exact)) {
            continue;
        }
        let (a, b) = (first.at(a).values(), second.at(b).values());
        let (p, q) = (a.kind(), b.kind());
        let differ = |what: String, e: String, f: String| Err(differ(symbol, what, (a, e), (b, f)));
        let named = |what: &str| match a.name() {
            "" => what.to_string(),
            name => format!("{what} of '{name}'"),
        };
        if !exact
            && let (Kind::Fwd(s), Kind::Compound { compound: t, .. })
            | (Kind::Compound { compound: t, .. }, Kind::Fwd(s)) = (p, q)
            && s == t
            && a.name() == b.name()
        {
            continue;
        }
        if p.tag() != q.tag() {
            return differ(
                "the kind of a type".into(),
                p.tag().name().into(),
                q.tag().name().into(),
            );
        }
        let has_name = matches!(p, Kind::Compound { .. } | Kind::Enum { .. } | Kind::Fwd(_));
        if has_name && a.name() != b.name() {
            let shown = |side: Side<'_>| format!("'{}'", side.name());
            return differ("the name of a type".into(), shown(a), shown(b));
        }
        let bytes = |kind| match kind {
            Kind::Int { bytes, .. }
            | Kind::Enum { bytes, .. }
            | Kind::Float { bytes }
            | Kind::Compound { bytes, .. } => Some(bytes),
            _ => None,
        };
        if let (Some(m), Some(n)) = (bytes(p), bytes(q))
            && m != n
        {
            return differ(named("the size in bytes"), m.to_string(), n.to_string());
        }
        match (p, q) {
            (Kind::Ptr(a), Kind::Ptr(b)) => pairs.push((a, b, false)),
            (Kind::Array { element: a, .. }, Kind::Array { element: b, .. }) => {
                pairs.push((a, b, exact));
            }
            (Kind::Compound { members: m, .. }, Kind::Compound { members: n, .. }) if exact => {
                if m.len() != n.len() {
                    let what = named("the number of members");
                    return differ(what, m.len().to_string(), n.len().to_string());
                }
                for (m, n) in a.btf.list(m).iter().zip(b.btf.list(n)) {
                    let (s, t) = (a.btf.str(m.name), b.btf.str(n.name));
                    if s != t {
                        return differ(named("the name of a member"), s.into(), t.into());
                    }
                    let place = |m: &ebpfvm_spec::btf::Member| (m.bit_offset, m.bitfield_bits);
                    if place(m) != place(n) {
                        let shown = |m| format!("bit {} of width {}", place(m).0, place(m).1);
                        return differ(named(&format!("the place of '{s}'")), shown(m), shown(n));
                    }
                    pairs.push((m.type_id, n.type_id, exact));
                }
            }
            (Kind::FuncProto { ret: r, params: m }, Kind::FuncProto { ret: s, params: n }) => {
                if m.len() != n.len() {
                    let what = named("the number of parameters");
                    return differ(what, m.len().to_string(), n.len().to_string());
                }
                let params = a.btf.list(m).iter().zip(b.btf.list(n));
                pairs.extend(params.map(|(m, n)| (m.type_id, n.type_id, exact)));
                pairs.push((r, s, exact));
            }
            _ => {}
        }
    }
    Ok(())
}
