//! Types as C: one declaration, or all definitions in an order that a compiler takes, in the style
//! of bpftool's `btf dump ... format c`.

use ebpfvm_spec::btf::{Btf, Compound, EnumValue, Kind, Linkage, Member, Span, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// Most text that is made, in bytes: anonymous structs are written where they are used, so a small
/// file can ask for more than any reader wants.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// How deep declarations may nest.
pub const MAX_DEPTH: usize = 64;
/// How long a chain of definitions that need each other may be.
const MAX_CHAIN: usize = 512;

/// A typedef that compilers know without its definition.
const BUILT_IN: &str = "__builtin_va_list";

/// Why types cannot be written as C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CError {
    /// There is no such type.
    #[error("there is no type {0}")]
    NoType(TypeId),
    /// Types nest deeper than [`MAX_DEPTH`], or contain themselves.
    #[error("type {0} nests too deep")]
    TooDeep(TypeId),
    /// More than [`MAX_TEXT_BYTES`].
    #[error("the types take more than {MAX_TEXT_BYTES} bytes of text")]
    TooLong,
}

type Result<T> = std::result::Result<T, CError>;

/// A declaration of `name` with this type, such as `int (*name)(struct point *)`. A function, with
/// its own name, becomes its prototype; named types are not spelled out.
///
/// # Errors
/// [`CError`]
pub fn declaration(btf: &Btf, id: TypeId, name: &str) -> Result<String> {
    Writer::new(btf).declare(id, name.into(), 0, 0)
}

/// The definition of a struct, union, enum or typedef, without those it needs.
///
/// # Errors
/// [`CError`]
pub fn definition(btf: &Btf, id: TypeId) -> Result<String> {
    Writer::new(btf).define(id)
}

/// All definitions, each after those it needs.
///
/// # Errors
/// [`CError`]
pub fn header(btf: &Btf) -> Result<String> {
    let mut header = Header { writer: Writer::new(btf), text: String::new(), done: HashSet::new() };
    for (id, t) in btf.iter() {
        let needed = match t.kind {
            Kind::Compound { .. } | Kind::Enum { .. } => !t.name.is_empty(),
            Kind::Typedef(_) | Kind::Fwd(_) => true,
            _ => false,
        };
        if needed {
            header.need(id, Use::Whole, 0)?;
        }
    }
    Ok(header.text)
}

/// How much of a type must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    /// Its name: it is behind a pointer.
    Name,
    /// Its definition.
    Whole,
}

/// Writes definitions in order.
struct Header<'a> {
    writer: Writer<'a>,
    text: String,
    done: HashSet<(TypeId, Use)>,
}

impl Header<'_> {
    /// Writes what has to stand before a use of the type.
    fn need(&mut self, id: TypeId, how: Use, chain: usize) -> Result<()> {
        if !self.done.insert((id, how)) {
            return Ok(());
        }
        if chain > MAX_CHAIN {
            return Err(CError::TooDeep(id));
        }
        let btf = self.writer.btf;
        let t = btf.get(id).ok_or(CError::NoType(id))?;
        match t.kind {
            Kind::Ptr(to) => self.need(to, Use::Name, chain + 1),
            // Even behind a pointer, C wants elements to be known.
            Kind::Array { element, .. } => self.need(element, Use::Whole, chain + 1),
            Kind::FuncProto { ret, params } => {
                self.need(ret, Use::Name, chain + 1)?;
                for p in btf.list(params) {
                    self.need(p.type_id, Use::Name, chain + 1)?;
                }
                Ok(())
            }
            Kind::Typedef(_) if btf.str(t.name) == BUILT_IN => Ok(()),
            Kind::Typedef(to) => {
                if how == Use::Whole {
                    self.need(id, Use::Name, chain + 1)?;
                    return self.need(to, how, chain + 1);
                }
                self.need(to, Use::Name, chain + 1)?;
                self.write_definition(id)
            }
            Kind::Compound { members, .. } if t.name.is_empty() => self.members(members, chain),
            Kind::Compound { compound, .. } if how == Use::Name => self.forward(compound, id),
            Kind::Compound { members, .. } => {
                self.members(members, chain)?;
                self.write_definition(id)?;
                self.done.insert((id, Use::Name));
                Ok(())
            }
            Kind::Enum { .. } if t.name.is_empty() => Ok(()),
            Kind::Enum { .. } => match how {
                Use::Name => self.need(id, Use::Whole, chain + 1),
                Use::Whole => self.write_definition(id),
            },
            Kind::Fwd(_) if how == Use::Name => self.need(id, Use::Whole, chain + 1),
            Kind::Fwd(compound) => self.forward(compound, id),
            kind => match kind.qualified() {
                Some(to) => self.need(to, how, chain + 1),
                None => Ok(()),
            },
        }
    }

    fn members(&mut self, members: Span<Member>, chain: usize) -> Result<()> {
        for m in self.writer.btf.list(members) {
            self.need(m.type_id, Use::Whole, chain + 1)?;
        }
        Ok(())
    }

    fn forward(&mut self, compound: Compound, id: TypeId) -> Result<()> {
        let name = self.writer.name(id);
        self.write(&format!("{} {name};\n\n", keyword(compound)))
    }

    fn write_definition(&mut self, id: TypeId) -> Result<()> {
        let text = self.writer.define(id)?;
        self.write(&text)?;
        self.write("\n\n")
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > MAX_TEXT_BYTES {
            return Err(CError::TooLong);
        }
        self.text.push_str(text);
        Ok(())
    }
}

fn keyword(compound: Compound) -> &'static str {
    match compound {
        Compound::Struct => "struct",
        Compound::Union => "union",
    }
}

fn numbered(name: &str, count: &mut u32) -> String {
    *count += 1;
    if *count == 1 { name.into() } else { format!("{name}___{count}") }
}

/// Writes single declarations and definitions.
struct Writer<'a> {
    btf: &'a Btf,
    /// Names of types whose plain name another type has taken.
    names: HashMap<TypeId, String>,
    /// How many types have taken a name, tags and other names apart.
    taken: HashMap<(bool, &'a str), u32>,
    left: usize,
}

impl<'a> Writer<'a> {
    fn new(btf: &'a Btf) -> Writer<'a> {
        Writer { btf, names: HashMap::new(), taken: HashMap::new(), left: MAX_TEXT_BYTES }
    }

    /// The name of a type: a second one with the same name gets `___2` behind it.
    fn name(&mut self, id: TypeId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let plain = self.btf.name(id);
        let is_tag = match self.btf.kind(id) {
            Some(Kind::Compound { .. } | Kind::Enum { .. }) => true,
            Some(Kind::Typedef(_)) => false,
            _ => return plain.into(),
        };
        if plain.is_empty() {
            return String::new();
        }
        let count = self.taken.entry((is_tag, plain)).or_insert(0);
        let name = numbered(plain, count);
        self.names.insert(id, name.clone());
        name
    }

    /// The name of an enumerator; they are in one space with the names of typedefs.
    fn enumerator(&mut self, plain: &'a str) -> String {
        numbered(plain, self.taken.entry((false, plain)).or_insert(0))
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or(CError::TooLong)?;
        Ok(())
    }

    fn define(&mut self, id: TypeId) -> Result<String> {
        let t = self.btf.get(id).ok_or(CError::NoType(id))?;
        let text = match t.kind {
            Kind::Typedef(to) => {
                let name = self.name(id);
                format!("typedef {}", self.declare(to, name, 0, 0)?)
            }
            Kind::Compound { .. } => self.compound(id, 0, 0)?,
            Kind::Enum { is_64, bytes, signed, values } => {
                self.enumeration(id, is_64, bytes, signed, values, 0)
            }
            _ => self.declare(id, String::new(), 0, 0)?,
        };
        Ok(text + ";")
    }

    /// Builds a declaration from the inside out: `declarator` is what stands around the name so far.
    fn declare(
        &mut self,
        id: TypeId,
        declarator: String,
        indent: usize,
        depth: usize,
    ) -> Result<String> {
        if depth > MAX_DEPTH {
            return Err(CError::TooDeep(id));
        }
        self.spend(declarator.len() + 8)?;
        let btf = self.btf;
        let t = btf.get(id).ok_or(CError::NoType(id))?;
        let base = match t.kind {
            Kind::Ptr(to) => {
                let inner = format!("*{declarator}");
                let inner = match self.behind_qualifiers(to) {
                    Some(Kind::Array { .. } | Kind::FuncProto { .. }) => format!("({inner})"),
                    _ => inner,
                };
                return self.declare(to, inner, indent, depth + 1);
            }
            Kind::Array { element, count, .. } => {
                return self.declare(element, format!("{declarator}[{count}]"), indent, depth + 1);
            }
            Kind::FuncProto { ret, params } => {
                let mut list = Vec::new();
                let params = btf.list(params);
                for (i, p) in params.iter().enumerate() {
                    let is_last = i + 1 == params.len();
                    list.push(if is_last && p.type_id == TypeId::VOID {
                        "...".into()
                    } else {
                        self.declare(p.type_id, btf.str(p.name).into(), indent, depth + 1)?
                    });
                }
                let list = if list.is_empty() { "void".into() } else { list.join(", ") };
                return self.declare(ret, format!("{declarator}({list})"), indent, depth + 1);
            }
            Kind::Func { proto, .. } => {
                let name = if declarator.is_empty() { btf.name(id).into() } else { declarator };
                return self.declare(proto, name, indent, depth + 1);
            }
            Kind::Var { type_id, linkage } => {
                let name = if declarator.is_empty() { btf.name(id).into() } else { declarator };
                let before = match linkage {
                    Linkage::Static => "static ",
                    Linkage::Global => "",
                    Linkage::Extern => "extern ",
                };
                return Ok(before.to_string() + &self.declare(type_id, name, indent, depth + 1)?);
            }
            Kind::Const(to) => return self.qualify("const", to, declarator, indent, depth),
            Kind::Volatile(to) => return self.qualify("volatile", to, declarator, indent, depth),
            Kind::Restrict(to) => return self.qualify("restrict", to, declarator, indent, depth),
            Kind::TypeTag { type_id, attribute } => {
                let name = btf.str(t.name);
                let tag = if attribute {
                    format!("__attribute__(({name}))")
                } else {
                    format!("__attribute__((btf_type_tag(\"{name}\")))")
                };
                return self.qualify(&tag, type_id, declarator, indent, depth);
            }
            Kind::DeclTag { type_id, .. } => {
                return self.declare(type_id, declarator, indent, depth + 1);
            }
            Kind::Compound { .. } if t.name.is_empty() => self.compound(id, indent, depth)?,
            Kind::Compound { compound, .. } => {
                format!("{} {}", keyword(compound), self.name(id))
            }
            Kind::Fwd(compound) => format!("{} {}", keyword(compound), btf.str(t.name)),
            Kind::Enum { is_64, bytes, signed, values } if t.name.is_empty() => {
                self.enumeration(id, is_64, bytes, signed, values, indent)
            }
            Kind::Enum { .. } => format!("enum {}", self.name(id)),
            Kind::Void => "void".into(),
            Kind::Typedef(_) => self.name(id),
            Kind::Int { .. } | Kind::Float { .. } | Kind::Datasec { .. } => btf.str(t.name).into(),
        };
        self.spend(base.len())?;
        Ok(if declarator.is_empty() { base } else { format!("{base} {declarator}") })
    }

    /// A qualifier stands before the type, but behind the star of a pointer.
    fn qualify(
        &mut self,
        word: &str,
        to: TypeId,
        declarator: String,
        indent: usize,
        depth: usize,
    ) -> Result<String> {
        if let Some(Kind::Ptr(_)) = self.behind_qualifiers(to) {
            let space = if declarator.is_empty() { "" } else { " " };
            return self.declare(to, format!(" {word}{space}{declarator}"), indent, depth + 1);
        }
        Ok(format!("{word} {}", self.declare(to, declarator, indent, depth + 1)?))
    }

    fn behind_qualifiers(&self, id: TypeId) -> Option<Kind> {
        self.btf.unqualified(id).ok().map(|(_, kind)| kind)
    }

    fn compound(&mut self, id: TypeId, indent: usize, depth: usize) -> Result<String> {
        if depth > MAX_DEPTH {
            return Err(CError::TooDeep(id));
        }
        let btf = self.btf;
        let Some(Kind::Compound { compound, bytes, members }) = btf.kind(id) else {
            return Err(CError::NoType(id));
        };
        let name = self.name(id);
        let space = if name.is_empty() { "" } else { " " };
        let mut text = format!("{}{space}{name} {{\n", keyword(compound));
        let align = btf.align_of(id).unwrap_or(1);
        let natural = btf.list(members).iter().filter_map(|m| btf.align_of(m.type_id).ok()).max();
        let is_packed = align < natural.unwrap_or(1);
        let mut end = 0u64;
        for m in btf.list(members) {
            let at = u64::from(m.bit_offset);
            let bits = match m.bitfield_bits {
                0 => btf.size_of(m.type_id).unwrap_or(0).saturating_mul(8),
                n => n.into(),
            };
            if compound == Compound::Struct {
                let unit = match m.bitfield_bits {
                    0 if !is_packed => u64::from(btf.align_of(m.type_id).unwrap_or(1)) * 8,
                    0 => 8,
                    _ => 1,
                };
                if end.next_multiple_of(unit.max(1)) < at {
                    self.padding(&mut text, end, at, indent + 1)?;
                }
                end = at.saturating_add(bits);
            }
            let member = self.declare(m.type_id, btf.str(m.name).into(), indent + 1, depth + 1)?;
            let width = match m.bitfield_bits {
                0 => String::new(),
                n => format!(": {n}"),
            };
            self.spend(indent + 8)?;
            let _ = writeln!(text, "{}{member}{width};", "\t".repeat(indent + 1));
        }
        let all = u64::from(bytes) * 8;
        let unit = if is_packed { 8 } else { u64::from(align) * 8 };
        if compound == Compound::Struct
            && !btf.list(members).is_empty()
            && end.next_multiple_of(unit) < all
        {
            self.padding(&mut text, end, all, indent + 1)?;
        }
        let _ = write!(text, "{}}}", "\t".repeat(indent));
        if is_packed {
            text.push_str(" __attribute__((packed))");
        }
        Ok(text)
    }

    /// Unnamed bit fields from bit `from` to bit `to`.
    fn padding(&mut self, text: &mut String, from: u64, to: u64, indent: usize) -> Result<()> {
        const UNITS: [(&str, u64); 4] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)];
        let mut at = from;
        while at < to {
            let whole = UNITS.iter().find(|(_, n)| at.is_multiple_of(*n) && to - at >= *n);
            let (name, bits) = whole.copied().unwrap_or(("char", (8 - at % 8).min(to - at)));
            self.spend(indent + 16)?;
            let _ = writeln!(text, "{}{name}: {bits};", "\t".repeat(indent));
            at += bits;
        }
        Ok(())
    }

    fn enumeration(
        &mut self,
        id: TypeId,
        is_64: bool,
        bytes: u32,
        signed: bool,
        values: Span<EnumValue>,
        indent: usize,
    ) -> String {
        let name = self.name(id);
        let space = if name.is_empty() { "" } else { " " };
        let mut text = format!("enum{space}{name} {{\n");
        for v in self.btf.list(values) {
            let (tabs, name) = ("\t".repeat(indent + 1), self.enumerator(self.btf.str(v.name)));
            let _ = match (is_64, signed) {
                (false, true) => writeln!(text, "{tabs}{name} = {},", v.value),
                (false, false) => writeln!(text, "{tabs}{name} = {},", v.value as u64),
                (true, true) => writeln!(text, "{tabs}{name} = {}LL,", v.value),
                (true, false) => writeln!(text, "{tabs}{name} = {}ULL,", v.value as u64),
            };
        }
        let _ = write!(text, "{}}}", "\t".repeat(indent));
        match bytes {
            1 => text.push_str(" __attribute__((mode(byte)))"),
            2 => text.push_str(" __attribute__((mode(word)))"),
            _ => {}
        }
        text
    }
}
