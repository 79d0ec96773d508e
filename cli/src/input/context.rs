//! What a program runs on: a packet, memory or other bytes, and the fields of the context.

use super::hex::Encoding;
use super::value::Json;
use super::{field, file, hex, socket};
use crate::failure::Failure;
use crate::model::data;
use ebpfvm::context::{Data, data_of};
use ebpfvm::{Context, ContextError, Vm};
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{FieldKind, ProgType, Program};
use serde_json::Value;
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
pub(crate) fn make(
    args: &RunInput,
    vm: &Vm,
    program: &Program,
    find: socket::Find<'_>,
) -> Result<Context, Failure> {
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
        (None, Some(Data::Xdp | Data::Skb | Data::Network | Data::Stream | Data::Message)) => {
            let (name, kind, what) =
                (&program.name, prog_type.name(), data::with_article(prog_type));
            let problem = format!(
                "program '{name}' is of type {kind} and needs {what}: give --packet FILE \
                 (- for standard input)"
            );
            return Err(Failure::Usage(problem));
        }
        (None, _) => Vec::new(),
    };
    let given = match &args.ctx {
        Some(argument) => Some(Json::argument("--ctx", argument)?),
        None => None,
    };
    let shape = match &given {
        Some(json) if prog_type == ProgType::Xdp => Shape::read(json)?,
        _ => Shape::default(),
    };
    let made = match shape.is_plain() {
        true => vm.context(prog_type, &data),
        false => {
            Context::xdp(&[&shape.metadata, &data[..]].concat(), shape.metadata.len(), shape.first)
        }
    };
    let mut context = made.map_err(|error| match error {
        ContextError::Packet(_) => Failure::Input {
            file: args.packet.as_deref().map(file::name).unwrap_or_default(),
            problem: error.to_string(),
            hint: capture(&data).map(Into::into),
        },
        other => Failure::Usage(format!("program '{}': {other}", program.name)),
    })?;
    if let Some(json) = &given {
        set_fields(&mut context, json, find)?;
    }
    Ok(context)
}

/// How an XDP packet lies in memory.
#[derive(Default)]
struct Shape {
    /// The bytes before it.
    metadata: Vec<u8>,
    /// How much of it programs see directly.
    first: Option<usize>,
}

impl Shape {
    const METADATA: &str = "metadata";
    const FIRST: &str = "first_bytes";

    fn read(json: &Json) -> Result<Shape, Failure> {
        let metadata = match json.value.get(Shape::METADATA) {
            None => Vec::new(),
            Some(value) => {
                let wrong = || format!("found {value}, expected a text or {{\"hex\": \"...\"}}");
                let bytes = field::bytes(value).unwrap_or_else(|| Err(wrong()));
                bytes.map_err(|problem| json.wrong(Shape::METADATA, problem))?
            }
        };
        let first = match json.value.get(Shape::FIRST) {
            None => None,
            Some(value) => {
                let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
                let wrong =
                    || json.wrong(Shape::FIRST, format!("found {value}, expected a number"));
                Some(number.ok_or_else(wrong)?)
            }
        };
        Ok(Shape { metadata, first })
    }

    fn is_plain(&self) -> bool {
        self.metadata.is_empty() && self.first.is_none()
    }

    fn names(name: &str, prog_type: ProgType) -> bool {
        prog_type == ProgType::Xdp && [Shape::METADATA, Shape::FIRST].contains(&name)
    }
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

/// Sets the fields that are given; sockets first, because fields show what is known of them.
fn set_fields(context: &mut Context, json: &Json, find: socket::Find<'_>) -> Result<(), Failure> {
    let Some(fields) = json.value.as_object() else {
        return Err(json.wrong("", "expected an object of fields, {\"mark\": 1}"));
    };
    let (sockets, others): (Vec<_>, Vec<_>) =
        fields.iter().partition(|(name, _)| is_pointer(context, name));
    for (name, value) in sockets {
        let given = match value {
            Value::Null => None,
            value => Some(socket::read(json, name, value, find)?),
        };
        let set = context.set_socket(name, given);
        set.map_err(|error| json.wrong(name, error.to_string()))?;
    }
    let prog_type = context.prog_type();
    for (name, value) in others.into_iter().filter(|(name, _)| !Shape::names(name, prog_type)) {
        set_field(context, json, name, value)?;
    }
    Ok(())
}

/// Whether a field takes a socket. Programs of type `cgroup_sock` have theirs as context.
fn is_pointer(context: &Context, name: &str) -> bool {
    let kind = context.def().and_then(|def| def.field(name)).map(|field| field.kind);
    match kind {
        Some(FieldKind::Pointer(pointee) | FieldKind::PointerOrNull(pointee)) => {
            !matches!(pointee, Pointee::FlowKeys | Pointee::TpBuffer)
        }
        Some(_) => false,
        None => name == "sk" && context.prog_type() == ProgType::CgroupSock,
    }
}

/// Sets what is no socket: bytes, the parts of a message, numbers.
fn set_field(context: &mut Context, json: &Json, name: &str, value: &Value) -> Result<(), Failure> {
    let wrong = |problem: String| json.wrong(name, problem);
    if name == PARTS && context.prog_type() == ProgType::SkMsg {
        let lengths = lengths(value).ok_or_else(|| {
            wrong(format!("found {value}, expected the lengths of the parts: [10, 20]"))
        })?;
        return context.divide_message(&lengths).map_err(|error| wrong(error.to_string()));
    }
    if let Some(bytes) = bytes_of(name, value) {
        let set = bytes.map(|bytes| context.set_bytes(name, &bytes));
        match set {
            // It may be a number.
            Ok(Err(ContextError::NoBytes { .. })) if !value.is_object() => {}
            Ok(set) => return set.map_err(|error| wrong(error.to_string())),
            Err(problem) => return Err(wrong(problem)),
        }
    } else if let Err(ContextError::BytesRange { .. }) | Ok(()) = context.set_bytes(name, &[]) {
        let problem = format!("found {value}, expected a text or {{\"hex\": \"...\"}}");
        return Err(wrong(problem));
    }
    let prog_type = context.prog_type();
    // A name that there is not is told before what is wrong with its value.
    if value.is_string() && alias(prog_type, name).is_none() {
        context.field(name).map_err(|error| wrong(error.to_string()))?;
    }
    let mut to = |name: &str, number: u64| {
        let name = alias(prog_type, name).unwrap_or(name);
        context.set_field(name, number).map_err(field::Refused::from)
    };
    field::set(json, name, name, value, &mut to)
}

/// The name of a field that the kernel's headers give two: the arguments of an operation are where
/// the reply goes.
fn alias(prog_type: ProgType, name: &str) -> Option<&'static str> {
    const ARGS: [(&str, &str); 4] = [
        ("args[0]", "reply"),
        ("args[1]", "replylong[0]"),
        ("args[2]", "replylong[1]"),
        ("args[3]", "replylong[2]"),
    ];
    let known = ARGS.iter().find(|(args, _)| *args == name);
    known.filter(|_| prog_type == ProgType::SockOps).map(|(_, field)| *field)
}

/// What divides a message into parts.
const PARTS: &str = "parts";

/// Bytes, of numbers of cgroups too.
fn bytes_of(name: &str, value: &Value) -> Option<Result<Vec<u8>, String>> {
    match value {
        Value::Array(numbers) if name == "cgroup_ids" => {
            let each = numbers.iter().map(|number| {
                let number = number.as_u64();
                number.map(u64::to_ne_bytes).ok_or("expected a list of numbers".to_string())
            });
            Some(each.collect::<Result<Vec<_>, _>>().map(|all| all.concat()))
        }
        value => field::bytes(value),
    }
}

fn lengths(value: &Value) -> Option<Vec<usize>> {
    let each = value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok());
    each.collect()
}
