//! The fields of a context, by name and by place.

use super::{Context, ContextError};
use ebpfvm_spec::{ContextDef, Field, FieldKind};

impl Context {
    /// Sets a field that the context has; of one that it has not, nothing happens.
    pub(crate) fn put(&mut self, name: &str, value: u64) {
        if let Some((name, _)) = self.given_number(name) {
            return self.put_number(name, value);
        }
        if let Some((at, bytes)) = self.def.as_ref().and_then(|def| {
            let field = def.field(name)?;
            Some((first(def, field), field.bytes))
        }) {
            self.set_cell(at, bytes, value);
        }
    }

    /// Where `bytes` bytes at `host` lie in their cell: the cell's index and the shift.
    ///
    /// Accesses are aligned to their size, so none crosses into another cell.
    fn cell(host: u32, bytes: u32) -> (usize, u32) {
        let inside = host % 8;
        let shift = if cfg!(target_endian = "big") { 8 - inside - bytes } else { inside };
        (host as usize / 8, 8 * shift)
    }

    /// Reads `bytes` bytes at an offset of the host's context.
    pub(crate) fn get_cell(&self, host: u32, bytes: u32) -> u64 {
        let (index, shift) = Self::cell(host, bytes);
        self.cells[index] >> shift & mask(bytes)
    }

    /// Writes `bytes` bytes at an offset of the host's context.
    pub(crate) fn set_cell(&mut self, host: u32, bytes: u32, value: u64) {
        let (index, shift) = Self::cell(host, bytes);
        let mask = mask(bytes);
        let cell = &mut self.cells[index];
        *cell = *cell & !(mask << shift) | (value & mask) << shift;
    }

    /// Sets a field, by name; `cb[1]` names an element of an array of 4-byte numbers.
    ///
    /// # Errors
    /// [`ContextError`] if there is no such field, the machine sets it, or the value is too large.
    pub fn set_field(&mut self, name: &str, value: u64) -> Result<(), ContextError> {
        if let Some((name, bytes)) = self.given_number(name) {
            self.in_range(name, bytes, value)?;
            self.put_number(name, value);
            return Ok(());
        }
        if let Some(done) = self.set_flow_key(name, value) {
            return done;
        }
        let (kind, host, bytes) = self.locate(name)?;
        if kind != FieldKind::Scalar {
            let context = self.context_name();
            return Err(ContextError::FieldFixed { context, field: name.into() });
        }
        self.in_range(name, bytes, value)?;
        self.contradicts(name, value)?;
        self.set_cell(host, bytes, value);
        self.reach(host + bytes);
        Ok(())
    }

    fn in_range(&self, name: &str, bytes: u32, value: u64) -> Result<(), ContextError> {
        if value & !mask(bytes) == 0 {
            return Ok(());
        }
        let context = self.context_name();
        Err(ContextError::FieldRange { context, field: name.into(), bytes, value })
    }

    /// The value of a field, by name as in [`Context::set_field`]; an address is the host's.
    ///
    /// # Errors
    /// [`ContextError`] if there is no such field.
    pub fn field(&self, name: &str) -> Result<u64, ContextError> {
        if let Some((name, _)) = self.given_number(name) {
            return Ok(self.number(name));
        }
        if let Some(value) = self.get_flow_key(name) {
            return Ok(value);
        }
        let (kind, host, bytes) = self.locate(name)?;
        Ok(self.get_cell(host, if kind == FieldKind::Scalar { bytes } else { 8 }))
    }

    /// All numbers of the context in order: name (`cb[0]` for an element) and value. Those that
    /// programs see come first, then those that only helpers know. Long arrays are left out: they are
    /// memory, and [`Context::data_out`] shows what programs can write of it.
    pub fn fields(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        let Some(def) = &self.def else { return all };
        for field in def.fields.iter() {
            if field.kind != FieldKind::Scalar || field.bytes / field.unit > MAX_LISTED {
                continue;
            }
            // Of a record, what is there.
            let there = self.extent.saturating_sub(field.offset).min(field.bytes) / field.unit;
            if there == 0 {
                continue;
            }
            let host = first(def, field);
            if is_array(field) {
                let unit = field.unit;
                let element = |i| self.get_cell(host + unit * i, unit);
                let named = |i| (format!("{}[{i}]", field.name), element(i));
                all.extend((0..there).map(named));
            } else {
                all.push((field.name.to_string(), self.get_cell(host, field.bytes)));
            }
        }
        all.extend(self.all_flow_keys());
        all.extend(self.numbers());
        all
    }

    /// Kind, host offset and size of a field or element.
    pub(super) fn locate(&self, name: &str) -> Result<(FieldKind, u32, u32), ContextError> {
        let (base, index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((base, index)) => (base, index.parse().ok()),
            None => (name, Some(0u32)),
        };
        let field = self.def.as_ref().and_then(|def| Some((def, def.field(base)?)));
        if let (Some((def, field)), Some(index)) = (field, index) {
            let host = first(def, field);
            let element = field.unit;
            if index < field.bytes / element {
                return Ok((field.kind, host + index * element, element));
            }
        }
        Err(self.no_field(name))
    }

    pub(super) fn no_field(&self, name: &str) -> ContextError {
        let known = self.def.iter().flat_map(|def| def.fields.iter());
        let known = known.filter(|field| field.kind == FieldKind::Scalar).map(|field| {
            match field.bytes / field.unit {
                1 => field.name.to_string(),
                count => format!("{}[0] to [{}]", field.name, count - 1),
            }
        });
        let keys = self.all_flow_keys().into_iter().map(|(name, _)| name);
        let known = known.chain(keys).chain(self.numbers().map(|(name, _)| name));
        let known: Vec<String> = known.collect();
        ContextError::NoField {
            context: self.context_name(),
            field: name.into(),
            known: if known.is_empty() { "none".into() } else { known.join(", ") },
        }
    }

    pub(super) fn context_name(&self) -> String {
        self.def.as_ref().map_or("raw memory".into(), |d| d.name.to_string())
    }
}

/// The longest array of which [`Context::fields`] lists the elements.
const MAX_LISTED: u32 = 64;

/// Where a field begins in the host's context.
pub(super) fn first(def: &ContextDef, field: &Field) -> u32 {
    def.host_offset(field.offset, field.offset)
}

/// Whether a field is an array of 4-byte numbers.
fn is_array(field: &Field) -> bool {
    field.bytes > field.unit
}

/// The low `bytes` bytes.
pub(super) const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}
