//! Contracts: what a function takes and gives, as its types say (`btf_prepare_func_args` of
//! `kernel/bpf/btf.c`, Linux 6.18).
//!
//! A global function is verified apart from its callers against its contract, and its callers
//! against the same; one without a contract rejects the program. A static function is followed from
//! each caller with what the caller gives; its contract, if it has one, is compared all the same and
//! decides nothing, but what the comparison says is in the log. After the first difference the
//! kernel compares that function no more (`func_info_aux.unreliable`).
//!
//! Pure: nothing here knows a register or a state.

mod context;
mod error;
mod info;
#[cfg(test)]
mod tests;

pub use error::ContractError;
pub use info::{FuncInfoError, FuncRecord, LineInfoError, LineRecord, SubprogFacts};
pub use info::{check_func_info, check_func_layout, check_line_info};

use ebpfvm_spec::btf::{Btf, Kind, KindTag, Param, TypeId, essential_name};
use ebpfvm_spec::{AttachType, ContextTypes};

/// Parameters that fit in registers (`MAX_BPF_FUNC_REG_ARGS`).
const MAX_ARGS: usize = 5;

/// Whether a function is verified apart from its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It is.
    Global,
    /// It is followed from each of them.
    Static,
}

/// The programs that the function is for.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Types that stand for their context; of an `ext` program those of its target.
    pub context: &'a ContextTypes,
    /// Their expected attach type.
    pub attach_type: AttachType,
}

/// What the kernel promises about an object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is valid (`arg:trusted`).
    Trusted,
    /// Nothing: reads give 0 where there is no memory (`arg:untrusted`).
    Untrusted,
}

/// What an argument must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgContract {
    /// A number (`ARG_ANYTHING`).
    Scalar,
    /// The context (`ARG_PTR_TO_CTX`).
    Ctx,
    /// Memory that is read and written (`ARG_PTR_TO_MEM`).
    Mem {
        /// Its size in bytes.
        bytes: u32,
        /// Whether it may be null.
        nullable: bool,
    },
    /// Memory of any kind that is only read, without promise (`ARG_PTR_TO_MEM | MEM_RDONLY |
    /// PTR_UNTRUSTED`): reads give 0 where there is none.
    UntrustedMem,
    /// A dynptr that is only read (`ARG_PTR_TO_DYNPTR | MEM_RDONLY`).
    Dynptr,
    /// An address in the arena, or a number (`ARG_PTR_TO_ARENA`).
    Arena,
    /// An object of the kernel (`ARG_PTR_TO_BTF_ID`). Whether the kernel has a type of this name,
    /// and one only, is for those to say who know its types.
    Kernel {
        /// Name of the type without its flavour.
        name: String,
        /// Its kind, as the messages about it have it.
        kind: &'static str,
        /// Its name as the program spells it.
        spelled: String,
        /// What is promised.
        trust: Trust,
        /// Whether it may be null.
        nullable: bool,
    },
}

impl ArgContract {
    /// Whether it takes knowledge of the kernel's types to judge the argument.
    pub const fn needs_kernel_types(&self) -> bool {
        matches!(self, ArgContract::Kernel { .. })
    }
}

/// What a function takes. It gives a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<ArgContract>,
}

/// Tags of a parameter (`enum btf_arg_tag`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Tags(u8);

impl Tags {
    const NONE: Tags = Tags(0);
    const CTX: Tags = Tags(1 << 0);
    const NONNULL: Tags = Tags(1 << 1);
    const TRUSTED: Tags = Tags(1 << 2);
    const UNTRUSTED: Tags = Tags(1 << 3);
    const NULLABLE: Tags = Tags(1 << 4);
    const ARENA: Tags = Tags(1 << 5);

    fn named(tag: &str) -> Option<Tags> {
        Some(match tag {
            "ctx" => Tags::CTX,
            "nonnull" => Tags::NONNULL,
            "trusted" => Tags::TRUSTED,
            "untrusted" => Tags::UNTRUSTED,
            "nullable" => Tags::NULLABLE,
            "arena" => Tags::ARENA,
            _ => return None,
        })
    }

    const fn has(self, tag: Tags) -> bool {
        self.0 & tag.0 != 0
    }

    /// Whether there are others than this one.
    const fn beyond(self, tag: Tags) -> bool {
        self.0 & !tag.0 != 0
    }
}

/// The contract of a function.
///
/// # Errors
/// [`ContractError`]. It rejects the program when the function is global, and says nothing about a
/// static one but that it has no contract; its message is in the log in both cases.
pub fn contract(
    btf: &Btf,
    func: TypeId,
    host: Host<'_>,
    scope: Scope,
) -> Result<Contract, ContractError> {
    let name = btf.name(func);
    let Some(Kind::Func { proto, .. }) = btf.kind(func) else {
        return Err(ContractError::NoFunction { func });
    };
    let Some(Kind::FuncProto { ret, params }) = btf.kind(proto) else {
        return Err(ContractError::NoPrototype { name: name.into() });
    };
    let params: &[Param] = btf.list(params);
    // Of a static function the kernel says nothing here.
    let only_global = |error: ContractError| match scope {
        Scope::Global => error,
        Scope::Static => ContractError::Silent,
    };
    if params.len() > MAX_ARGS {
        let error = ContractError::TooManyArgs { name: name.into(), args: params.len() };
        return Err(only_global(error));
    }
    if !is_scalar(btf, ret) {
        return Err(only_global(ContractError::NoScalar { name: name.into() }));
    }
    let tags = Tagged::of(btf, func);
    let mut args = Vec::with_capacity(params.len());
    for (arg, param) in params.iter().enumerate() {
        let tags = tags.of_param(arg, scope)?;
        args.push(one(btf, param.type_id, arg, tags, host, scope, name)?);
    }
    Ok(Contract { name: name.into(), args })
}

/// Whether values of the type are numbers.
fn is_scalar(btf: &Btf, id: TypeId) -> bool {
    let kind = btf.resolve(id).map(|(_, kind)| kind.tag());
    matches!(kind, Ok(KindTag::Int | KindTag::Enum | KindTag::Enum64))
}

/// The name of a kind in the kernel's messages (`btf_type_str`).
const fn kind_name(tag: KindTag) -> &'static str {
    match tag {
        KindTag::Void => "UNKNOWN",
        _ => tag.name(),
    }
}

/// The tags of a function's parameters, in the order of their types.
struct Tagged<'a>(Vec<(usize, &'a str)>);

impl<'a> Tagged<'a> {
    fn of(btf: &'a Btf, func: TypeId) -> Tagged<'a> {
        let tag = |t: ebpfvm_spec::btf::Type| match t.kind {
            Kind::DeclTag { type_id, component: Some(component), .. } if type_id == func => {
                Some((component as usize, btf.str(t.name).strip_prefix("arg:")?))
            }
            _ => None,
        };
        Tagged(btf.iter().filter_map(|(_, t)| tag(t)).collect())
    }

    fn of_param(&self, arg: usize, scope: Scope) -> Result<Tags, ContractError> {
        let mut tags = Tags::NONE;
        for (_, tag) in self.0.iter().filter(|(component, _)| *component == arg) {
            if scope == Scope::Static {
                return Err(ContractError::StaticTag { arg });
            }
            tags.0 |= Tags::named(tag).ok_or(ContractError::UnknownTag { arg })?.0;
        }
        Ok(tags)
    }
}

fn one(
    btf: &Btf,
    id: TypeId,
    arg: usize,
    tags: Tags,
    host: Host<'_>,
    scope: Scope,
    function: &str,
) -> Result<ArgContract, ContractError> {
    let unknown = |tag: KindTag| match scope {
        Scope::Global => {
            ContractError::Unsupported { arg, kind: kind_name(tag), name: function.into() }
        }
        Scope::Static => ContractError::Silent,
    };
    let Ok((_, kind)) = btf.resolve(id) else { return Err(unknown(KindTag::Void)) };
    let Kind::Ptr(to) = kind else {
        if tags != Tags::NONE {
            return Err(ContractError::TagOfNoPointer { arg });
        }
        return match kind.tag() {
            KindTag::Int | KindTag::Enum | KindTag::Enum64 => Ok(ArgContract::Scalar),
            tag => Err(unknown(tag)),
        };
    };
    let combined = || ContractError::Combination { arg };
    if tags.has(Tags::CTX) || context::is_named(btf, to, host.context) {
        if tags.beyond(Tags::CTX) {
            return Err(combined());
        }
        if tags.has(Tags::CTX) {
            context::check_tagged(btf, to, arg, host)?;
        }
        return Ok(ArgContract::Ctx);
    }
    if is_dynptr(btf, to) {
        return if tags == Tags::NONE { Ok(ArgContract::Dynptr) } else { Err(combined()) };
    }
    if tags.has(Tags::TRUSTED) {
        if tags.has(Tags::NONNULL) {
            return Err(combined());
        }
        return Ok(kernel(btf, to, Trust::Trusted, tags.has(Tags::NULLABLE)));
    }
    if tags.has(Tags::UNTRUSTED) {
        if tags.beyond(Tags::UNTRUSTED) {
            return Err(ContractError::UntrustedCombination { arg });
        }
        let is_plain = is_scalar(btf, to) || matches!(btf.resolve(to), Ok((_, Kind::Void)));
        return Ok(match is_plain {
            true => ArgContract::UntrustedMem,
            false => kernel(btf, to, Trust::Untrusted, false),
        });
    }
    if tags.has(Tags::ARENA) {
        if tags.beyond(Tags::ARENA) {
            return Err(ContractError::ArenaCombination { arg });
        }
        return Ok(ArgContract::Arena);
    }
    if scope == Scope::Static {
        return Err(ContractError::Silent);
    }
    if tags.has(Tags::NULLABLE) {
        return Err(combined());
    }
    let bytes = btf.size_of(to).ok().and_then(|bytes| u32::try_from(bytes).ok());
    let Some(bytes) = bytes else {
        let (id, kind) = btf.resolve(to).unwrap_or((to, Kind::Void));
        let (kind, name) = (kind_name(kind.tag()), btf.name(id).into());
        return Err(ContractError::NoSize { arg, kind, name });
    };
    Ok(ArgContract::Mem { bytes, nullable: !tags.has(Tags::NONNULL) })
}

fn kernel(btf: &Btf, to: TypeId, trust: Trust, nullable: bool) -> ArgContract {
    let (id, kind) = btf.resolve(to).unwrap_or((to, Kind::Void));
    let spelled = btf.name(id).to_string();
    let name = essential_name(&spelled).to_string();
    ArgContract::Kernel { name, kind: kind_name(kind.tag()), spelled, trust, nullable }
}

/// Whether it is `struct bpf_dynptr`, defined or only declared (`btf_is_dynptr_ptr`).
fn is_dynptr(btf: &Btf, to: TypeId) -> bool {
    let Ok((id, kind)) = btf.resolve(to) else { return false };
    let is_struct = match kind {
        Kind::Compound { .. } => true,
        Kind::Fwd(compound) => compound == ebpfvm_spec::btf::Compound::Struct,
        _ => false,
    };
    is_struct && btf.name(id) == "bpf_dynptr"
}
