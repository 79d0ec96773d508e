//! What a program runs on: a packet or memory, and the fields of the context.

use super::hex::Encoding;
use super::value::Json;
use super::{file, hex};
use crate::failure::Failure;
use ebpfvm::{Context, ContextError};
use ebpfvm_spec::{ProgType, Program};
use std::path::PathBuf;

/// What a program runs on, as the options give it.
#[derive(clap::Args)]
pub(crate) struct RunInput {
    /// The packet, or the memory of a raw program; - for standard input
    #[arg(long, value_name = "FILE", visible_alias = "memory")]
    packet: Option<PathBuf>,
    /// How the packet is written in its file
    #[arg(long, value_enum, default_value = "auto")]
    encoding: Encoding,
    /// Fields of the context: a JSON object such as {"ingress_ifindex": 2}
    #[arg(long, value_name = "FILE")]
    ctx: Option<PathBuf>,
}

/// The context of a run of a program.
pub(crate) fn make(args: &RunInput, program: &Program) -> Result<Context, Failure> {
    if program.prog_type != ProgType::Raw && !Context::takes_packet(program.prog_type) {
        return Err(Failure::Input {
            file: format!("program '{}'", program.name),
            problem: ContextError::NoContext(program.prog_type.name()).to_string(),
            hint: None,
        });
    }
    let data = match &args.packet {
        Some(path) => {
            let name = file::name(path);
            hex::bytes(&name, file::read(path)?, args.encoding)?
        }
        None if program.prog_type == ProgType::Raw => Vec::new(),
        None => {
            let (name, kind) = (&program.name, program.prog_type.name());
            let problem = format!(
                "program '{name}' is of type {kind} and needs a packet: give --packet FILE \
                 (- for standard input)"
            );
            return Err(Failure::Usage(problem));
        }
    };
    let mut context = match program.prog_type {
        ProgType::Raw => Context::raw(data),
        prog_type => Context::packet(prog_type, &data).map_err(|error| match error {
            ContextError::Packet(_) => Failure::Input {
                file: args.packet.as_deref().map(file::name).unwrap_or_default(),
                problem: error.to_string(),
                hint: capture(&data).map(Into::into),
            },
            other => Failure::Usage(format!("program '{}': {other}", program.name)),
        })?,
    };
    if let Some(path) = &args.ctx {
        set_fields(&mut context, &Json::file(path)?)?;
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
    let mut set = |name: &str, value: &serde_json::Value| {
        let Some(number) = value.as_u64() else {
            let problem = format!("found {value}, expected a number from 0 or a list of such");
            return Err(json.wrong(name, problem));
        };
        context.set_field(name, number).map_err(|error| json.wrong(name, error.to_string()))
    };
    for (name, value) in fields {
        match value.as_array() {
            Some(elements) => {
                for (i, element) in elements.iter().enumerate() {
                    set(&format!("{name}[{i}]"), element)?;
                }
            }
            None => set(name, value)?,
        }
    }
    Ok(())
}
