//! One of each: sets of types merged into one in which no two types mean the same.
//!
//! Types are equal if they look the same (kind, name, sizes, names and offsets of members, values)
//! and what they refer to is equal in turn, however the references run in circles: the coarsest such
//! equality is found, so the result is as small as it can be. As libbpf's `btf__dedup` has it,
//! variables and data sections are kept one for one, a declared struct, union or enum becomes its
//! definition where only one is known, and names of parameters count. Where libbpf decides by which
//! file came first whether a pointer to a declaration is one of two definitions, the declaration
//! stays here.

mod partition;

use super::copy::Copier;
use ebpfvm_spec::btf::{Btf, BtfError, Compound, Kind, Linkage, Name, Type, TypeId};
use partition::Edge;
use std::collections::{HashMap, HashSet};

/// How often definitions may turn out to differ because of what they refer to, before declarations
/// are left alone wherever there is more than one definition. Bounds the time; files of people need
/// one or two rounds.
const MAX_ROUNDS: usize = 8;

/// Why sets cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The names take more room than the string tables can hold honestly.
    #[error("names share the bytes of their texts, expected separate texts")]
    SharedText,
    /// More types than ids.
    #[error("the sets have {types} types, at most {limit} can be merged")]
    TooMany {
        /// The number of types of all sets.
        types: usize,
        /// The limit.
        limit: usize,
    },
    /// A set that refers to types it does not have.
    #[error(transparent)]
    Set(#[from] BtfError),
}

/// Sets merged into one.
#[derive(Debug)]
pub struct Merged {
    /// The types, in the order of their first occurrence.
    pub btf: Btf,
    /// What became of each type.
    pub ids: NewIds,
}

/// What became of the types of merged sets.
#[derive(Debug)]
pub struct NewIds {
    starts: Vec<u32>,
    ids: Vec<TypeId>,
}

impl NewIds {
    /// The new id of a type of the set with this index; none if the set has no such type.
    pub fn get(&self, set: usize, id: TypeId) -> Option<TypeId> {
        if id == TypeId::VOID {
            return Some(TypeId::VOID);
        }
        let (start, end) = (*self.starts.get(set)?, *self.starts.get(set + 1)?);
        let node = start.checked_add(id.0)?;
        // Ids start at 1, so the last one is where the next set's void would be.
        (node <= end).then(|| self.ids[node as usize])
    }
}

/// Merges sets; bases are merged with what stands on them.
///
/// # Errors
/// [`MergeError`]
pub fn merge(sets: &[&Btf]) -> Result<Merged, MergeError> {
    let (copier, ids) = merge_open(sets)?;
    Ok(Merged { btf: copier.builder.finish()?, ids })
}

/// Leaves one of each type of a set.
///
/// # Errors
/// [`MergeError`]
pub fn dedup(btf: &Btf) -> Result<Merged, MergeError> {
    merge(&[btf])
}

/// As [`merge`], with the result still open for more names.
pub(crate) fn merge_open<'a>(sets: &'a [&'a Btf]) -> Result<(Copier<'a>, NewIds), MergeError> {
    let graph = Graph::new(sets)?;
    let (keys, copier) = graph.keys()?;
    let mut links = Links::new(&graph, &keys);
    let mut round = 0;
    let classes = loop {
        let edges = graph.edges(&links.target);
        let classes = partition::classes(&keys.of, &edges);
        if links.settle(&classes, round >= MAX_ROUNDS) {
            break classes;
        }
        round += 1;
    };
    graph.build(copier, &classes, &links.target)
}

/// The types of all sets as nodes; `void`, which they share, is node 0.
struct Graph<'a> {
    sets: &'a [&'a Btf],
    /// The node before the first type of each set, and the last node.
    starts: Vec<u32>,
}

/// What types look like without what they refer to.
struct Keys {
    /// By node: equal for types that look the same.
    of: Vec<u32>,
    /// By node, in the new set.
    names: Vec<Name>,
}

impl<'a> Graph<'a> {
    fn new(sets: &'a [&'a Btf]) -> Result<Graph<'a>, MergeError> {
        let limit = u32::MAX as usize / 2;
        let types: usize = sets.iter().map(|s| s.len()).sum();
        if types > limit {
            return Err(MergeError::TooMany { types, limit });
        }
        let mut starts = vec![0];
        for set in sets {
            starts.push(starts[starts.len() - 1] + set.len() as u32 - 1);
        }
        Ok(Graph { sets, starts })
    }

    fn nodes(&self) -> usize {
        self.starts[self.sets.len()] as usize + 1
    }

    fn node(&self, set: usize, id: TypeId) -> u32 {
        if id == TypeId::VOID { 0 } else { self.starts[set] + id.0 }
    }

    /// All types but `void` with their nodes and sets, in order of nodes.
    fn types(&self) -> impl Iterator<Item = (u32, usize, Type)> + '_ {
        self.sets.iter().enumerate().flat_map(move |(set, btf)| {
            btf.iter().skip(1).map(move |(id, t)| (self.node(set, id), set, t))
        })
    }

    fn keys(&self) -> Result<(Keys, Copier<'a>), MergeError> {
        let mut copier = Copier::new(self.sets);
        let mut keys = Keys { of: vec![0; self.nodes()], names: vec![Name::EMPTY; self.nodes()] };
        let mut known: HashMap<Box<[u32]>, u32> = HashMap::new();
        let mut words = Vec::new();
        for (node, set, t) in self.types() {
            let name = copier.name(set, t.name)?;
            keys.names[node as usize] = name;
            words.clear();
            words.extend([u32::from(t.kind.tag() as u8), name.0]);
            self.shape(set, node, t.kind, &mut copier, &mut words)?;
            // Node 0 is void, like which nothing else looks.
            let new = known.len() as u32 + 1;
            keys.of[node as usize] = match known.get(words.as_slice()) {
                Some(key) => *key,
                None => {
                    known.insert(words.as_slice().into(), new);
                    new
                }
            };
        }
        Ok((keys, copier))
    }

    /// Adds the fields of a type that are not references.
    fn shape(
        &self,
        set: usize,
        node: u32,
        kind: Kind,
        copier: &mut Copier<'a>,
        words: &mut Vec<u32>,
    ) -> Result<(), MergeError> {
        let btf = self.sets[set];
        match kind {
            Kind::Void
            | Kind::Ptr(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_) => {}
            Kind::Int { bytes, encoding: e, bit_offset, bits } => {
                let flags = u32::from(e.signed) | u32::from(e.char) << 1 | u32::from(e.bool) << 2;
                words.extend([bytes, flags, bit_offset.into(), bits.into()]);
            }
            Kind::Float { bytes } => words.push(bytes),
            Kind::Fwd(compound) => words.push(u32::from(compound == Compound::Union)),
            Kind::Array { count, .. } => words.push(count),
            Kind::Compound { bytes, members, .. } => {
                words.push(bytes);
                for m in btf.list(members) {
                    let name = copier.name(set, m.name)?;
                    words.extend([name.0, m.bit_offset, m.bitfield_bits]);
                }
            }
            Kind::Enum { bytes, signed, values, .. } => {
                words.extend([bytes, signed.into()]);
                for v in btf.list(values) {
                    let name = copier.name(set, v.name)?;
                    words.extend([name.0, v.value as u32, (v.value as u64 >> 32) as u32]);
                }
            }
            Kind::Func { linkage, .. } => words.push(match linkage {
                Linkage::Static => 0,
                Linkage::Global => 1,
                Linkage::Extern => 2,
            }),
            Kind::FuncProto { params, .. } => {
                for p in btf.list(params) {
                    words.push(copier.name(set, p.name)?.0);
                }
            }
            // Places in memory: each is itself only.
            Kind::Var { .. } | Kind::Datasec { .. } => words.push(node),
            Kind::DeclTag { component, attribute, .. } => {
                words.extend([component.map_or(0, |c| c.wrapping_add(1)), attribute.into()]);
            }
            Kind::TypeTag { attribute, .. } => words.push(attribute.into()),
        }
        Ok(())
    }

    /// The references, those to a node of `target` redirected.
    fn edges(&self, target: &HashMap<u32, u32>) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (from, set, t) in self.types() {
            let mut label = 0;
            self.sets[set].each_reference(t.kind, |id| {
                let to = self.node(set, id);
                let to = *target.get(&to).unwrap_or(&to);
                edges.push(Edge { from, label, to });
                label += 1;
            });
        }
        edges
    }

    fn build(
        &self,
        mut copier: Copier<'a>,
        classes: &[u32],
        target: &HashMap<u32, u32>,
    ) -> Result<(Copier<'a>, NewIds), MergeError> {
        // Ids in the order in which the classes first occur.
        let mut id_of_class: HashMap<u32, TypeId> = HashMap::from([(classes[0], TypeId::VOID)]);
        let mut first = Vec::new();
        for (node, set, t) in self.types() {
            let next = TypeId(id_of_class.len() as u32);
            if !target.contains_key(&node)
                && let std::collections::hash_map::Entry::Vacant(entry) =
                    id_of_class.entry(classes[node as usize])
            {
                entry.insert(next);
                first.push((set, t));
            }
        }
        let ids: Vec<TypeId> = (0..self.nodes() as u32)
            .map(|node| id_of_class[&classes[*target.get(&node).unwrap_or(&node) as usize]])
            .collect();
        for (set, t) in first {
            copier.push(set, t.name, t.kind, |id| ids[self.node(set, id) as usize])?;
        }
        Ok((copier, NewIds { starts: self.starts.clone(), ids }))
    }
}

/// What kind of thing a declaration declares.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Declared {
    Compound(Compound),
    Enum,
}

/// Declarations with what they are taken to be.
struct Links {
    /// Definition by declaration, both nodes.
    target: HashMap<u32, u32>,
    /// The declarations of one name with its definitions, of which there are some.
    groups: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Links {
    /// Declarations of names all of whose definitions look the same.
    fn new(graph: &Graph<'_>, keys: &Keys) -> Links {
        let mut declarations: HashMap<(Name, Declared), Vec<u32>> = HashMap::new();
        let mut order = Vec::new();
        let name_of = |node: u32| keys.names[node as usize];
        let declares = |t: Type| match t.kind {
            Kind::Fwd(compound) => Some(Declared::Compound(compound)),
            Kind::Enum { values, .. } if values.is_empty() => Some(Declared::Enum),
            _ => None,
        };
        let defines = |t: Type| match t.kind {
            Kind::Compound { compound, .. } => Some(Declared::Compound(compound)),
            Kind::Enum { values, .. } if !values.is_empty() => Some(Declared::Enum),
            _ => None,
        };
        for (node, _, t) in graph.types().filter(|(_, _, t)| !t.name.is_empty()) {
            if let Some(what) = declares(t) {
                let key = (name_of(node), what);
                let group = declarations.entry(key).or_default();
                if group.is_empty() {
                    order.push(key);
                }
                group.push(node);
            }
        }
        let mut definitions: HashMap<(Name, Declared), Vec<u32>> = HashMap::new();
        for (node, _, t) in graph.types().filter(|(_, _, t)| !t.name.is_empty()) {
            if let Some(what) = defines(t)
                && declarations.contains_key(&(name_of(node), what))
            {
                definitions.entry((name_of(node), what)).or_default().push(node);
            }
        }
        let mut links = Links { target: HashMap::new(), groups: Vec::new() };
        for key in order {
            let Some(definitions) = definitions.remove(&key) else { continue };
            let looks: HashSet<u32> = definitions.iter().map(|d| keys.of[*d as usize]).collect();
            if looks.len() == 1 {
                let declared = declarations.remove(&key).unwrap_or_default();
                links.target.extend(declared.iter().map(|d| (*d, definitions[0])));
                links.groups.push((declared, definitions));
            }
        }
        links
    }

    /// Whether all definitions of a name are one type. If not, gives up the links to those that are
    /// not, and when it is `late` all to one of several. Without a link classes only grow finer, so
    /// what differs now differs then too.
    fn settle(&mut self, classes: &[u32], late: bool) -> bool {
        let agree = |d: &[u32]| d.iter().all(|n| classes[*n as usize] == classes[d[0] as usize]);
        if self.groups.iter().all(|(_, definitions)| agree(definitions)) {
            return true;
        }
        self.groups.retain(|(declared, definitions)| {
            let keep = if late { definitions.len() == 1 } else { agree(definitions) };
            if !keep {
                declared.iter().for_each(|d| {
                    self.target.remove(d);
                });
            }
            keep
        });
        false
    }
}
