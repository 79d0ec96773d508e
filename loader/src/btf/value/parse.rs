//! JSON to bytes.

use super::{MAX_BYTES, MAX_DEPTH, ValueError, ValueProblem, int_bits, is_char};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, Kind, TypeId};
use serde_json::Value;

/// Makes the bytes of a value of type `id`. Members and elements that are not given are zero.
///
/// Numbers may be strings in decimal or hexadecimal (`"0x1f"`), enums names or numbers, arrays of
/// `char` strings, and arrays of bytes hex bytes such as `"02:00:00:00:00:01"`.
///
/// # Errors
/// [`ValueError`] with the path to what does not fit.
pub fn from_json(
    btf: &Btf,
    id: TypeId,
    json: &Value,
    order: ByteOrder,
) -> Result<Vec<u8>, ValueError> {
    let bytes = btf.size_of(id)?;
    if bytes > MAX_BYTES {
        return Err(ValueProblem::TooLarge("too many bytes").here());
    }
    let mut parser = Parser { btf, bytes: vec![0; bytes as usize], order };
    parser.value(id, json, 0, 0, 0)?;
    Ok(parser.bytes)
}

struct Parser<'a> {
    btf: &'a Btf,
    bytes: Vec<u8>,
    order: ByteOrder,
}

/// A member, perhaps of an anonymous member.
struct Place {
    type_id: TypeId,
    offset: u64,
    bitfield_bits: u32,
}

fn mismatch(found: &Value, expected: impl Into<String>) -> ValueError {
    /// Enough to recognise it.
    const SHOWN: usize = 40;
    let mut text = found.to_string();
    if text.len() > SHOWN {
        let end = (0..=SHOWN).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    ValueProblem::Mismatch { found: text, expected: expected.into() }.here()
}

impl Parser<'_> {
    fn value(
        &mut self,
        id: TypeId,
        json: &Value,
        offset: u64,
        bitfield_bits: u32,
        depth: usize,
    ) -> Result<(), ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueProblem::TooLarge("too deep").here());
        }
        let (id, kind) = self.btf.resolve(id)?;
        if let Some(bits) = int_bits(&kind, offset, bitfield_bits, self.order) {
            let number = self.number(kind, bits.count, json)?;
            return bits.write(&mut self.bytes, number);
        }
        match kind {
            Kind::Array { element, count, .. } => self.array(element, count, json, offset, depth),
            Kind::Compound { .. } | Kind::Datasec { .. } => {
                let Value::Object(object) = json else {
                    return Err(mismatch(json, "an object of members"));
                };
                for (name, value) in object {
                    let place = self.member(kind, name, offset, depth)?;
                    self.value(place.type_id, value, place.offset, place.bitfield_bits, depth + 1)
                        .map_err(|e| e.under(format_args!(".{name}")))?;
                }
                Ok(())
            }
            Kind::Var { type_id, .. } => self.value(type_id, json, offset, 0, depth + 1),
            _ => Err(ValueProblem::NoValue { id, kind: kind.tag().name() }.here()),
        }
    }

    fn member(
        &self,
        kind: Kind,
        name: &str,
        offset: u64,
        depth: usize,
    ) -> Result<Place, ValueError> {
        let mut budget = super::MAX_NODES;
        let mut known = Vec::new();
        let found = self.find_member(kind, name, offset, depth, &mut budget, &mut known);
        found.ok_or_else(|| {
            let (name, known) = (name.into(), known.join(", "));
            ValueProblem::NoMember { name, known }.here()
        })
    }

    fn find_member(
        &self,
        kind: Kind,
        name: &str,
        offset: u64,
        depth: usize,
        budget: &mut usize,
        known: &mut Vec<String>,
    ) -> Option<Place> {
        /// How many names an error lists.
        const LISTED: usize = 20;
        if depth > MAX_DEPTH {
            return None;
        }
        let note = |known: &mut Vec<String>, member: &str| {
            if known.len() < LISTED {
                known.push(format!("'{member}'"));
            }
        };
        match kind {
            Kind::Datasec { vars, .. } => self.btf.list(vars).iter().find_map(|v| {
                let var = self.btf.name(v.type_id);
                note(known, var);
                let offset = offset + 8 * u64::from(v.offset);
                (var == name).then_some(Place { type_id: v.type_id, offset, bitfield_bits: 0 })
            }),
            Kind::Compound { members, .. } => self.btf.list(members).iter().find_map(|m| {
                *budget = budget.checked_sub(1)?;
                let offset = offset + u64::from(m.bit_offset);
                let member = self.btf.str(m.name);
                if member.is_empty() {
                    let (_, kind) = self.btf.resolve(m.type_id).ok()?;
                    return self.find_member(kind, name, offset, depth + 1, budget, known);
                }
                note(known, member);
                let place = Place { type_id: m.type_id, offset, bitfield_bits: m.bitfield_bits };
                (member == name).then_some(place)
            }),
            _ => None,
        }
    }

    fn array(
        &mut self,
        element: TypeId,
        count: u32,
        json: &Value,
        offset: u64,
        depth: usize,
    ) -> Result<(), ValueError> {
        let size = self.btf.size_of(element)?;
        if let (Value::String(text), 1) = (json, size) {
            let bytes = if is_char(self.btf, element) {
                text.clone().into_bytes()
            } else {
                hex_bytes(text).ok_or_else(|| mismatch(json, "hex bytes such as \"02:00:ff\""))?
            };
            let start = (offset / 8) as usize;
            let place = self.bytes.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len()));
            let Some(place) = place.filter(|_| bytes.len() <= count as usize) else {
                return Err(mismatch(json, format!("at most {count} bytes")));
            };
            place.copy_from_slice(&bytes);
            return Ok(());
        }
        let Value::Array(list) = json else {
            return Err(mismatch(json, format!("a list of at most {count} elements")));
        };
        if list.len() > count as usize {
            let found = format!("{} elements", list.len());
            let expected = format!("at most {count}");
            return Err(ValueProblem::Mismatch { found, expected }.here());
        }
        for (i, value) in list.iter().enumerate() {
            self.value(element, value, offset + 8 * size * i as u64, 0, depth + 1)
                .map_err(|e| e.under(format_args!("[{i}]")))?;
        }
        Ok(())
    }

    /// A number as the bits that are stored.
    fn number(&self, kind: Kind, bits: u32, json: &Value) -> Result<u128, ValueError> {
        if let Kind::Float { bytes } = kind {
            let number = json.as_f64().ok_or_else(|| mismatch(json, "a number"))?;
            return match bytes {
                4 => Ok((number as f32).to_bits().into()),
                8 => Ok(number.to_bits().into()),
                n => Err(mismatch(json, format!("a type other than a float of {n} bytes"))),
            };
        }
        let (signed, expected) = match kind {
            Kind::Int { encoding, .. } => (encoding.signed, "a number"),
            Kind::Enum { signed, .. } => (signed, "the name or number of an enumerator"),
            _ => (false, "an address"),
        };
        let number = match (json, kind) {
            (Value::Bool(b), Kind::Int { .. }) => i128::from(*b),
            (Value::Number(n), _) => n
                .as_u64()
                .map(i128::from)
                .or(n.as_i64().map(i128::from))
                .ok_or_else(|| mismatch(json, "a whole number"))?,
            (Value::String(text), Kind::Enum { values, .. }) => {
                let named = self.btf.list(values).iter().find(|v| self.btf.str(v.name) == text);
                let value = |v: i64| if signed { v.into() } else { i128::from(v as u64) };
                named
                    .map(|v| value(v.value))
                    .or_else(|| whole_number(text))
                    .ok_or_else(|| mismatch(json, self.enumerators(kind)))?
            }
            (Value::String(text), Kind::Int { bytes: 1, .. })
                if text.len() == 1 && !text.as_bytes()[0].is_ascii_digit() =>
            {
                text.as_bytes()[0].into()
            }
            (Value::String(text), _) => {
                whole_number(text).ok_or_else(|| mismatch(json, expected))?
            }
            _ => return Err(mismatch(json, expected)),
        };
        // A 128-bit number stands as its bits.
        if bits == 128 {
            return Ok(number as u128);
        }
        let (low, high) = if signed {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits.min(126)) - 1)
        };
        if number < low || number > high {
            return Err(mismatch(json, format!("a number from {low} to {high}")));
        }
        Ok(number as u128 & ((1u128 << bits) - 1))
    }

    fn enumerators(&self, kind: Kind) -> String {
        let Kind::Enum { values, .. } = kind else { return "a number".into() };
        let names: Vec<_> =
            self.btf.list(values).iter().take(20).map(|v| self.btf.str(v.name)).collect();
        format!("one of {} or a number", names.join(", "))
    }
}

fn whole_number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u128::from_str_radix(hex, 16).ok()? as i128,
        None => digits.parse::<i128>().ok()?,
    };
    if negative { value.checked_neg() } else { Some(value) }
}

/// Pairs of hex digits, separated by colons, dashes or spaces, or not at all.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b':' | b'-' | b' ')).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let [high, low] = pair.map(|d| char::from(d).to_digit(16));
        Some((high? << 4 | low?) as u8)
    };
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
