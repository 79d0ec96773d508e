//! Memory with the fields of a layout, for what programs see of the host's objects.

use ebpfvm_spec::ContextDef;
use std::sync::Arc;

/// The bytes of a struct that programs see, by the names of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    def: Arc<ContextDef>,
    bytes: Vec<u8>,
}

/// Why a field cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// There is no such field.
    #[error("{layout} has no field {field}; its fields are {known}")]
    Unknown {
        /// Name of the struct.
        layout: String,
        /// The name that was asked for.
        field: String,
        /// All that there are.
        known: String,
    },
    /// The value does not fit.
    #[error("{layout}.{field} takes {bytes} bytes; {value} does not fit")]
    Range {
        /// Name of the struct.
        layout: String,
        /// Name of the field.
        field: String,
        /// Size of the field in bytes.
        bytes: u32,
        /// The value.
        value: u64,
    },
}

impl Fields {
    /// All zero.
    pub(crate) fn zeroed(def: Arc<ContextDef>) -> Fields {
        let bytes = vec![0; def.bytes as usize];
        Fields { def, bytes }
    }

    /// Takes the bytes of a struct, as many as it has.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.bytes.len());
        self.bytes[..taken].copy_from_slice(&bytes[..taken]);
    }

    /// All numbers in order, `ipv6[0]` for an element.
    pub(crate) fn all(&self) -> Vec<(String, u64)> {
        let names = self.def.fields.iter().flat_map(|field| {
            let elements = field.bytes / field.unit;
            (0..elements).map(move |i| match elements {
                1 => field.name.to_string(),
                _ => format!("{}[{i}]", field.name),
            })
        });
        names.filter_map(|name| self.get(&name).map(|value| (name, value))).collect()
    }

    /// The whole struct.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sets a field; `src_ip6[1]` names an element of an array. Numbers are in host order.
    ///
    /// # Errors
    /// [`FieldError`] if there is no such field or the value does not fit.
    pub(crate) fn set(&mut self, name: &str, value: u64) -> Result<(), FieldError> {
        let (at, bytes) = self.locate(name).ok_or_else(|| self.unknown(name))?;
        if bytes < 8 && value >> (8 * bytes) != 0 {
            let layout = self.def.name.to_string();
            return Err(FieldError::Range {
                layout,
                field: name.into(),
                bytes: bytes as u32,
                value,
            });
        }
        let ordered = if cfg!(target_endian = "big") {
            value.to_be_bytes()[8 - bytes..].to_vec()
        } else {
            value.to_le_bytes()[..bytes].to_vec()
        };
        self.bytes[at..at + bytes].copy_from_slice(&ordered);
        Ok(())
    }

    /// The value of a field, named as for [`Fields::set`].
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        let (at, bytes) = self.locate(name)?;
        let part = &self.bytes[at..at + bytes];
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if cfg!(target_endian = "big") {
            part.iter().fold(0, fold)
        } else {
            part.iter().rev().fold(0, fold)
        })
    }

    /// Offset and size of a field or element.
    fn locate(&self, name: &str) -> Option<(usize, usize)> {
        let (base, index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((base, index)) => (base, index.parse().ok()?),
            None => (name, 0u32),
        };
        let field = self.def.field(base)?;
        let at = field.offset + index.checked_mul(field.unit)?;
        (index < field.bytes / field.unit).then_some((at as usize, field.unit as usize))
    }

    fn unknown(&self, name: &str) -> FieldError {
        let known: Vec<&str> = self.def.fields.iter().map(|field| &*field.name).collect();
        FieldError::Unknown {
            layout: self.def.name.to_string(),
            field: name.into(),
            known: known.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_spec::Platform;
    use ebpfvm_spec::context::Pointee;

    #[test]
    fn fields_and_elements_are_set_and_read_by_name() {
        let platform = Platform::linux();
        let sock = Arc::new(platform.object(Pointee::Sock).unwrap().layout.clone());
        let mut fields = Fields::zeroed(sock);
        fields.set("family", 2).unwrap();
        fields.set("src_ip6[3]", 0x0100_007f).unwrap();
        assert_eq!((fields.get("family"), fields.get("src_ip6[3]")), (Some(2), Some(0x0100_007f)));
        assert_eq!(fields.bytes()[4..8], 2u32.to_ne_bytes());
        assert_eq!(fields.bytes()[40..44], 0x0100_007f_u32.to_ne_bytes());
        assert!(matches!(fields.set("port", 1), Err(FieldError::Unknown { .. })));
        assert!(matches!(fields.set("src_ip6[4]", 1), Err(FieldError::Unknown { .. })));
        assert!(matches!(fields.set("family", 1 << 32), Err(FieldError::Range { .. })));
    }
}
