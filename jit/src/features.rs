//! What the processor has beyond the base instruction set.

/// Instructions that code may use. Each is off on processors that lack it, and may be switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// `andn`
    pub bmi1: bool,
    /// `shlx`, `shrx`, `sarx`, `rorx`, `mulx`
    pub bmi2: bool,
    /// `movbe`
    pub movbe: bool,
    /// Stores of 32 bytes.
    pub avx: bool,
}

impl Features {
    /// The base instruction set.
    pub const NONE: Features = Features { bmi1: false, bmi2: false, movbe: false, avx: false };

    /// What code may use that is not run here: all that there is.
    pub const ALL: Features = Features { bmi1: true, bmi2: true, movbe: true, avx: true };

    /// What the processor has that this runs on.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Features {
        Features {
            bmi1: is_x86_feature_detected!("bmi1"),
            bmi2: is_x86_feature_detected!("bmi2"),
            movbe: is_x86_feature_detected!("movbe"),
            avx: is_x86_feature_detected!("avx"),
        }
    }

    /// What the processor has that this runs on: nothing that is known.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Features {
        Features::NONE
    }
}
