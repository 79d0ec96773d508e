//! The kernel configuration that `.kconfig` variables of a program are read from.

use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, IntEncoding, Kind, LayoutError, TypeId};
use std::collections::HashMap;

/// A kernel configuration: its `CONFIG_` values and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kconfig {
    /// `LINUX_KERNEL_VERSION`: `major << 16 | minor << 8 | patch`.
    pub kernel_version: u32,
    values: HashMap<String, String>,
}

impl Default for Kconfig {
    /// Linux 6.18.0 without any `CONFIG_` value.
    fn default() -> Kconfig {
        Kconfig { kernel_version: 6 << 16 | 18 << 8, values: HashMap::new() }
    }
}

/// Why a configuration does not give a variable its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KconfigProblem {
    /// Variables of such a type hold no configuration value.
    #[error("type {0} cannot hold a configuration value")]
    Type(TypeId),
    /// The value does not fit the type.
    #[error("the value {value} is not {expected}")]
    Value {
        /// The value in the configuration.
        value: String,
        /// What the type wants.
        expected: &'static str,
    },
    /// The variable has no size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Kconfig {
    /// Reads the text of a configuration file: lines such as `CONFIG_HZ=1000`, and the version from the
    /// title that the kernel's build writes, `# Linux/x86 6.18.5 Kernel Configuration`. Other lines are
    /// skipped.
    pub fn parse(text: &str) -> Kconfig {
        let values = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_"))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim_end().into(), value.trim().into()))
            .collect();
        let title = |line: &str| {
            let rest = line.strip_prefix("# Linux/")?.strip_suffix(" Kernel Configuration")?;
            version(rest.split_once(' ')?.1)
        };
        let kernel_version = text.lines().take(TITLE_LINES).find_map(title);
        let default = Kconfig::default();
        Kconfig { values, kernel_version: kernel_version.unwrap_or(default.kernel_version) }
    }

    /// Whether it sets no option.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a variable, as the file spells it.
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "LINUX_KERNEL_VERSION" => Some(self.kernel_version.to_string()),
            // What libbpf finds out by trying; both are so on Linux 6.18 on x86-64 and arm64.
            "LINUX_HAS_BPF_COOKIE" | "LINUX_HAS_SYSCALL_WRAPPER" => Some("1".into()),
            _ => self.values.get(name).cloned(),
        }
    }

    /// Writes the value of a variable of type `id` to `bytes`; gives whether there is a value.
    pub(crate) fn write(
        &self,
        btf: &Btf,
        id: TypeId,
        name: &str,
        order: ByteOrder,
        bytes: &mut [u8],
    ) -> Result<bool, KconfigProblem> {
        let Some(value) = self.value(name) else { return Ok(false) };
        let misfit = |expected| KconfigProblem::Value { value: value.clone(), expected };
        let (resolved, kind) = btf.resolve(id)?;
        let letter = match value.as_str() {
            "y" | "m" | "n" => value.bytes().next(),
            _ => None,
        };
        let number = match (kind, letter) {
            (Kind::Array { .. }, _) => {
                let text = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                let text = text.ok_or_else(|| misfit("a string in quotes"))?.as_bytes();
                // As libbpf does it: cut so that a zero byte remains.
                let length = text.len().min(bytes.len().saturating_sub(1));
                bytes[..length].copy_from_slice(&text[..length]);
                return Ok(true);
            }
            (Kind::Int { encoding: IntEncoding { bool: true, .. }, .. }, Some(l)) if l != b'm' => {
                i128::from(l == b'y')
            }
            (Kind::Int { encoding: IntEncoding { bool: true, .. }, .. }, _) => match &*value {
                "0" => 0,
                "1" => 1,
                _ => return Err(misfit("y or n")),
            },
            (Kind::Int { bytes: 1, .. }, Some(letter)) => letter.into(),
            (Kind::Enum { .. }, Some(letter)) => match letter {
                b'n' => 0,
                b'y' => 1,
                _ => 2,
            },
            (Kind::Enum { .. }, None) => return Err(misfit("y, m or n")),
            (Kind::Int { .. }, _) => number(&value).ok_or_else(|| misfit("a number"))?,
            _ => return Err(KconfigProblem::Type(resolved)),
        };
        let json = i64::try_from(number)
            .map(serde_json::Value::from)
            .or_else(|_| u64::try_from(number).map(serde_json::Value::from));
        let json = json.map_err(|_| misfit("a number of 64 bits"))?;
        let made = crate::btf::value::from_json(btf, id, &json, order)
            .map_err(|_| misfit("in the range of the variable's type"))?;
        bytes.copy_from_slice(&made);
        Ok(true)
    }
}

/// The title stands within so many lines.
const TITLE_LINES: usize = 8;

/// `LINUX_KERNEL_VERSION` of a release such as `6.18.5-rc1`; the patch is at most 255, as the kernel
/// has it.
fn version(text: &str) -> Option<u32> {
    let digits = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = digits.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let patch = parts.next().flatten().unwrap_or(0).min(255);
    (major < 1 << 16 && minor < 256).then_some(major << 16 | minor << 8 | patch)
}

fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(Into::into),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_tells_the_version() {
        let version = |title: &str| Kconfig::parse(&format!("#\n{title}\n#\n")).kernel_version;
        assert_eq!(version("# Linux/x86 6.12.41 Kernel Configuration"), 6 << 16 | 12 << 8 | 41);
        assert_eq!(
            version("# Linux/arm64 5.4.300-rc1 Kernel Configuration"),
            5 << 16 | 4 << 8 | 255
        );
        assert_eq!(version("# Linux/x86 6.1 Kernel Configuration"), 6 << 16 | 1 << 8);
        for other in [
            "# Linux/x86 x Kernel Configuration",
            "# Linux/x86",
            "",
            "# Linux/x86 6.900.1 Kernel Configuration",
        ] {
            assert_eq!(version(other), Kconfig::default().kernel_version, "{other}");
        }
    }
}
