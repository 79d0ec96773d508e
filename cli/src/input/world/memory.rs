//! Memory and stacks of a world: what helpers read that is not the program's.

use crate::failure::Failure;
use crate::input::hex;
use crate::input::value::Json;
use ebpfvm::host::Space;
use ebpfvm::host::world::World;
use serde::Deserialize;
use serde_json::Value;

/// A number, or a string of `0x` and hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Address(u64);

impl TryFrom<Value> for Address {
    type Error = String;

    fn try_from(value: Value) -> Result<Address, String> {
        let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
        let number = text.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let number = number.or(value.as_u64()).map(Address);
        number.ok_or_else(|| format!("found {value}, expected a number, or \"0x\" and hex digits"))
    }
}

/// A piece of memory: bytes in hex, or a text with a zero byte after it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PieceDescription {
    address: Address,
    #[serde(default)]
    space: SpaceName,
    hex: Option<String>,
    text: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SpaceName {
    /// The current process.
    #[default]
    User,
    Kernel,
}

/// Addresses on stacks, the innermost first.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StacksDescription {
    user: Vec<Address>,
    kernel: Vec<Address>,
}

/// Adds pieces of memory to a world.
pub(super) fn add(
    mut world: World,
    json: &Json,
    pieces: &[PieceDescription],
) -> Result<World, Failure> {
    for (i, piece) in pieces.iter().enumerate() {
        let path = format!("memory[{i}]");
        let bytes = match (&piece.hex, &piece.text) {
            (Some(digits), None) => hex::parse(digits)
                .map_err(|wrong| json.wrong(&format!("{path}.hex"), wrong.problem))?,
            (None, Some(text)) => [text.as_bytes(), b"\0"].concat(),
            _ => return Err(json.wrong(&path, "expected one of \"hex\" and \"text\"")),
        };
        let space = match piece.space {
            SpaceName::User => Space::User,
            SpaceName::Kernel => Space::Kernel,
        };
        if piece.address.0.checked_add(bytes.len() as u64).is_none() {
            let problem = "the memory goes beyond the last address";
            return Err(json.wrong(&format!("{path}.address"), problem));
        }
        world = world.memory(space, piece.address.0, bytes);
    }
    Ok(world)
}

impl StacksDescription {
    /// Gives a world these stacks.
    pub(super) fn given(&self, world: World) -> World {
        let numbers = |all: &[Address]| all.iter().map(|address| address.0).collect::<Vec<u64>>();
        let world = world.stack(Space::User, numbers(&self.user));
        world.stack(Space::Kernel, numbers(&self.kernel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm::Host;
    use serde_json::json;

    fn world(pieces: Value) -> Result<World, String> {
        let json = Json { origin: "world".into(), value: Value::Null };
        let pieces: Vec<PieceDescription> =
            serde_json::from_value(pieces).map_err(|e| e.to_string())?;
        add(World::new(), &json, &pieces).map_err(|e| e.to_string())
    }

    #[test]
    fn memory_is_hex_or_text_of_the_process_or_the_kernel() {
        let world = world(json!([
            {"address": "0x1000", "text": "ab"},
            {"address": 4099, "hex": "01 02"},
            {"address": 4096, "space": "kernel", "hex": "ff"},
        ]))
        .unwrap();
        let mut user = [9; 5];
        assert!(world.read_memory(Space::User, 4096, &mut user));
        assert_eq!(user, *b"ab\0\x01\x02");
        let mut kernel = [0];
        assert!(world.read_memory(Space::Kernel, 4096, &mut kernel) && kernel == [255]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (pieces, expected) in [
            (json!([{"address": "12", "hex": ""}]), "found \"12\", expected a number"),
            (json!([{"address": 1}]), "memory[0]: expected one of"),
            (json!([{"address": 1, "hex": "", "text": ""}]), "memory[0]: expected one of"),
            (json!([{"address": 1, "hex": "0"}]), "memory[0].hex: a single hex digit"),
            (json!([{"address": u64::MAX, "hex": "0000"}]), "memory[0].address: "),
            (json!([{"address": 1, "space": "moon", "hex": ""}]), "unknown variant `moon`"),
            (json!([{"addres": 1}]), "unknown field `addres`"),
        ] {
            let error = world(pieces).expect_err("it is refused");
            assert!(error.contains(expected), "{error}");
        }
    }
}
