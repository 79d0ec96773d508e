//! The form in which reasons are written: one row a reason.

/// Declares one family of reasons as an enum: variant, fields, code, error number, message.
///
/// The code is stable and unique; its first part is the family. The error number is what `bpf()`
/// returns. The message is what Linux 6.18 writes into its log, to the letter; of several lines
/// the last is what people search for.
macro_rules! reasons {
    (
        $(#[$doc:meta])* pub enum $family:ident in $prefix:literal;
        $(
            $(#[$variant_doc:meta])*
            $variant:ident $({ $($field:ident: $type:ty),* $(,)? })?
                = $code:literal, $errno:ident, $message:literal $(, $argument:expr)*;
        )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // fields are the numbers of the message
        pub enum $family {
            $($(#[$variant_doc])* $variant $({ $($field: $type),* })?,)*
        }

        impl $family {
            /// All codes of the family.
            pub const CODES: &'static [&'static str] = &[$(concat!($prefix, ".", $code)),*];

            /// The stable code.
            pub const fn code(&self) -> &'static str {
                match self {
                    $($family::$variant $({ $($field: _),* })? => concat!($prefix, ".", $code),)*
                }
            }

            /// The error number of `bpf()`.
            pub const fn errno(&self) -> ebpfvm_spec::errno::Errno {
                match self {
                    $($family::$variant $({ $($field: _),* })? => {
                        ebpfvm_spec::errno::Errno::$errno
                    })*
                }
            }
        }

        impl std::fmt::Display for $family {
            #[allow(unused_variables)] // not every number is written
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($family::$variant $({ $($field),* })? => {
                        write!(f, $message $(, $argument)*)
                    })*
                }
            }
        }
    };
}

pub(crate) use reasons;
