//! Bytes to JSON.

use super::{Bits, MAX_DEPTH, MAX_NODES, ValueError, ValueProblem, int_bits, is_bool, is_char};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, Kind, Linkage, TypeId};
use serde_json::{Map, Number, Value};

/// Shows `bytes` as a value of type `id`. A data section is shown as an object of its variables.
///
/// # Errors
/// [`ValueError`] with the path to the member: the type has no values, or the bytes are too few.
pub fn to_json(btf: &Btf, id: TypeId, bytes: &[u8], order: ByteOrder) -> Result<Value, ValueError> {
    Formatter { btf, bytes, order, nodes: 0 }.value(id, 0, 0, 0)
}

struct Formatter<'a> {
    btf: &'a Btf,
    bytes: &'a [u8],
    order: ByteOrder,
    nodes: usize,
}

impl Formatter<'_> {
    /// The value of type `id` at `offset` bits.
    fn value(
        &mut self,
        id: TypeId,
        offset: u64,
        bitfield_bits: u32,
        depth: usize,
    ) -> Result<Value, ValueError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ValueProblem::TooLarge("too many members").here());
        }
        if depth > MAX_DEPTH {
            return Err(ValueProblem::TooLarge("too deep").here());
        }
        let (id, kind) = self.btf.resolve(id)?;
        if let Some(bits) = int_bits(&kind, offset, bitfield_bits, self.order) {
            return self.number(id, kind, bits);
        }
        match kind {
            Kind::Array { element, count, .. } => self.array(element, count, offset, depth),
            Kind::Compound { .. } => {
                let mut object = Map::new();
                self.members(kind, offset, depth, &mut object)?;
                Ok(Value::Object(object))
            }
            Kind::Var { type_id, .. } => self.value(type_id, offset, 0, depth + 1),
            Kind::Datasec { vars, .. } => {
                let mut object = Map::new();
                for var in self.btf.list(vars) {
                    if let Some(Kind::Var { linkage: Linkage::Extern, .. }) =
                        self.btf.kind(var.type_id)
                    {
                        continue;
                    }
                    let name = self.btf.name(var.type_id);
                    let value = self.value(var.type_id, 8 * u64::from(var.offset), 0, depth + 1);
                    object
                        .insert(name.into(), value.map_err(|e| e.under(format_args!(".{name}")))?);
                }
                Ok(Value::Object(object))
            }
            _ => Err(ValueProblem::NoValue { id, kind: kind.tag().name() }.here()),
        }
    }

    fn members(
        &mut self,
        kind: Kind,
        offset: u64,
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Result<(), ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueProblem::TooLarge("too deep").here());
        }
        let Kind::Compound { members, .. } = kind else { return Ok(()) };
        for m in self.btf.list(members) {
            let at = offset + u64::from(m.bit_offset);
            let name = self.btf.str(m.name);
            if name.is_empty() {
                let (_, kind) = self.btf.resolve(m.type_id)?;
                self.nodes += 1;
                if self.nodes > MAX_NODES {
                    return Err(ValueProblem::TooLarge("too many members").here());
                }
                self.members(kind, at, depth + 1, object)?;
            } else {
                let value = self.value(m.type_id, at, m.bitfield_bits, depth + 1);
                object.insert(name.into(), value.map_err(|e| e.under(format_args!(".{name}")))?);
            }
        }
        Ok(())
    }

    fn array(
        &mut self,
        element: TypeId,
        count: u32,
        offset: u64,
        depth: usize,
    ) -> Result<Value, ValueError> {
        let element_bits = self.btf.size_of(element)?.saturating_mul(8);
        let end = element_bits
            .checked_mul(count.into())
            .and_then(|bits| bits.checked_add(offset))
            .ok_or_else(|| ValueProblem::TooLarge("an array").here())?;
        if end.div_ceil(8) > self.bytes.len() as u64 {
            let (needed, found) = (end.div_ceil(8), self.bytes.len());
            return Err(ValueProblem::Short { needed, found }.here());
        }
        if is_char(self.btf, element)
            && let Some(text) = text(&self.bytes[(offset / 8) as usize..(end / 8) as usize])
        {
            return Ok(Value::String(text.into()));
        }
        let mut list = Vec::new();
        for i in 0..count {
            let value = self.value(element, offset + element_bits * u64::from(i), 0, depth + 1);
            list.push(value.map_err(|e| e.under(format_args!("[{i}]")))?);
        }
        Ok(Value::Array(list))
    }

    fn number(&self, id: TypeId, kind: Kind, bits: Bits) -> Result<Value, ValueError> {
        let raw = bits.read(self.bytes)?;
        Ok(match kind {
            Kind::Int { encoding, .. } if is_bool(self.btf, id, encoding) && raw <= 1 => {
                Value::Bool(raw == 1)
            }
            Kind::Int { encoding, .. } => integer(raw, bits.count, encoding.signed),
            Kind::Enum { signed, values, .. } => {
                let unused = 128 - bits.count;
                let wide = (raw << unused) as i128;
                let value = if signed { wide >> unused } else { raw as i128 };
                let named = self.btf.list(values).iter().find(|v| {
                    let known =
                        if signed { i128::from(v.value) } else { i128::from(v.value as u64) };
                    known == value
                });
                match named {
                    Some(v) => Value::String(self.btf.str(v.name).into()),
                    None => integer(raw, bits.count, signed),
                }
            }
            Kind::Float { bytes: 4 } => float(f32::from_bits(raw as u32).into()),
            Kind::Float { bytes: 8 } => float(f64::from_bits(raw as u64)),
            _ => Value::String(format!("{raw:#x}")),
        })
    }
}

/// A number as JSON; one beyond 64 bits as a hex string.
fn integer(raw: u128, bits: u32, signed: bool) -> Value {
    let unused = 128 - bits;
    let value = (raw << unused) as i128 >> unused;
    if signed && let Ok(value) = i64::try_from(value) {
        return Value::Number(value.into());
    }
    match u64::try_from(raw) {
        Ok(raw) if !signed => Value::Number(raw.into()),
        _ => Value::String(format!("{raw:#x}")),
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

/// The text of a char array: what stands before the zero bytes at the end, if it can be shown.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let text = std::str::from_utf8(text).ok()?;
    let shown = rest.iter().all(|b| *b == 0)
        && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    shown.then_some(text)
}
