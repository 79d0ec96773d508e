//! BTF map definitions: variables in `.maps` whose types say what the map is
//! (`parse_btf_map_def` of libbpf). Numbers are array lengths, types are pointers.

use super::{Maps, check_place, of_map};
use crate::elf::{Elf, Home};
use crate::error::{MapProblem, Problem, Result};
use crate::functions::Functions;
use ebpfvm_spec::btf::{Btf, Compound, Kind, KindTag, Linkage, Member, SectionVar, TypeId};
use ebpfvm_spec::map::InitialValue;
use ebpfvm_spec::{MapDef, MapFlags, MapType};
use std::collections::HashMap;

/// What ring buffers are measured in; the kernel's page size on the usual machines.
const PAGE_BYTES: u32 = 4096;
/// `LIBBPF_PIN_BY_NAME`
const PIN_BY_NAME: u32 = 1;
/// Size of a pointer in the definition, in bytes: what `values` is a list of.
const POINTER_BYTES: u64 = 8;

/// Most members of all definitions of a file together; many variables may share one large struct.
const MAX_MEMBERS: usize = 1 << 20;

/// Where the list `values` of a map lies in the section.
struct Values {
    map: usize,
    start: u64,
    end: u64,
}

pub(super) fn read(
    elf: &Elf<'_>,
    section: usize,
    btf: &Btf,
    functions: &Functions,
    maps: &mut Maps,
) -> Result<()> {
    let content = &elf.sections[section];
    let Some(datasec) = btf.find(super::DECLARED, KindTag::Datasec) else {
        return if content.bytes == 0 {
            Ok(())
        } else {
            Err(Problem::MapsWithoutBtf.in_section(&content.name))
        };
    };
    let Some(Kind::Datasec { vars, .. }) = btf.kind(datasec) else { return Ok(()) };
    let mut values = Vec::new();
    let (mut last_end, mut members_left) = (0, MAX_MEMBERS);
    for var in btf.list(vars) {
        let offset = u64::from(var.offset);
        let name = btf.name(var.type_id).to_string();
        let fault = |p| of_map(&name, p).at(&content.name, offset);
        check_place(&name, offset, last_end).map_err(fault)?;
        last_end = offset + u64::from(var.bytes);
        if offset + u64::from(var.bytes) > content.bytes {
            let (bytes, section_bytes) = (var.bytes.into(), content.bytes);
            return Err(fault(MapProblem::Outside { offset, bytes, section_bytes }));
        }
        let mut reader = Definition { btf, values_at: None, members_left };
        let def = reader.variable(&name, *var).map_err(fault)?;
        members_left = reader.members_left;
        if let Some(start) = reader.values_at {
            let (start, end) = (offset + start, offset + u64::from(var.bytes));
            values.push(Values { map: maps.defs.len(), start, end });
        }
        maps.add(section, offset, def);
    }
    initial_values(elf, section, functions, maps, &values)
}

/// What a variable of `.maps` says, be it the definition or its declaration in another file. Takes the
/// members that it reads from `members_left`.
pub(crate) fn of_variable(
    btf: &Btf,
    variable: TypeId,
    members_left: &mut usize,
) -> std::result::Result<MapDef, MapProblem> {
    let mut reader = Definition { btf, values_at: None, members_left: *members_left };
    let Some(Kind::Var { type_id, .. }) = btf.kind(variable) else {
        return reader.shape("the variable", variable, "a variable");
    };
    let (id, kind) = reader.resolve("the definition", type_id)?;
    let Kind::Compound { compound: Compound::Struct, members, .. } = kind else {
        return reader.shape("the definition", id, "a struct");
    };
    let def = reader.definition(btf.name(variable), btf.list(members), false)?;
    *members_left = reader.members_left;
    Ok(def)
}

struct Definition<'a> {
    btf: &'a Btf,
    /// Offset of `values` in the struct in bytes.
    values_at: Option<u64>,
    /// Members that may still be read.
    members_left: usize,
}

type Parsed<T> = std::result::Result<T, MapProblem>;

impl Definition<'_> {
    fn shape<T>(
        &self,
        what: impl Into<String>,
        found: TypeId,
        expected: &'static str,
    ) -> Parsed<T> {
        let found = match self.btf.kind(found) {
            Some(kind) => format!("of kind {}", kind.tag().name()),
            None => "no type".into(),
        };
        Err(MapProblem::Shape { what: what.into(), found, expected })
    }

    fn resolve(&self, what: &'static str, id: TypeId) -> Parsed<(TypeId, Kind)> {
        self.btf.resolve(id).map_err(|error| MapProblem::Layout { what, error })
    }

    fn variable(&mut self, name: &str, var: SectionVar) -> Parsed<MapDef> {
        let Some(Kind::Var { type_id, linkage }) = self.btf.kind(var.type_id) else {
            return self.shape("the variable", var.type_id, "a variable");
        };
        if linkage == Linkage::Extern {
            let (what, found) = ("the linkage".into(), "extern".into());
            let expected = "global: link the object with the one that defines the map";
            return Err(MapProblem::Shape { what, found, expected });
        }
        let (id, kind) = self.resolve("the definition", type_id)?;
        let Kind::Compound { compound: Compound::Struct, bytes, members } = kind else {
            return self.shape("the definition", id, "a struct");
        };
        if bytes > var.bytes {
            let (first, second) = (bytes.into(), var.bytes.into());
            return Err(MapProblem::Conflict { what: "the definition", first, second });
        }
        self.definition(name, self.btf.list(members), false)
    }

    fn definition(&mut self, name: &str, members: &[Member], is_inner: bool) -> Parsed<MapDef> {
        let mut map_type = None;
        let mut def = MapDef::new(name, MapType::Hash, 0, 0, 0);
        let left = self.members_left.checked_sub(members.len());
        self.members_left = left.ok_or(MapProblem::TooMany(MAX_MEMBERS))?;
        for (i, m) in members.iter().enumerate() {
            match self.btf.str(m.name) {
                "type" => {
                    let number = self.number(m)?;
                    let known = MapType::from_number(number);
                    map_type = Some(known.ok_or(MapProblem::UnknownType(number))?);
                }
                "max_entries" => def.max_entries = self.number(m)?,
                "map_flags" => def.flags = MapFlags(self.number(m)?),
                "numa_node" => def.numa_node = self.number(m)?,
                "map_extra" => def.extra = self.long_number(m)?,
                "key_size" => set_size("the key", &mut def.key_bytes, self.number(m)?.into())?,
                "value_size" => {
                    set_size("the value", &mut def.value_bytes, self.number(m)?.into())?;
                }
                "key" => {
                    let (id, bytes) = self.pointee("the key", m)?;
                    set_size("the key", &mut def.key_bytes, bytes)?;
                    def.key_type = Some(id);
                }
                "value" => {
                    let (id, bytes) = self.pointee("the value", m)?;
                    set_size("the value", &mut def.value_bytes, bytes)?;
                    def.value_type = Some(id);
                }
                "pinning" => match self.number(m)? {
                    _ if is_inner => return misplaced("pinning of an inner map"),
                    0 => {}
                    PIN_BY_NAME => def.pinned = true,
                    n => {
                        let (what, found) = ("pinning".into(), n.to_string());
                        let expected = "0 (none) or 1 (by name)";
                        return Err(MapProblem::Shape { what, found, expected });
                    }
                },
                "values" => {
                    let kind = map_type.ok_or(MapProblem::NoType)?;
                    if is_inner || i + 1 != members.len() {
                        return misplaced("'values' of an inner map or before other members");
                    }
                    def.inner = self.values(name, kind, m)?.map(Box::new);
                    set_size("the value", &mut def.value_bytes, 4)?;
                    self.values_at = Some(u64::from(m.bit_offset / 8));
                }
                other => return Err(MapProblem::UnknownMember(other.into())),
            }
        }
        def.map_type = map_type.ok_or(MapProblem::NoType)?;
        if matches!(def.map_type, MapType::Ringbuf | MapType::UserRingbuf) {
            def.max_entries = ring_bytes(def.max_entries);
        }
        Ok(def)
    }

    /// `__uint(name, N)`: a pointer to an array of `N`.
    fn number(&self, m: &Member) -> Parsed<u32> {
        let name = || format!("'{}'", self.btf.str(m.name));
        let (id, kind) = self.resolve("a number", m.type_id)?;
        let Kind::Ptr(to) = kind else {
            return self.shape(name(), id, "a pointer to an array, as __uint() makes");
        };
        match self.resolve("a number", to)? {
            (_, Kind::Array { count, .. }) => Ok(count),
            (id, _) => self.shape(name(), id, "an array, as __uint() makes"),
        }
    }

    /// `__ulong(name, N)`: an enum with the single value `N`; or as [`Definition::number`].
    fn long_number(&self, m: &Member) -> Parsed<u64> {
        let (_, kind) = self.resolve("a number", m.type_id)?;
        let Kind::Enum { values, .. } = kind else { return self.number(m).map(Into::into) };
        match self.btf.list(values) {
            [value] => Ok(value.value as u64),
            values => Err(MapProblem::Shape {
                what: format!("'{}'", self.btf.str(m.name)),
                found: format!("an enum of {} values", values.len()),
                expected: "an enum of one value, as __ulong() makes",
            }),
        }
    }

    /// `__type(name, T)`: a pointer to `T`.
    fn pointee(&self, what: &'static str, m: &Member) -> Parsed<(TypeId, u64)> {
        let (id, kind) = self.resolve(what, m.type_id)?;
        let Kind::Ptr(to) = kind else {
            return self.shape(what, id, "a pointer to the type, as __type() makes");
        };
        let bytes = self.btf.size_of(to).map_err(|error| MapProblem::Layout { what, error })?;
        Ok((to, bytes))
    }

    /// `__array(values, T)`: an array of no length of pointers to inner maps or programs. Gives what
    /// the inner maps look like.
    fn values(&mut self, name: &str, kind: MapType, m: &Member) -> Parsed<Option<MapDef>> {
        let of_maps = matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps);
        if !of_maps && kind != MapType::ProgArray {
            return misplaced("'values' of a map that holds neither maps nor programs");
        }
        let expected = "an array without length of pointers, as __array() makes";
        let (id, array) = self.resolve("'values'", m.type_id)?;
        let Kind::Array { element, count: 0, .. } = array else {
            return self.shape("'values'", id, expected);
        };
        let (id, pointer) = self.resolve("'values'", element)?;
        let Kind::Ptr(to) = pointer else { return self.shape("'values'", id, expected) };
        match (of_maps, self.resolve("'values'", to)?) {
            (false, (_, Kind::FuncProto { .. })) => Ok(None),
            (true, (_, Kind::Compound { compound: Compound::Struct, members, .. })) => {
                let inner =
                    self.definition(&format!("{name}.inner"), self.btf.list(members), true)?;
                Ok(Some(inner))
            }
            (false, (id, _)) => self.shape("'values'", id, "pointers to functions"),
            (true, (id, _)) => self.shape("'values'", id, "pointers to map definitions"),
        }
    }
}

fn misplaced<T>(what: &str) -> Parsed<T> {
    let (what, found) = (what.into(), "there".into());
    Err(MapProblem::Shape { what, found, expected: "not there" })
}

/// Sets a size, which may be said twice but only the same.
fn set_size(what: &'static str, place: &mut u32, bytes: u64) -> Parsed<()> {
    let first = u64::from(*place);
    if first != 0 && first != bytes {
        return Err(MapProblem::Conflict { what, first, second: bytes });
    }
    *place = u32::try_from(bytes).map_err(|_| MapProblem::Conflict {
        what,
        first: u32::MAX.into(),
        second: bytes,
    })?;
    Ok(())
}

/// The size of a ring buffer must be a power of two and whole pages; libbpf rounds up
/// (`adjust_ringbuf_sz`).
fn ring_bytes(wanted: u32) -> u32 {
    if wanted == 0 || wanted.is_multiple_of(PAGE_BYTES) && (wanted / PAGE_BYTES).is_power_of_two() {
        return wanted;
    }
    (wanted.div_ceil(PAGE_BYTES))
        .checked_next_power_of_two()
        .and_then(|pages| pages.checked_mul(PAGE_BYTES))
        .unwrap_or(wanted)
}

/// Static initialisers: relocations within `values` name programs or maps
/// (`bpf_object__collect_map_relos` of libbpf).
fn initial_values(
    elf: &Elf<'_>,
    section: usize,
    functions: &Functions,
    maps: &mut Maps,
    values: &[Values],
) -> Result<()> {
    let content = &elf.sections[section];
    let by_start: HashMap<&str, u32> =
        maps.defs.iter().zip(0..).map(|(d, i)| (d.name.as_str(), i)).collect();
    let mut found = Vec::new();
    for reloc in &content.relocs {
        let Some(list) = values.iter().find(|v| v.start <= reloc.offset && reloc.offset < v.end)
        else {
            let problem = MapProblem::Value {
                symbol: elf.symbol_name(&elf.symbols[reloc.symbol]),
                expected: "in the 'values' of a map",
            };
            return Err(of_map(&content.name, problem).at(&content.name, reloc.offset));
        };
        let def = &maps.defs[list.map];
        let fault = |problem| of_map(&def.name, problem).at(&content.name, reloc.offset);
        let symbol = &elf.symbols[reloc.symbol];
        let name = elf.symbol_name(symbol);
        let distance = reloc.offset - list.start;
        let index = distance / POINTER_BYTES;
        if distance % POINTER_BYTES != 0 {
            let expected = "at a multiple of 8 bytes";
            return Err(fault(MapProblem::Value { symbol: name, expected }));
        }
        if index >= u64::from(def.max_entries) {
            let max_entries = def.max_entries;
            return Err(fault(MapProblem::ValueIndex { index, max_entries }));
        }
        let value = if def.map_type == MapType::ProgArray {
            functions
                .program(&name)
                .map(|_| InitialValue::Program(name.clone()))
                .ok_or("a program of this object")
        } else {
            let in_maps = symbol.home == Home::Section(section);
            let index = by_start.get(name.as_str()).filter(|_| in_maps);
            index.map(|i| InitialValue::Map(*i)).ok_or("a map of this object")
        };
        let value =
            value.map_err(|expected| fault(MapProblem::Value { symbol: name, expected }))?;
        found.push((list.map, index as u32, value));
    }
    for (map, index, value) in found {
        maps.defs[map].values.push((index, value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ring_bytes;

    #[test]
    fn ring_buffers_are_rounded_up() {
        let cases = [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (12288, 16384)];
        for (wanted, expected) in cases {
            assert_eq!(ring_bytes(wanted), expected, "{wanted}");
        }
        assert_eq!(ring_bytes(u32::MAX), u32::MAX);
    }
}
