//! Why a function has no contract, in the kernel's words.

use ebpfvm_spec::btf::TypeId;

/// Why a function has no contract. Shown, it is the kernel's message; arguments count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// A static function whose types say too little, of which the kernel says nothing.
    #[error("")]
    Silent,
    /// The type is none of a function.
    #[error("BTF of type {func} doesn't point to KIND_FUNC")]
    NoFunction {
        /// The type.
        func: TypeId,
    },
    /// The function's type has no prototype.
    #[error("Invalid type of function {name}()")]
    NoPrototype {
        /// The function.
        name: String,
    },
    /// More parameters than registers.
    #[error("Global function {name}() with {args} > 5 args. Buggy compiler.")]
    TooManyArgs {
        /// The function.
        name: String,
        /// How many.
        args: usize,
    },
    /// It does not return a number.
    #[error("Global function {name}() doesn't return scalar. Only those are supported.")]
    NoScalar {
        /// The function.
        name: String,
    },
    /// A static function with a tagged parameter.
    #[error("arg#{arg} type tag is not supported in static functions")]
    StaticTag {
        /// The argument.
        arg: usize,
    },
    /// A tag that is not known.
    #[error("arg#{arg} has unsupported set of tags")]
    UnknownTag {
        /// The argument.
        arg: usize,
    },
    /// Tags that do not go together, or not with the type.
    #[error("arg#{arg} has invalid combination of tags")]
    Combination {
        /// The argument.
        arg: usize,
    },
    /// `untrusted` with another tag.
    #[error("arg#{arg} untrusted cannot be combined with any other tags")]
    UntrustedCombination {
        /// The argument.
        arg: usize,
    },
    /// `arena` with another tag.
    #[error("arg#{arg} arena cannot be combined with any other tags")]
    ArenaCombination {
        /// The argument.
        arg: usize,
    },
    /// A tag on a parameter that is no pointer.
    #[error("arg#{arg} has pointer tag, but is not a pointer type")]
    TagOfNoPointer {
        /// The argument.
        arg: usize,
    },
    /// A pointer to something without a size.
    #[error("arg#{arg} reference type('{kind} {name}') size cannot be determined: -22")]
    NoSize {
        /// The argument.
        arg: usize,
        /// What it points to.
        kind: &'static str,
        /// The name of that type.
        name: String,
    },
    /// A parameter that is neither number nor pointer.
    #[error("Arg#{arg} type {kind} in {name}() is not supported yet.")]
    Unsupported {
        /// The argument.
        arg: usize,
        /// What it is.
        kind: &'static str,
        /// The function.
        name: String,
    },
    /// A context by tag whose type has no name.
    #[error("arg#{arg} type doesn't have a name")]
    NoContextName {
        /// The argument.
        arg: usize,
    },
    /// A context by tag, in programs whose context has no type.
    #[error("arg#{arg} should be void pointer")]
    NotVoid {
        /// The argument.
        arg: usize,
    },
    /// A context by tag that points to another struct than the programs' context is.
    #[error("arg#{arg} should be `struct {name} *`")]
    OtherContext {
        /// The argument.
        arg: usize,
        /// What it should point to.
        name: String,
    },
}
