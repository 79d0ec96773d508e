//! Reasons of the load as a whole.

use super::table::reasons;

reasons! {
    /// Why a program is refused before its code is looked at.
    pub enum ProgramReason in "program";
    /// A program type that the platform does not have.
    Type { name: String } = "type", EINVAL, "unknown program type {name}";
}
