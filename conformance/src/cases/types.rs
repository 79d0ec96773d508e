//! Types of a case: prototypes of its functions, and values that hold what the kernel looks after.
//!
//! A type in a `func` line is one of
//!
//! ```text
//! void  int  u32  u64          numbers
//! int*                         a pointer to a number
//! mem:N                        a pointer to a struct of N bytes
//! ctx                          a pointer to the context of the program type
//! dynptr                       a pointer to a dynptr
//! ```
//!
//! and `nonnull:` before it tags a parameter.

use ebpfvm_spec::btf::{
    Btf, BtfBuilder, Compound, IntEncoding, Kind, Linkage, Member, Name, Param, TypeId,
};
use ebpfvm_spec::{Platform, ProgType};
use std::collections::HashMap;

/// Collects types by the words that name them.
#[derive(Debug)]
pub(super) struct Types {
    builder: BtfBuilder,
    known: HashMap<String, TypeId>,
    prog_type: ProgType,
}

/// Structs that the kernel looks after in map values: name and size in bytes.
const SPECIAL: [(&str, u32); 3] = [("bpf_spin_lock", 4), ("bpf_timer", 16), ("bpf_wq", 16)];

impl Types {
    pub(super) fn new(prog_type: ProgType) -> Types {
        Types { builder: BtfBuilder::new(), known: HashMap::new(), prog_type }
    }

    fn once(
        &mut self,
        key: &str,
        make: impl FnOnce(&mut Types) -> Result<TypeId, String>,
    ) -> Result<TypeId, String> {
        if let Some(id) = self.known.get(key) {
            return Ok(*id);
        }
        let id = make(self)?;
        self.known.insert(key.into(), id);
        Ok(id)
    }

    fn int(&mut self, name: &str, bytes: u32, signed: bool) -> TypeId {
        let encoding = IntEncoding { signed, ..IntEncoding::default() };
        let kind = Kind::Int { bytes, encoding, bit_offset: 0, bits: 8 * bytes as u8 };
        let name = self.builder.intern(name);
        self.builder.push(name, kind)
    }

    fn compound(&mut self, name: &str, bytes: u32, members: Vec<Member>) -> TypeId {
        let members = self.builder.span(members);
        let name = self.builder.intern(name);
        self.builder.push(name, Kind::Compound { compound: Compound::Struct, bytes, members })
    }

    fn pointer(&mut self, to: TypeId) -> TypeId {
        self.builder.push(Name::EMPTY, Kind::Ptr(to))
    }

    fn array(&mut self, count: u32) -> Result<TypeId, String> {
        self.once(&format!("array {count}"), |types| {
            let element = types.once("char", |types| Ok(types.int("char", 1, true)))?;
            let index = types.named("u32")?;
            Ok(types.builder.push(Name::EMPTY, Kind::Array { element, index, count }))
        })
    }

    /// A struct of so many bytes of no meaning.
    fn bytes(&mut self, name: &str, count: u32) -> Result<TypeId, String> {
        let type_id = self.array(count)?;
        let member = self.builder.intern("bytes");
        let members = vec![Member { name: member, type_id, bit_offset: 0, bitfield_bits: 0 }];
        Ok(self.compound(name, count, members))
    }

    /// The type that a word names.
    pub(super) fn named(&mut self, word: &str) -> Result<TypeId, String> {
        self.once(word, |types| match word {
            "void" => Ok(TypeId::VOID),
            "int" => Ok(types.int("int", 4, true)),
            "u32" => Ok(types.int("unsigned int", 4, false)),
            "u64" => Ok(types.int("unsigned long long", 8, false)),
            "int*" => {
                let int = types.named("int")?;
                Ok(types.pointer(int))
            }
            "ctx" => {
                let platform = Platform::linux();
                let def = platform.prog_type(types.prog_type);
                let context = def.and_then(|def| def.context.as_ref());
                // Some names are none of C's.
                let name = context.map(|context| context.name.replace(' ', "_"));
                let context = types.bytes(&name.ok_or("the program type has no context")?, 4)?;
                Ok(types.pointer(context))
            }
            "dynptr" => {
                let dynptr = types.bytes("bpf_dynptr", 16)?;
                Ok(types.pointer(dynptr))
            }
            _ => {
                let bytes = word.strip_prefix("mem:").and_then(|count| count.parse().ok());
                let bytes = bytes.ok_or_else(|| format!("there is no type {word}"))?;
                let memory = types.bytes(&format!("memory_{bytes}"), bytes)?;
                Ok(types.pointer(memory))
            }
        })
    }

    /// A function with its tags.
    pub(super) fn function(
        &mut self,
        name: &str,
        linkage: Linkage,
        ret: &str,
        params: &[&str],
    ) -> Result<TypeId, String> {
        const NONNULL: &str = "nonnull:";
        let ret = self.named(ret)?;
        let mut typed = Vec::new();
        for (index, param) in params.iter().enumerate() {
            let type_id = self.named(param.strip_prefix(NONNULL).unwrap_or(param))?;
            let name = self.builder.intern(&format!("arg{}", index + 1));
            typed.push(Param { name, type_id });
        }
        let params_span = self.builder.span(typed);
        let proto = Kind::FuncProto { ret, params: params_span };
        let proto = self.builder.push(Name::EMPTY, proto);
        let name = self.builder.intern(name);
        let function = self.builder.push(name, Kind::Func { proto, linkage });
        for (index, _) in params.iter().enumerate().filter(|(_, p)| p.starts_with(NONNULL)) {
            let name = self.builder.intern("arg:nonnull");
            let component = Some(index as u32);
            let tag = Kind::DeclTag { type_id: function, component, attribute: false };
            self.builder.push(name, tag);
        }
        Ok(function)
    }

    /// The types of keys and values of a map whose values have these fields, by name and offset.
    pub(super) fn map(
        &mut self,
        name: &str,
        key_bytes: u32,
        value_bytes: u32,
        fields: &[(&str, u32)],
    ) -> Result<(TypeId, TypeId), String> {
        let key = match key_bytes {
            4 => self.named("int")?,
            bytes => self.array(bytes)?,
        };
        let mut members = Vec::new();
        for (field, offset) in fields {
            let special = SPECIAL.iter().find(|(name, _)| name == field);
            let (_, bytes) = special.ok_or_else(|| format!("there is no field {field}"))?;
            let type_id = self.once(field, |types| types.bytes(field, *bytes))?;
            let name = self.builder.intern(&format!("at_{offset}"));
            members.push(Member { name, type_id, bit_offset: 8 * offset, bitfield_bits: 0 });
        }
        Ok((key, self.compound(&format!("{name}_value"), value_bytes, members)))
    }

    /// The types there are so far.
    pub(super) fn so_far(&self) -> &Btf {
        self.builder.so_far()
    }

    /// The types, if there are any.
    pub(super) fn finish(self) -> Result<Option<Btf>, String> {
        match self.builder.so_far().len() {
            0 | 1 => Ok(None),
            _ => self.builder.finish().map(Some).map_err(|e| e.to_string()),
        }
    }
}
