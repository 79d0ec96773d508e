//! CO-RE: instructions whose numbers depend on the types of the kernel that the program runs on, such
//! as the offset of a struct's member. The compiler recorded the access in terms of the object's
//! types (`access`); here it is followed through the target's (`matching`), gives a number
//! (`value`), and the instruction takes it (`patch`). The rules are libbpf's (`relo_core.c`).

mod access;
mod matching;
mod patch;
mod value;

use crate::btf::ext::CoreRecord;
use access::Access;
use ebpfvm_asm::{ByteOrder, Slot};
use ebpfvm_spec::btf::{Btf, LayoutError, TypeId, essential_name};
use matching::Budget;
use std::fmt;
use value::Answer;

pub use patch::POISON;

/// How many comparisons of types the relocations of one program may take.
const MAX_STEPS: u64 = 50_000_000;

macro_rules! kinds {
    ($($variant:ident = $number:literal, $about:ident, $text:literal;)*) => {
        /// What a relocation asks about the target's types (`enum bpf_core_relo_kind`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CoreKind {
            $(
                #[doc = concat!("The ", $text, ".")]
                $variant,
            )*
        }

        impl CoreKind {
            /// The kind with this number.
            pub fn from_number(number: u32) -> Option<CoreKind> {
                match number {
                    $($number => Some(CoreKind::$variant),)*
                    _ => None,
                }
            }

            fn about(self) -> About {
                match self {
                    $(CoreKind::$variant => About::$about,)*
                }
            }
        }

        impl fmt::Display for CoreKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(CoreKind::$variant => $text,)*
                })
            }
        }
    };
}

/// What a relocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Field,
    Type,
    Enumerator,
}

kinds! {
    FieldByteOffset = 0, Field, "offset of a field";
    FieldByteSize = 1, Field, "size of a field";
    FieldExists = 2, Field, "existence of a field";
    FieldSigned = 3, Field, "signedness of a field";
    FieldLshift = 4, Field, "left shift of a bit field";
    FieldRshift = 5, Field, "right shift of a bit field";
    TypeIdLocal = 6, Type, "id of a type of the object";
    TypeIdTarget = 7, Type, "id of a type of the target";
    TypeExists = 8, Type, "existence of a type";
    TypeSize = 9, Type, "size of a type";
    EnumeratorExists = 10, Enumerator, "existence of an enumerator";
    EnumeratorValue = 11, Enumerator, "value of an enumerator";
    TypeMatches = 12, Type, "match of a type";
}

/// What became of a relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreOutcome {
    /// The section of the instruction.
    pub section: String,
    /// Its offset in the section in bytes.
    pub offset: u32,
    /// What is asked.
    pub kind: CoreKind,
    /// About what, as C: `struct task_struct.in[2].b`.
    pub access: String,
    /// The number that the compiler put there, from the object's own types.
    pub before: u64,
    /// The number for the target; none if the target has no such thing: the instruction is then
    /// replaced by a call that no verifier accepts, because it must not be reached.
    pub after: Option<u64>,
}

/// Why a relocation cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreProblem {
    /// It needs types of a target.
    #[error("needs the types of a target kernel, and none are given")]
    NoTarget,
    /// The number of the kind is not known.
    #[error("kind {0} is not known, expected 0 to 12")]
    Kind(u32),
    /// The record does not describe an access to the object's own types.
    #[error("access string '{text}' does not fit type {id}")]
    Access {
        /// The access string.
        text: String,
        /// The type it starts from.
        id: TypeId,
    },
    /// A type without a name cannot be looked for.
    #[error("the type has no name, so it cannot be found in the target")]
    Anonymous,
    /// A type without a size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Several types of the target fit and give different answers.
    #[error("ambiguous: types {first} and {second} of the target fit and give different answers")]
    Ambiguous {
        /// One type.
        first: TypeId,
        /// Another one.
        second: TypeId,
    },
    /// A bit field that no load covers.
    #[error("the bit field cannot be read with one load of up to 8 bytes")]
    BitField,
    /// What is asked makes no sense for an element of an array.
    #[error("cannot be asked about an element of an array")]
    ArrayElement,
    /// The instruction does not hold the number that the object's own types give.
    #[error("the instruction holds {found}, but the object's types give {expected}")]
    Unexpected {
        /// What it holds.
        found: i64,
        /// What it should hold.
        expected: u64,
    },
    /// The instruction is none that takes a number.
    #[error("opcode {0:#04x} takes no such number")]
    Insn(u8),
    /// The offset does not fit the instruction.
    #[error("offset {0} does not fit the 15 bits of an instruction")]
    Offset(u64),
    /// The size of the access cannot follow the field's.
    #[error("a load or store of {found} bytes cannot become one of {wanted}")]
    AccessSize {
        /// Size of the access in bytes.
        found: u32,
        /// Size of the field in the target in bytes.
        wanted: u32,
    },
    /// The types take too long to compare.
    #[error("comparing the types takes too many steps")]
    TooComplex,
}

type Result<T> = std::result::Result<T, CoreProblem>;

/// Whether a type of the object is compatible with one of the target. Types that take too long to
/// compare are not.
pub(crate) fn compatible(local: (&Btf, TypeId), target: (&Btf, TypeId)) -> bool {
    let pair = matching::Pair { local: local.0, target: target.0 };
    pair.compatible((local.1, target.1), &mut Budget(MAX_STEPS)).unwrap_or(false)
}

/// Answers the relocations of one program.
pub(crate) struct Relocator<'a> {
    local: &'a Btf,
    target: Option<&'a Btf>,
    order: ByteOrder,
    budget: Budget,
}

impl<'a> Relocator<'a> {
    pub(crate) fn new(local: &'a Btf, target: Option<&'a Btf>, order: ByteOrder) -> Relocator<'a> {
        Relocator { local, target, order, budget: Budget(MAX_STEPS) }
    }

    /// What a record is about, for messages.
    pub(crate) fn describe(&self, record: &CoreRecord) -> String {
        match CoreKind::from_number(record.kind) {
            Some(kind) => match Access::parse(self.local, record, kind.about()) {
                Ok(access) => access.describe(self.local),
                Err(_) => access::type_text(self.local, record.type_id),
            },
            None => access::type_text(self.local, record.type_id),
        }
    }

    /// Answers one relocation and changes the instruction at the start of `slots`.
    pub(crate) fn relocate(
        &mut self,
        record: &CoreRecord,
        slots: &mut [Slot],
    ) -> Result<(CoreKind, u64, Option<u64>)> {
        let kind = CoreKind::from_number(record.kind).ok_or(CoreProblem::Kind(record.kind))?;
        let answer = self.answer(record, kind)?;
        let patched = patch::patch(slots, &answer)?;
        Ok((kind, answer.before, if patched { answer.after } else { None }))
    }

    fn answer(&mut self, record: &CoreRecord, kind: CoreKind) -> Result<Answer> {
        let local = Access::parse(self.local, record, kind.about())?;
        if kind == CoreKind::TypeIdLocal {
            return Ok(Answer::number(record.type_id.0.into()));
        }
        let name = self.local.name(record.type_id);
        if name.is_empty() {
            return Err(CoreProblem::Anonymous);
        }
        let target = self.target.ok_or(CoreProblem::NoTarget)?;
        let local_kind = self.local.kind(record.type_id);
        let mut found: Option<(Access<'_>, Answer)> = None;
        for id in target.flavours(essential_name(name)) {
            let same_kind = local_kind.zip(target.kind(id));
            if !same_kind.is_some_and(|(a, b)| matching::kinds_agree(&a, &b)) {
                continue;
            }
            let pair = matching::Pair { local: self.local, target };
            let Some(access) = pair.follow(&local, id, kind, &mut self.budget)? else { continue };
            let answer =
                value::answer(kind, (self.local, &local), Some((target, &access)), self.order)?;
            match &found {
                None => found = Some((access, answer)),
                Some((first, other)) => {
                    if access.bit_offset != first.bit_offset || answer.after != other.after {
                        let (first, second) = (first.root, access.root);
                        return Err(CoreProblem::Ambiguous { first, second });
                    }
                }
            }
        }
        match found {
            // libbpf keeps the first one's answer.
            Some((_, answer)) => Ok(answer),
            None => value::answer(kind, (self.local, &local), None, self.order),
        }
    }
}
