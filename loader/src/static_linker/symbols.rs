//! Which definition a name stands for.

use super::File;
use super::error::LinkError;
use super::sections::Sections;
use crate::elf::{Home, Symbol};
use object::elf as e;
use std::collections::HashMap;
use std::ops::Range;

/// A symbol of the result.
pub(super) struct OutSymbol {
    pub(super) name: String,
    /// `STB_*`
    pub(super) binding: u8,
    /// `STT_*`
    pub(super) kind: u8,
    pub(super) is_hidden: bool,
    /// Index in the result; none for an extern.
    pub(super) section: Option<usize>,
    pub(super) value: u64,
    pub(super) bytes: u64,
}

/// A global name.
pub(super) struct Global {
    pub(super) name: String,
    /// File and symbol of the definition that counts; none for an extern.
    pub(super) definition: Option<(usize, usize)>,
    /// Whether that definition is weak.
    is_weak: bool,
    /// Whether some file insists on it.
    is_strong: bool,
    is_hidden: bool,
    /// The files that define or declare it, each with its symbol.
    pub(super) uses: Vec<(usize, usize)>,
}

pub(super) struct Symbols {
    /// The null symbol, then one for each section, then static ones, then global ones.
    pub(super) list: Vec<OutSymbol>,
    /// The number of those that are not global.
    pub(super) locals: usize,
    pub(super) globals: Vec<Global>,
    by_name: HashMap<String, usize>,
    /// Index in the result by file and symbol.
    index: Vec<Vec<Option<u32>>>,
    /// By file and section: the bytes of definitions that gave way, in order.
    dead: HashMap<(usize, usize), Vec<Range<u64>>>,
}

impl Symbols {
    pub(super) fn resolve(files: &[File<'_>], sections: &Sections) -> Result<Symbols, LinkError> {
        let mut symbols = Symbols {
            list: Vec::new(),
            locals: 0,
            globals: Vec::new(),
            by_name: HashMap::new(),
            index: files.iter().map(|f| vec![None; f.elf.symbols.len()]).collect(),
            dead: HashMap::new(),
        };
        symbols.add_sections(sections);
        for (file, f) in files.iter().enumerate() {
            for (i, symbol) in f.elf.symbols.iter().enumerate() {
                symbols.add(files, sections, file, i, symbol)?;
            }
        }
        symbols.locals = symbols.list.len();
        symbols.add_globals(files, sections)?;
        symbols.bury(files);
        let (found, limit) = (symbols.list.len() as u64, u32::MAX.into());
        if found > limit {
            return Err(LinkError::TooLarge { what: "the number of symbols", found, limit });
        }
        Ok(symbols)
    }

    /// The index in the result of a file's symbol.
    pub(super) fn of(&self, file: usize, symbol: usize) -> Option<u32> {
        self.index[file][symbol]
    }

    /// The global symbol with this name.
    pub(super) fn global(&self, name: &str) -> Option<&Global> {
        self.by_name.get(name).map(|i| &self.globals[*i])
    }

    /// Whether a byte of a section belongs to a definition that gave way.
    pub(super) fn is_dead(&self, file: usize, section: usize, offset: u64) -> bool {
        self.dead.get(&(file, section)).is_some_and(|ranges| {
            let before = ranges.partition_point(|r| r.start <= offset);
            before > 0 && ranges[before - 1].contains(&offset)
        })
    }

    fn add_sections(&mut self, sections: &Sections) {
        let names = std::iter::once(None).chain((0..sections.list.len()).map(Some));
        self.list.extend(names.map(|section| OutSymbol {
            name: String::new(),
            binding: e::STB_LOCAL.0,
            kind: if section.is_some() { e::STT_SECTION.0 } else { e::STT_NOTYPE.0 },
            is_hidden: false,
            section,
            value: 0,
            bytes: 0,
        }));
    }

    /// Adds a static symbol, or takes note of a global one.
    fn add(
        &mut self,
        files: &[File<'_>],
        sections: &Sections,
        file: usize,
        i: usize,
        symbol: &Symbol,
    ) -> Result<(), LinkError> {
        let place = match symbol.home {
            Home::Section(home) => match sections.place(file, home) {
                Some(place) => Some(place),
                None => return Ok(()),
            },
            Home::Undefined => None,
            Home::Special(_) if symbol.is_local => return Ok(()),
            Home::Special(_) => {
                return Err(LinkError::Symbol {
                    file: files[file].name.into(),
                    symbol: symbol.name.clone(),
                    what: "neither in a section nor an extern",
                });
            }
        };
        if !symbol.is_local {
            // Of sections that have to agree one stands for all, and so do its symbols.
            return if place.is_some_and(|p| p.is_copy) {
                Ok(())
            } else {
                self.note(files, file, i, symbol)
            };
        }
        let Some(place) = place else { return Ok(()) };
        if symbol.is_section {
            self.index[file][i] = Some(place.section as u32 + 1);
        } else if !place.is_copy {
            self.index[file][i] = Some(self.list.len() as u32);
            self.push(files[file].name, symbol, e::STB_LOCAL.0, sections, file)?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        files: &[File<'_>],
        file: usize,
        i: usize,
        symbol: &Symbol,
    ) -> Result<(), LinkError> {
        let next = self.globals.len();
        let index = *self.by_name.entry(symbol.name.clone()).or_insert(next);
        if index == next {
            self.globals.push(Global {
                name: symbol.name.clone(),
                definition: None,
                is_weak: false,
                is_strong: false,
                is_hidden: false,
                uses: Vec::new(),
            });
        }
        let global = &mut self.globals[index];
        global.uses.push((file, i));
        // Whoever insists or hides does so for all.
        global.is_strong |= !symbol.is_weak;
        global.is_hidden |= symbol.is_hidden;
        if symbol.home == Home::Undefined {
            return Ok(());
        }
        match global.definition {
            Some((first, _)) if !global.is_weak && !symbol.is_weak => Err(LinkError::Twice {
                symbol: symbol.name.clone(),
                first: files[first].name.into(),
                second: files[file].name.into(),
            }),
            Some(_) if symbol.is_weak => Ok(()),
            _ => {
                global.definition = Some((file, i));
                global.is_weak = symbol.is_weak;
                Ok(())
            }
        }
    }

    fn add_globals(&mut self, files: &[File<'_>], sections: &Sections) -> Result<(), LinkError> {
        for at in 0..self.globals.len() {
            let global = &self.globals[at];
            let binding = if global.is_strong { e::STB_GLOBAL } else { e::STB_WEAK }.0;
            let is_hidden = global.is_hidden;
            let new = self.list.len();
            let (file, i) = global.definition.unwrap_or(global.uses[0]);
            for use_at in 0..self.globals[at].uses.len() {
                let (file, i) = self.globals[at].uses[use_at];
                self.index[file][i] = Some(new as u32);
            }
            let f = &files[file];
            self.push(f.name, &f.elf.symbols[i], binding, sections, file)?;
            self.list[new].is_hidden = is_hidden;
        }
        Ok(())
    }

    fn push(
        &mut self,
        name: &str,
        symbol: &Symbol,
        binding: u8,
        sections: &Sections,
        file: usize,
    ) -> Result<(), LinkError> {
        let place = match symbol.home {
            Home::Section(home) => sections.place(file, home),
            _ => None,
        };
        let value = place.map_or(0, |p| p.offset).checked_add(symbol.value);
        let end = value.and_then(|v| v.checked_add(symbol.bytes));
        let inside = place.is_none_or(|p| end.is_some_and(|e| e <= sections.list[p.section].bytes));
        let (Some(value), true) = (value, inside) else {
            return Err(LinkError::Symbol {
                file: name.into(),
                symbol: symbol.name.clone(),
                what: "outside its section",
            });
        };
        self.list.push(OutSymbol {
            name: symbol.name.clone(),
            binding,
            kind: symbol.kind,
            is_hidden: symbol.is_hidden,
            section: place.map(|p| p.section),
            value,
            bytes: symbol.bytes,
        });
        Ok(())
    }

    /// Finds the bytes that only definitions that gave way have.
    fn bury(&mut self, files: &[File<'_>]) {
        for (file, f) in files.iter().enumerate() {
            let mut alive: HashMap<usize, Vec<Range<u64>>> = HashMap::new();
            let mut gone: HashMap<usize, Vec<Range<u64>>> = HashMap::new();
            for (i, symbol) in f.elf.symbols.iter().enumerate() {
                let Home::Section(home) = symbol.home else { continue };
                let range = symbol.value..symbol.value.saturating_add(symbol.bytes);
                if range.is_empty() || symbol.is_section {
                    continue;
                }
                let lost = !symbol.is_local
                    && self.global(&symbol.name).is_some_and(|g| g.definition != Some((file, i)));
                let ranges = if lost { &mut gone } else { &mut alive };
                ranges.entry(home).or_default().push(range);
            }
            for (section, mut ranges) in gone {
                // An alias may be another's only name.
                let alive = Ends::new(alive.remove(&section).unwrap_or_default());
                ranges.retain(|r| !alive.overlap(r));
                ranges.sort_by_key(|r| (r.start, r.end));
                ranges.dedup();
                self.dead.insert((file, section), ranges);
            }
        }
    }
}

/// Ranges in order of their starts, each with the furthest end up to it.
struct Ends(Vec<(u64, u64)>);

impl Ends {
    fn new(mut ranges: Vec<Range<u64>>) -> Ends {
        ranges.sort_by_key(|r| r.start);
        let mut furthest = 0;
        Ends(
            ranges
                .into_iter()
                .map(|r| {
                    furthest = r.end.max(furthest);
                    (r.start, furthest)
                })
                .collect(),
        )
    }

    fn overlap(&self, range: &Range<u64>) -> bool {
        let before = self.0.partition_point(|(start, _)| *start < range.end);
        before > 0 && self.0[before - 1].1 > range.start
    }
}
