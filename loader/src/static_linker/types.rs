//! The types of all files in one set, and the records that refer to them.

use super::File;
use super::compatible::visible;
use super::error::LinkError;
use super::records;
use super::sections::Sections;
use super::symbols::Symbols;
use crate::btf::copy::Copier;
use crate::btf::dedup::{MergeError, merge_open};
use crate::btf::write::encode_btf;
use crate::elf::Home;
use ebpfvm_spec::btf::{Btf, Kind, Linkage, SectionVar, TypeId};
use std::collections::{HashMap, HashSet};

/// The content of `.BTF` and `.BTF.ext`.
pub(super) struct Types {
    pub(super) btf: Vec<u8>,
    pub(super) ext: Vec<u8>,
}

/// Merges the types of the files that have any; none if no file has.
pub(super) fn merge(
    files: &[File<'_>],
    sections: &Sections,
    symbols: &Symbols,
) -> Result<Option<Types>, LinkError> {
    let with_types = files.iter().enumerate().filter_map(|(i, f)| Some((i, f.btf.as_ref()?)));
    let (of_file, sets): (Vec<usize>, Vec<&Btf>) = with_types.unzip();
    if sets.is_empty() {
        return Ok(None);
    }
    let joined = Join { files, sections, symbols, of_file: &of_file, sets: &sets };
    let (all, ids) = joined.run()?;
    let all_sets = [&all];
    let (mut copier, new_ids) = merge_open(&all_sets)?;
    let new_id = |set: usize, id: TypeId| {
        let id = *ids[set].get(id.0 as usize)?;
        new_ids.get(0, id)
    };
    copier.allow(sets.iter().map(|s| s.string_bytes()).sum());
    let ext = records::write(files, sections, symbols, &of_file, &mut copier, new_id)?;
    let btf = copier.builder.finish().map_err(MergeError::from)?;
    let btf = encode_btf(&btf, files[0].elf.order)?;
    Ok(Some(Types { btf, ext }))
}

/// Making one set out of all, without twins among visible variables and functions but with all others.
struct Join<'a> {
    files: &'a [File<'a>],
    sections: &'a Sections,
    symbols: &'a Symbols,
    /// The file of each set.
    of_file: &'a [usize],
    sets: &'a [&'a Btf],
}

/// A type of one of the sets.
type Source = (usize, TypeId);

impl Join<'_> {
    /// The set, and the ids there by set and id. Those of data sections are void: they are made anew.
    fn run(&self) -> Result<(Btf, Vec<Vec<TypeId>>), LinkError> {
        let same = self.stand_ins();
        let mut ids: Vec<Vec<TypeId>> =
            self.sets.iter().map(|s| vec![TypeId::VOID; s.len()]).collect();
        let mut next = 1;
        for (set, btf) in self.sets.iter().enumerate() {
            for (id, t) in btf.iter().skip(1) {
                if !matches!(t.kind, Kind::Datasec { .. }) && !same.contains_key(&(set, id)) {
                    ids[set][id.0 as usize] = TypeId(next);
                    next += 1;
                }
            }
        }
        for ((set, id), (other, stand_in)) in &same {
            ids[*set][id.0 as usize] = ids[*other][stand_in.0 as usize];
        }
        let mut copier = Copier::new(self.sets);
        for (set, btf) in self.sets.iter().enumerate() {
            for (id, t) in btf.iter().skip(1) {
                if !matches!(t.kind, Kind::Datasec { .. }) && !same.contains_key(&(set, id)) {
                    copier.push(set, t.name, t.kind, |id| ids[set][id.0 as usize])?;
                }
            }
        }
        self.data_sections(&mut copier, &ids)?;
        Ok((copier.builder.finish().map_err(MergeError::from)?, ids))
    }

    /// Variables and functions that another file's stand for: declarations for which there is the
    /// definition, and definitions that gave way.
    fn stand_ins(&self) -> HashMap<Source, Source> {
        let visible: Vec<_> = self.sets.iter().map(|btf| visible(btf)).collect();
        let set_of_file: HashMap<usize, usize> = self.of_file.iter().copied().zip(0..).collect();
        let mut same = HashMap::new();
        for global in &self.symbols.globals {
            let name = global.name.as_str();
            let files = global.definition.iter().chain(&global.uses).map(|(file, _)| *file);
            let sources = files.filter_map(|f| {
                let s = *set_of_file.get(&f)?;
                Some((s, *visible[s].get(name)?))
            });
            let mut first = None;
            for source in sources {
                match first {
                    None => first = Some(source),
                    Some(first) if source != first => {
                        same.insert(source, first);
                    }
                    Some(_) => {}
                }
            }
        }
        // The prototypes of declarations lack the names of parameters.
        let uses: Vec<Vec<u32>> = self.sets.iter().map(|btf| uses(btf)).collect();
        let proto = |(set, id): Source| match self.sets[set].kind(id) {
            Some(Kind::Func { proto, .. }) => Some((set, proto)),
            _ => None,
        };
        let protos: Vec<(Source, Source)> = same
            .iter()
            .filter_map(|(a, b)| Some((proto(*a)?, proto(*b)?)))
            .filter(|((set, id), _)| uses[*set][id.0 as usize] == 1)
            .collect();
        same.extend(protos);
        same
    }

    /// Data sections by name, in order of their first occurrence.
    fn data_sections<'a>(
        &'a self,
        copier: &mut Copier<'a>,
        ids: &[Vec<TypeId>],
    ) -> Result<(), LinkError> {
        let mut order: Vec<&str> = Vec::new();
        let mut found: HashMap<&str, Vec<SectionVar>> = HashMap::new();
        let mut seen = HashSet::new();
        for (set, btf) in self.sets.iter().enumerate() {
            for (_, t) in btf.iter() {
                let Kind::Datasec { vars, .. } = t.kind else { continue };
                let name = btf.str(t.name);
                let list = found.entry(name).or_insert_with(|| {
                    order.push(name);
                    Vec::new()
                });
                for var in btf.list(vars) {
                    let type_id = ids[set][var.type_id.0 as usize];
                    if let Some(offset) = self.offset(set, name, *var)
                        && seen.insert(type_id)
                    {
                        list.push(SectionVar { type_id, offset, bytes: var.bytes });
                    }
                }
            }
        }
        for name in order {
            let section = self.sections.named(name);
            let mut vars = found.remove(name).unwrap_or_default();
            if vars.is_empty() && section.is_none() {
                continue;
            }
            vars.sort_by_key(|v| v.offset);
            let vars = copier.builder.span(vars);
            let bytes = section.map_or(0, |s| s.bytes.min(u32::MAX.into()) as u32);
            let name = copier.text(name)?;
            copier.builder.push(name, Kind::Datasec { bytes, vars });
        }
        Ok(())
    }

    /// The offset of a file's variable in a section of the result; none if it is not there.
    fn offset(&self, set: usize, section: &str, var: SectionVar) -> Option<u32> {
        let (file, btf) = (self.of_file[set], self.sets[set]);
        let home = self.files[file].by_name.get(section).copied();
        let place = home.and_then(|home| self.sections.place(file, home));
        let linkage = match btf.kind(var.type_id)? {
            Kind::Var { linkage, .. } | Kind::Func { linkage, .. } => linkage,
            _ => return None,
        };
        if linkage == Linkage::Static {
            let place = place.filter(|p| !p.is_copy)?;
            return u32::try_from(place.offset + u64::from(var.offset)).ok();
        }
        // A section that another's stands for has its variables there.
        let global = self.symbols.global(btf.name(var.type_id))?;
        match global.definition {
            Some((defining, symbol)) => {
                let symbol = &self.files[defining].elf.symbols[symbol];
                let here = defining == file && symbol.home == Home::Section(home?);
                let place = place.filter(|p| here && !p.is_copy)?;
                u32::try_from(place.offset + symbol.value).ok()
            }
            None => Some(0),
        }
    }
}

/// How often each type is referred to.
fn uses(btf: &Btf) -> Vec<u32> {
    let mut uses = vec![0; btf.len()];
    for (_, t) in btf.iter() {
        btf.each_reference(t.kind, |id| uses[id.0 as usize] += 1);
    }
    uses
}
