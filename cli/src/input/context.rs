//! What a program runs on: a packet, memory or other bytes, and the fields of the context.

use super::hex::Encoding;
use super::value::Json;
use super::{file, hex};
use crate::failure::Failure;
use ebpfvm::context::{Data, data_of};
use ebpfvm::{Context, ContextError, Vm};
use ebpfvm_spec::{ProgType, Program};
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;

/// What a program runs on, as the options give it.
#[derive(clap::Args)]
pub(crate) struct RunInput {
    /// The packet; of other programs the memory, message, option value, registers, record or
    /// argument; - for standard input
    #[arg(long, value_name = "FILE", visible_aliases = ["memory", "data"])]
    packet: Option<PathBuf>,
    /// How the packet is written in its file
    #[arg(long, value_enum, default_value = "auto")]
    encoding: Encoding,
    /// Fields of the context: a JSON object such as {"ingress_ifindex": 2}, or a file with one
    #[arg(long, value_name = "JSON")]
    ctx: Option<String>,
}

/// The context of a run of a program.
pub(crate) fn make(args: &RunInput, vm: &Vm, program: &Program) -> Result<Context, Failure> {
    let prog_type = program.prog_type;
    let kind = match (prog_type, data_of(prog_type)) {
        (ProgType::Raw, _) => None,
        (_, Some(kind)) => Some(kind),
        (_, None) => {
            return Err(Failure::Input {
                file: format!("program '{}'", program.name),
                problem: ContextError::NoContext(prog_type.name()).to_string(),
                hint: None,
            });
        }
    };
    let data = match (&args.packet, kind) {
        (Some(path), _) => {
            let name = file::name(path);
            hex::bytes(&name, file::read(path)?, args.encoding)?
        }
        (None, Some(Data::Xdp | Data::Skb)) => {
            let (name, kind) = (&program.name, prog_type.name());
            let problem = format!(
                "program '{name}' is of type {kind} and needs a packet: give --packet FILE \
                 (- for standard input)"
            );
            return Err(Failure::Usage(problem));
        }
        (None, _) => Vec::new(),
    };
    let mut context = vm.context(prog_type, &data).map_err(|error| match error {
        ContextError::Packet(_) => Failure::Input {
            file: args.packet.as_deref().map(file::name).unwrap_or_default(),
            problem: error.to_string(),
            hint: capture(&data).map(Into::into),
        },
        other => Failure::Usage(format!("program '{}': {other}", program.name)),
    })?;
    if let Some(argument) = &args.ctx {
        set_fields(&mut context, &Json::argument("--ctx", argument)?)?;
    }
    Ok(context)
}

/// Whether bytes are a whole capture.
fn capture(data: &[u8]) -> Option<&'static str> {
    const MAGIC: [[u8; 4]; 5] = [
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x0a, 0x0d, 0x0d, 0x0a],
    ];
    let found = MAGIC.iter().any(|magic| data.starts_with(magic));
    found.then_some("this is a capture file (pcap); give one packet without the capture's headers")
}

fn set_fields(context: &mut Context, json: &Json) -> Result<(), Failure> {
    let Some(fields) = json.value.as_object() else {
        return Err(json.wrong("", "expected an object of fields, {\"mark\": 1}"));
    };
    for (name, value) in fields {
        set_field(context, json, name, value)?;
    }
    Ok(())
}

/// Sets one field: a number, a list of numbers for an array, an IP address.
fn set_field(context: &mut Context, json: &Json, name: &str, value: &Value) -> Result<(), Failure> {
    let mut set = |name: &str, number: u64| {
        context.set_field(name, number).map_err(|error| json.wrong(name, error.to_string()))
    };
    match value {
        Value::Array(elements) => {
            for (i, element) in elements.iter().enumerate() {
                set_field(context, json, &format!("{name}[{i}]"), element)?;
            }
            Ok(())
        }
        Value::String(text) => {
            // Fields of addresses hold them in network order.
            let word = |octets: [u8; 4]| u64::from(u32::from_ne_bytes(octets));
            match text.parse() {
                Ok(IpAddr::V4(ip)) => return set(name, word(ip.octets())),
                Ok(IpAddr::V6(ip)) => {
                    let words = ip.octets();
                    let words = words.as_chunks().0.iter().enumerate();
                    return words
                        .map(|(i, octets)| set(&format!("{name}[{i}]"), word(*octets)))
                        .collect();
                }
                Err(_) => {}
            }
            let digits = text.strip_prefix("0x").unwrap_or_default();
            match u64::from_str_radix(digits, 16) {
                Ok(number) => set(name, number),
                Err(_) => Err(json.wrong(name, format!("found {value}, expected {NUMBER}"))),
            }
        }
        _ => match value.as_u64() {
            Some(number) => set(name, number),
            None => Err(json.wrong(name, format!("found {value}, expected {NUMBER}"))),
        },
    }
}

const NUMBER: &str = "a number from 0, a list of such, \"0x\" and hex digits, or an IP address";
