//! BTF: the types of a program or of the kernel (`Documentation/bpf/btf.rst`).
//!
//! Only the model stands here; reading it from bytes is the loader's work.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name; empty for an anonymous member.
    pub name: String,
    /// Type.
    pub type_id: TypeId,
    /// Offset from the start of the compound in bits.
    pub bit_offset: u32,
    /// Width of a bit field in bits; 0 if it is none.
    pub bitfield_bits: u32,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name; empty if the source gives none.
    pub name: String,
    /// Type; `void` in the last place marks a variable argument list.
    pub type_id: TypeId,
}

/// An enumerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// Name.
    pub name: String,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
        bit_offset: u32,
        /// Size of the value in bits.
        bits: u32,
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
        members: Vec<Member>,
    },
    /// An enum of 32 or 64 bits (`Enum`, `Enum64`).
    Enum {
        /// Size in bytes.
        bytes: u32,
        /// Whether values are signed.
        signed: bool,
        /// Enumerators in order of declaration.
        values: Vec<EnumValue>,
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
        params: Vec<Param>,
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
        vars: Vec<SectionVar>,
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
    },
    /// `btf_type_tag`
    TypeTag(TypeId),
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Name; empty for an anonymous type.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// A set of types that refer to each other by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Btf {
    types: Vec<Type>,
}

impl Btf {
    /// Makes the set of `types`, which get the ids 1, 2, ...
    pub fn new(types: Vec<Type>) -> Btf {
        let void = Type { name: "void".into(), kind: Kind::Void };
        Btf { types: std::iter::once(void).chain(types).collect() }
    }

    /// The type with this id.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(id.0 as usize)
    }

    /// All types with their ids, `void` first.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(i, t)| (TypeId(i as u32), t))
    }
}
