//! What a definition must be like: reads the rows of `kind.rs`.

use super::create::CreateError;
use super::kind::{KINDS, Kind};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

/// What a size may be.
pub(super) enum Size {
    /// 0: the map has none.
    Absent,
    /// This many bytes.
    Exactly(u32),
    /// One or the other number of bytes.
    Either(u32, u32),
    /// At least one byte, at most so many: `E2BIG` above.
    UpTo(u32),
    /// From so many bytes to so many: `EINVAL` beyond either.
    Within(u32, u32),
}

/// What `max_entries` may be.
pub(super) enum Entries {
    /// 1 to so many: `E2BIG` above.
    UpTo(u32),
    /// 1 to so many: `EINVAL` above.
    Within(u32),
    /// 0: the map has no capacity.
    Absent,
    /// Exactly 1.
    One,
    /// Bytes: a power of two and whole pages.
    Pages,
}

/// `PAGE_SIZE` of the kernel that this machine follows, whatever the host has.
pub(super) const PAGE_BYTES: u32 = 4096;

impl Kind {
    /// The row of a kind.
    pub(super) fn of(map_type: MapType) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.map_type == map_type)
    }

    /// Checks a definition as the kernel does.
    pub(super) fn check(&self, def: &MapDef) -> Result<(), CreateError> {
        let wrong = |property, got, expected, errno| {
            Err(CreateError::property(def, property, got, expected, errno))
        };
        // What is EINVAL comes before what is E2BIG, as in the kernel.
        if def.extra & !self.extra != 0 {
            return wrong("map_extra", def.extra.to_string(), at_most(self.extra), Errno::EINVAL);
        }
        let unknown = def.flags.0 & !self.flags;
        if unknown != 0 {
            let expected = format!("flags out of {}", MapFlags(self.flags));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
        }
        if !def.flags.has(self.demanded) {
            let expected = format!("{} among them", MapFlags(self.demanded));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
        }
        for (both, names) in [
            (MapFlags::RDONLY | MapFlags::WRONLY, "RDONLY and WRONLY"),
            (MapFlags::RDONLY_PROG | MapFlags::WRONLY_PROG, "RDONLY_PROG and WRONLY_PROG"),
            (MapFlags::NO_COMMON_LRU | MapFlags::NUMA_NODE, "NO_COMMON_LRU and NUMA_NODE"),
        ] {
            if def.flags.has(both) {
                let expected = format!("one of {names} at most");
                return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
            }
        }
        let unsupported = def.flags.0 & self.unsupported;
        if unsupported != 0 {
            let expected = format!("flags without {}", MapFlags(unsupported));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::ENOTSUPP);
        }
        let sizes =
            [("key size", &self.key, def.key_bytes), ("value size", &self.value, def.value_bytes)];
        for (property, size, got) in sizes {
            if let Some(expected) = size.violated(got) {
                return wrong(property, got.to_string(), expected, Errno::EINVAL);
            }
        }
        if let Some(expected) = self.entries.violated(def.max_entries) {
            return wrong("max_entries", def.max_entries.to_string(), expected, Errno::EINVAL);
        }
        for (property, size, got) in sizes {
            if let Size::UpTo(most) = *size
                && got > most
            {
                return wrong(property, got.to_string(), at_most(most), Errno::E2BIG);
            }
        }
        let element_bytes = u64::from(def.key_bytes) + u64::from(def.value_bytes);
        if let Some(most) = self.element_bytes.filter(|most| element_bytes > u64::from(*most)) {
            let expected = at_most(most);
            return wrong("key and value size", element_bytes.to_string(), expected, Errno::E2BIG);
        }
        if let Entries::UpTo(most) = self.entries
            && def.max_entries > most
        {
            return wrong("max_entries", def.max_entries.to_string(), at_most(most), Errno::E2BIG);
        }
        (self.further)(def)
    }
}

impl CreateError {
    /// What a property of a definition should be.
    pub(super) fn property(
        def: &MapDef,
        property: &'static str,
        got: String,
        expected: String,
        errno: Errno,
    ) -> CreateError {
        let (map, map_type) = (def.name.clone(), def.map_type);
        CreateError::Property { map, map_type, property, got, expected, errno }
    }
}

impl Entries {
    /// What the number should be, if it is not; a number above the most is not looked at here.
    fn violated(&self, got: u32) -> Option<String> {
        match self {
            Entries::UpTo(_) => (got == 0).then(|| "at least 1".into()),
            Entries::Within(most) => {
                (!(1..=*most).contains(&got)).then(|| format!("at least 1 and at most {most}"))
            }
            Entries::Absent => (got != 0).then(|| "0: this kind has no capacity".into()),
            Entries::One => (got != 1).then(|| "1".into()),
            Entries::Pages => {
                let fits = got.is_power_of_two() && got >= PAGE_BYTES;
                (!fits).then(|| format!("bytes: a power of two, at least {PAGE_BYTES}"))
            }
        }
    }
}

impl Size {
    /// What the size should be, if it is not; a size above the most is not looked at here.
    fn violated(&self, got: u32) -> Option<String> {
        match *self {
            Size::Absent => (got != 0).then(|| "0: this kind has none".into()),
            Size::Exactly(bytes) => (got != bytes).then(|| format!("{bytes} bytes")),
            Size::Either(a, b) => (got != a && got != b).then(|| format!("{a} or {b} bytes")),
            Size::UpTo(_) => (got == 0).then(|| "at least 1 byte".into()),
            Size::Within(least, most) => (!(least..=most).contains(&got))
                .then(|| format!("at least {least} and at most {most} bytes")),
        }
    }
}

fn at_most(most: impl Into<u64>) -> String {
    let most = most.into();
    format!("at most {most}")
}
