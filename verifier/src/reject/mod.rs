//! Why a program is rejected: reasons as data, in families.
//!
//! A reason carries the numbers of its message and nothing of how it is shown; `report`
//! renders it. Codes are stable, messages are Linux 6.18's.

mod access;
mod arithmetic;
mod call;
mod flow;
mod hint;
mod limit;
mod program;
mod structure;
mod table;

pub use access::{AccessReason, Area, Outside};
pub use arithmetic::ArithmeticReason;
pub use call::CallReason;
pub use flow::FlowReason;
pub use limit::LimitReason;
pub use program::ProgramReason;
pub use structure::StructureReason;

use crate::report::WayStep;
use ebpfvm_asm::Pc;
use ebpfvm_spec::errno::Errno;
use std::fmt;

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident($type:ident);)*) => {
        /// Why a program is rejected.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $variant($type),)*
            /// The program needs what this verifier does not judge yet. It is never accepted.
            Unsupported(Unsupported),
        }

        $(impl From<$type> for Reason {
            fn from(reason: $type) -> Reason {
                Reason::$variant(reason)
            }
        })*

        impl Reason {
            /// The codes of all reasons.
            pub fn codes() -> impl Iterator<Item = &'static str> {
                [$($type::CODES),*].concat().into_iter()
            }

            /// The stable code.
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Reason::$variant(reason) => reason.code(),)*
                    Reason::Unsupported(_) => "unsupported",
                }
            }

            /// The error number of `bpf()`.
            pub const fn errno(&self) -> Errno {
                match self {
                    $(Reason::$variant(reason) => reason.errno(),)*
                    Reason::Unsupported(_) => Errno::EOPNOTSUPP,
                }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Reason::$variant(reason) => reason.fmt(f),)*
                    Reason::Unsupported(what) => what.fmt(f),
                }
            }
        }
    };
}

families! {
    /// What a load asks for before any instruction is looked at.
    Program(ProgramReason);
    /// The shape of the code.
    Structure(StructureReason);
    /// Loads, stores and memory given to helpers.
    Access(AccessReason);
    /// Arithmetic, above all on pointers, and comparisons.
    Arithmetic(ArithmeticReason);
    /// Arguments and place of calls of helpers.
    Call(CallReason);
    /// Functions, callbacks, returns, references and locks.
    Flow(FlowReason);
    /// Limits of the verifier.
    Limit(LimitReason);
}

/// What a later release is to judge: kernel functions, pointers to kernel types and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What it is, in words: `kernel function 12 (bpf_iter_num_new)`.
    pub what: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not supported by this verifier: {}", self.what)
    }
}

impl Reason {
    /// A need that is not judged yet.
    pub fn unsupported(what: impl Into<String>) -> Reason {
        Reason::Unsupported(Unsupported { what: what.into() })
    }

    /// A state that should not be: the verifier rejects rather than goes on.
    pub fn internal(what: impl Into<String>) -> Reason {
        LimitReason::Internal { what: what.into() }.into()
    }
}

/// The verdict on a program that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// The instruction that was judged; none if the program was refused as a whole.
    pub pc: Option<Pc>,
    /// The registers and the stack before that instruction, as the log writes them; empty if the
    /// program was refused before it was followed.
    pub registers: String,
    /// The branches that were taken last on the way there, the oldest first.
    pub way: Vec<WayStep>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Rejection {
        Rejection { reason, pc: None, registers: String::new(), way: Vec::new() }
    }
}

impl Rejection {
    /// The last line of the message, which Linux's log ends with before its statistics.
    pub fn message(&self) -> String {
        self.reason.to_string().lines().last().unwrap_or_default().to_owned()
    }

    /// The stable code of the reason.
    pub const fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// What would make the program pass, if the reason is one of the frequent ones.
    pub fn hint(&self) -> Option<&'static str> {
        hint::help(self.code(), &self.message())
    }

    /// Whether the program needs what this verifier does not judge yet: no verdict of Linux's.
    pub const fn is_unsupported(&self) -> bool {
        matches!(self.reason, Reason::Unsupported(_))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pc {
            Some(pc) => write!(f, "{} (instruction {pc})", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique() {
        let mut seen = HashSet::new();
        for code in Reason::codes() {
            assert!(seen.insert(code), "{code} is the code of two reasons");
        }
    }
}
