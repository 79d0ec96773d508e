//! Releases of Linux, which can be compared.

use std::fmt;

/// A release such as 5.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Release {
    /// 5 of 5.10.
    pub major: u16,
    /// 10 of 5.10.
    pub minor: u16,
}

impl Release {
    /// The first with the `bpf` system call and programs.
    pub const FIRST: Release = Release { major: 3, minor: 18 };

    /// Reads what the columns `since` of the tables hold: `5.10`.
    pub fn parse(text: &str) -> Option<Release> {
        let (major, minor) = text.split_once('.')?;
        Some(Release { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::{HELPER_NAMES, KFUNCS};
    use crate::{AttachType, MapFlags, MapType, ProgType};

    #[test]
    fn releases_compare_as_numbers() {
        let release = |text| Release::parse(text).unwrap();
        assert!(release("5.10") > release("5.9"));
        assert!(release("6.1") > release("5.18"));
        assert_eq!(release("4.20").to_string(), "4.20");
        for text in ["", "5", "5.", "5.10.1", "v5.10", "99999.1"] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
    }

    /// Linux went from 3.19 to 4.0, from 4.20 to 5.0, from 5.19 to 6.0 and from 6.19 to 7.0.
    #[test]
    fn the_tables_name_releases_that_there_are() {
        let linux = ProgType::ALL.iter().filter(|t| !matches!(t, ProgType::Unspec | ProgType::Raw));
        let mut all: Vec<&str> = linux.map(|t| t.since()).collect();
        all.extend(MapType::ALL.iter().map(|t| t.since()));
        all.extend(MapFlags::ALL.iter().map(|(_, _, since)| *since));
        all.extend((0..=AttachType::TRACE_FSESSION.0).filter_map(|n| AttachType(n).since()));
        all.extend(HELPER_NAMES.iter().map(|(_, since)| *since));
        all.extend(KFUNCS.iter().map(|(_, since)| *since));
        for since in all {
            let release = Release::parse(since).unwrap_or_else(|| panic!("{since}"));
            let last = match release.major {
                3 | 5 | 6 => 19,
                4 => 20,
                7 => 0,
                _ => panic!("{since}"),
            };
            assert!(release.minor <= last && release >= Release::FIRST, "{since}");
        }
    }

    /// Numbers of helpers, map types and program types were given in the order of releases.
    #[test]
    fn releases_rise_with_the_numbers() {
        fn rising(names: impl Iterator<Item = &'static str>, what: &str) {
            let releases: Vec<Release> = names.map(|s| Release::parse(s).unwrap()).collect();
            assert!(releases.is_sorted(), "{what}");
        }
        rising(HELPER_NAMES.iter().map(|(_, since)| *since), "helpers");
        rising(MapType::ALL.iter().map(|t| t.since()), "map types");
        rising(MapFlags::ALL.iter().map(|(_, _, since)| *since), "map flags");
        rising((0..59).filter_map(|n| AttachType(n).since()), "attach types");
        let types = ProgType::ALL.iter().filter(|t| !matches!(t, ProgType::Unspec | ProgType::Raw));
        rising(types.map(|t| t.since()), "program types");
    }
}
