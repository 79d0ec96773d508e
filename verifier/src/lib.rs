//! The verifier: judges programs as Linux 6.18 does, by following every path with abstract values.
//!
//! - [`domain`]: the abstract values of registers that hold numbers
#![forbid(unsafe_code)]

pub mod domain;
