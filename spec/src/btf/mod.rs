//! BTF: the types of a program or of the kernel (`Documentation/bpf/btf.rst`).
//!
//! Only the model stands here; reading it from bytes is the loader's work. The model is made for
//! the kernel's types, some 150,000: a [`Type`] is a small `Copy` value, its name and lists lie in
//! pools of the [`Btf`] that owns it and are read through [`Btf::str`] and [`Btf::list`].

mod layout;
mod references;
mod set;
mod special;

pub use layout::{LayoutError, MAX_RESOLVE_STEPS, POINTER_BYTES};
pub use set::{Btf, BtfBuilder, BtfError, Listed, MAX_TEXT_BYTES, essential_name};
pub use special::{
    Holder, MAX_SPECIAL_FIELDS, SpecialError, SpecialField, SpecialKind, SpecialSet, special_fields,
};

use std::fmt;
use std::marker::PhantomData;

/// The id of a type; 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`
    pub const VOID: TypeId = TypeId(0);
}

impl fmt::Debug for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

/// A name: a place in the string table of a [`Btf`]. The default is the empty name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Name(pub u32);

impl Name {
    /// The empty name of anonymous types and members.
    pub const EMPTY: Name = Name(0);

    /// Whether the thing is anonymous.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A list in a pool of a [`Btf`], read by [`Btf::list`].
pub struct Span<T> {
    start: u32,
    len: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Span<T> {
    /// The number of elements.
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there is no element.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T> Default for Span<T> {
    fn default() -> Self {
        Span { start: 0, len: 0, of: PhantomData }
    }
}

impl<T> PartialEq for Span<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.start, self.len) == (other.start, other.len)
    }
}

impl<T> Eq for Span<T> {}

impl<T> fmt::Debug for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..+{}", self.start, self.len)
    }
}

/// How an integer is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IntEncoding {
    /// Signed.
    pub signed: bool,
    /// A character.
    pub char: bool,
    /// A truth value.
    pub bool: bool,
}

/// Whether a compound type is a struct or a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compound {
    /// Members follow one another.
    Struct,
    /// Members share their place.
    Union,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name; empty for an anonymous member.
    pub name: Name,
    /// Type.
    pub type_id: TypeId,
    /// Offset from the start of the compound in bits.
    pub bit_offset: u32,
    /// Width of a bit field in bits; 0 if it is none.
    pub bitfield_bits: u32,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name; empty if the source gives none.
    pub name: Name,
    /// Type; `void` in the last place marks a variable argument list.
    pub type_id: TypeId,
}

/// An enumerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// Name.
    pub name: Name,
    /// Value; sign-extended if the enum is signed.
    pub value: i64,
}

/// Linkage of a function or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// Local to its file.
    Static,
    /// Defined and visible elsewhere.
    Global,
    /// Declared here, defined elsewhere.
    Extern,
}

/// A variable in a data section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVar {
    /// The variable (kind `Var`).
    pub type_id: TypeId,
    /// Offset in the section in bytes.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
}

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value.
    Void,
    /// An integer.
    Int {
        /// Size in bytes.
        bytes: u32,
        /// How it is shown.
        encoding: IntEncoding,
        /// Offset of the value within the bytes, in bits.
        bit_offset: u8,
        /// Size of the value in bits.
        bits: u8,
    },
    /// A pointer.
    Ptr(TypeId),
    /// An array.
    Array {
        /// Type of an element.
        element: TypeId,
        /// Type of the index.
        index: TypeId,
        /// Number of elements.
        count: u32,
    },
    /// A struct or union.
    Compound {
        /// Which of the two.
        compound: Compound,
        /// Size in bytes.
        bytes: u32,
        /// Members in order of declaration.
        members: Span<Member>,
    },
    /// An enum (`Enum`, `Enum64`).
    Enum {
        /// Whether the wire form holds values of 64 bits (`Enum64`).
        is_64: bool,
        /// Size in bytes.
        bytes: u32,
        /// Whether values are signed.
        signed: bool,
        /// Enumerators in order of declaration.
        values: Span<EnumValue>,
    },
    /// A declared struct or union without its definition.
    Fwd(Compound),
    /// Another name for a type.
    Typedef(TypeId),
    /// `volatile`
    Volatile(TypeId),
    /// `const`
    Const(TypeId),
    /// `restrict`
    Restrict(TypeId),
    /// A function.
    Func {
        /// Its prototype.
        proto: TypeId,
        /// Its linkage.
        linkage: Linkage,
    },
    /// The type of a function.
    FuncProto {
        /// Return type.
        ret: TypeId,
        /// Parameters.
        params: Span<Param>,
    },
    /// A variable.
    Var {
        /// Its type.
        type_id: TypeId,
        /// Its linkage.
        linkage: Linkage,
    },
    /// A data section.
    Datasec {
        /// Size in bytes; 0 until the object is linked.
        bytes: u32,
        /// Variables in order of their offsets.
        vars: Span<SectionVar>,
    },
    /// A floating-point number.
    Float {
        /// Size in bytes.
        bytes: u32,
    },
    /// `btf_decl_tag` on a type, or on its component (member or parameter).
    DeclTag {
        /// What is tagged.
        type_id: TypeId,
        /// Index of the member or parameter; none for the whole.
        component: Option<u32>,
        /// Whether the name is a whole `__attribute__` rather than a `btf_decl_tag`.
        attribute: bool,
    },
    /// `btf_type_tag`
    TypeTag {
        /// What is tagged.
        type_id: TypeId,
        /// Whether the name is a whole `__attribute__` rather than a `btf_type_tag`.
        attribute: bool,
    },
}

macro_rules! kind_tags {
    ($($variant:ident = $number:literal, $name:literal;)*) => {
        /// The kind of a type without its content (`BTF_KIND_*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum KindTag {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant = $number,
            )*
        }

        impl KindTag {
            /// The kind with this number in the wire form.
            pub const fn from_number(number: u32) -> Option<KindTag> {
                match number {
                    $($number => Some(KindTag::$variant),)*
                    _ => None,
                }
            }

            /// The name, as bpftool prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(KindTag::$variant => $name,)*
                }
            }
        }
    };
}

kind_tags! {
    Void = 0, "UNKN";
    Int = 1, "INT";
    Ptr = 2, "PTR";
    Array = 3, "ARRAY";
    Struct = 4, "STRUCT";
    Union = 5, "UNION";
    Enum = 6, "ENUM";
    Fwd = 7, "FWD";
    Typedef = 8, "TYPEDEF";
    Volatile = 9, "VOLATILE";
    Const = 10, "CONST";
    Restrict = 11, "RESTRICT";
    Func = 12, "FUNC";
    FuncProto = 13, "FUNC_PROTO";
    Var = 14, "VAR";
    Datasec = 15, "DATASEC";
    Float = 16, "FLOAT";
    DeclTag = 17, "DECL_TAG";
    TypeTag = 18, "TYPE_TAG";
    Enum64 = 19, "ENUM64";
}

impl Kind {
    /// The kind without its content. An enum of 8 bytes is an [`KindTag::Enum64`].
    pub const fn tag(&self) -> KindTag {
        match self {
            Kind::Void => KindTag::Void,
            Kind::Int { .. } => KindTag::Int,
            Kind::Ptr(_) => KindTag::Ptr,
            Kind::Array { .. } => KindTag::Array,
            Kind::Compound { compound: Compound::Struct, .. } => KindTag::Struct,
            Kind::Compound { compound: Compound::Union, .. } => KindTag::Union,
            Kind::Enum { is_64: false, .. } => KindTag::Enum,
            Kind::Enum { is_64: true, .. } => KindTag::Enum64,
            Kind::Fwd(_) => KindTag::Fwd,
            Kind::Typedef(_) => KindTag::Typedef,
            Kind::Volatile(_) => KindTag::Volatile,
            Kind::Const(_) => KindTag::Const,
            Kind::Restrict(_) => KindTag::Restrict,
            Kind::Func { .. } => KindTag::Func,
            Kind::FuncProto { .. } => KindTag::FuncProto,
            Kind::Var { .. } => KindTag::Var,
            Kind::Datasec { .. } => KindTag::Datasec,
            Kind::Float { .. } => KindTag::Float,
            Kind::DeclTag { .. } => KindTag::DeclTag,
            Kind::TypeTag { .. } => KindTag::TypeTag,
        }
    }

    /// The type behind a qualifier (`const`, `volatile`, `restrict`, `btf_type_tag`).
    pub const fn qualified(&self) -> Option<TypeId> {
        match *self {
            Kind::Volatile(id) | Kind::Const(id) | Kind::Restrict(id) => Some(id),
            Kind::TypeTag { type_id, .. } => Some(type_id),
            _ => None,
        }
    }

    /// The type behind a qualifier or typedef: another spelling of the same values.
    pub const fn same_values(&self) -> Option<TypeId> {
        match *self {
            Kind::Typedef(id) => Some(id),
            _ => self.qualified(),
        }
    }
}

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// Name; empty for an anonymous type.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
}
