//! The nouns that loader, verifier and machine share: program, map, helper, context, types.
//!
//! This crate parses no bytes and runs nothing. A type is here only because two crates that do
//! not depend on each other need it. What Linux defines (numbers, names, context layouts, helper
//! prototypes) stands in tables under [`linux`]; a [`Platform`] is a value made of such tables, and
//! an embedder makes its own.
#![forbid(unsafe_code)]

pub mod attach;
pub mod btf;
pub mod context;
pub mod errno;
pub mod helper;
pub mod linux;
pub mod map;
pub mod platform;
pub mod program;

pub use attach::{AttachType, AttachTypeSet};
pub use context::{Access, ContextAccess, ContextDef, Direction, Field, FieldKind, Pointee, Sizes};
pub use errno::Errno;
pub use helper::{
    Arg, AttachRule, Callback, DynptrUse, Effect, HelperProto, MapRefusal, MapRule, MapUse,
    MemAccess, MemSize, Ret,
};
pub use map::{LookupGives, MapDef, MapFlags, MapType, MapTypeSet};
pub use platform::{
    ContextTypes, ObjectAccess, ObjectDef, PacketAccess, Platform, ProgTypeDef, ReturnRange,
    TaggedContext, TaggedRule,
};
pub use program::{FuncInfo, LineInfo, ProgType, ProgTypeSet, Program, load_flags};
