//! What would make a rejected program pass, for the reasons that people meet most.

/// Reason codes with what helps.
const HINTS: &[(&str, &str)] = &[];

/// What helps against a reason, by its code.
pub(super) fn hint(code: &str) -> Option<&'static str> {
    HINTS.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;

    #[test]
    fn hints_are_for_reasons_that_there_are() {
        for (index, (code, hint)) in HINTS.iter().enumerate() {
            assert!(Reason::codes().any(|known| known == *code), "{code}");
            assert!(HINTS[..index].iter().all(|(other, _)| other != code), "{code} twice");
            assert!(!hint.is_empty() && !hint.ends_with('.'), "{code}: {hint}");
        }
    }
}
