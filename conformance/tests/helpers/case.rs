//! Cases as text: what they say, and the program that they stand for.

use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Code};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{MapType, ProgType};
use std::fmt;

/// The results that a program can record, 8 bytes each.
pub(crate) const RESULTS: usize = 64;

/// A program and what it runs on.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) prog_type: ProgType,
    pub(crate) packet: Vec<u8>,
    /// Kind, key size, value size, entries; they follow the map of results and the text.
    pub(crate) maps: Vec<(MapType, u32, u32, u32)>,
    /// Number of the map, key and value of entries that the host makes.
    pub(crate) entries: Vec<(usize, Vec<u8>, Vec<u8>)>,
    /// The read-only map: zero-terminated strings.
    pub(crate) text: Vec<u8>,
    source: String,
    saved: usize,
}

/// What a run gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) retval: u32,
    /// As many as the program records.
    pub(crate) results: Vec<u64>,
    /// None where the test-run does not show all of it.
    pub(crate) packet: Option<Vec<u8>>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "retval {:#x}", self.retval)?;
        for (i, value) in self.results.iter().enumerate() {
            match *value as i64 {
                error @ -4095..0 => writeln!(f, "{i}: {error}")?,
                _ => writeln!(f, "{i}: {value:#x}")?,
            }
        }
        if let Some(packet) = &self.packet {
            // Long runs of zeros, as growing leaves them, in short.
            for line in packet.chunks(32) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(f, "packet {hex}")?;
            }
        }
        Ok(())
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn packet(name: &str) -> Vec<u8> {
    const MAC: &str = "020000000001 020000000002";
    const IP4_TCP: &str = "45000034 12344000 4006 0000 c0a80001 0a000002";
    const TCP: &str = "c0000050 00000001 00000002 80100200 abcd0000 0101080a 0000000a 0000000b";
    let bytes = match name {
        "tcp4" => format!("{MAC} 0800 {IP4_TCP} {TCP}"),
        "udp4" => format!(
            "{MAC} 0800 4500001e 00010000 4011 ffff c0a80001 0a000002 10000035 000a 1234 6869"
        ),
        "udp6" => format!(
            "{MAC} 86dd 60000000 0010 11 40 20010db8000000000000000000000001 \
             20010db8000000000000000000000002 10000035 0010 1234 6869206869206868"
        ),
        "arp" => "ffffffffffff 020000000002 0806 0001080006040001 020000000002 c0a80001 \
                  000000000000 c0a80002"
            .into(),
        "vlan" => {
            format!("{MAC} 8100 0064 0800 45020034 12344000 4006 7c22 c0a80001 0a000002 {TCP}")
        }
        "qinq" => format!("{MAC} 88a8 0065 8100 2064 0800 {IP4_TCP} {TCP}"),
        other => panic!("no packet {other}"),
    };
    hex(&bytes)
}

fn number(text: &str) -> i64 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.unwrap_or_else(|e| panic!("{text}: {e}")) as i64;
    if negative { -value } else { value }
}

/// A quoted string with `\n`, `\t` and `\xHH`.
fn unquote(text: &str) -> Vec<u8> {
    let inner = text.trim().trim_matches('"');
    let mut out = Vec::new();
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'x') => {
                out.extend(hex(&bytes.by_ref().take(2).map(char::from).collect::<String>()))
            }
            other => panic!("escape {other:?} in {text}"),
        }
    }
    out
}

/// Puts an argument into a register.
fn load(register: usize, argument: &str) -> String {
    let (kind, rest) = argument.split_once(':').unwrap_or((argument, ""));
    match kind {
        "ctx" => format!("r{register} = r6\n"),
        "map" => format!("r{register} = map[idx:{rest}]\n"),
        "text" => format!("r{register} = map[idx:1][0]+{rest}\n"),
        _ => match argument.strip_prefix("fp") {
            Some(offset) => format!("r{register} = r10\nr{register} += {offset}\n"),
            None => match number(argument) {
                value if i32::try_from(value).is_ok() => format!("r{register} = {value}\n"),
                value => format!("r{register} = {value:#x} ll\n"),
            },
        },
    }
}

impl Case {
    pub(crate) fn parse_all(text: &str) -> Vec<Case> {
        text.split("\n=== ").skip(1).map(Case::parse).collect()
    }

    fn parse(text: &str) -> Case {
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        let name = lines.next().unwrap_or_default().to_string();
        let head: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let prog_type = ProgType::ALL.iter().find(|t| t.name() == head[0]);
        let mut case = Case {
            prog_type: *prog_type.unwrap_or_else(|| panic!("{name}: type {}", head[0])),
            packet: packet(head[1]),
            name,
            maps: Vec::new(),
            entries: Vec::new(),
            text: Vec::new(),
            source: "r6 = r1\nr9 = map[idx:0][0]+0\n".into(),
            saved: 0,
        };
        lines.for_each(|line| case.line(line));
        if !case.source.ends_with("exit\n") {
            case.source.push_str("r0 = 0\nexit\n");
        }
        case
    }

    fn save(&mut self) {
        assert!(self.saved < RESULTS, "{}: too many results", self.name);
        self.source += &format!("*(u64 *)(r9 + {}) = r0\n", 8 * self.saved);
        self.saved += 1;
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match (words[0], &words[1..]) {
            ("text", _) => {
                self.text.extend(unquote(&line[4..]));
                self.text.push(0);
            }
            ("map", [kind, key, value, entries]) => {
                let kind = MapType::ALL.iter().find(|t| t.name() == *kind);
                let kind = *kind.unwrap_or_else(|| panic!("{}: {line}", self.name));
                let number = |text: &str| number(text) as u32;
                self.maps.push((kind, number(key), number(value), number(entries)));
            }
            ("entry", [map, key, value]) => {
                self.entries.push((number(map) as usize, hex(key), hex(value)));
            }
            ("set", [place, value]) => {
                let place = &place[2..];
                let value = number(value);
                self.source += &format!("r0 = {value:#x} ll\n*(u64 *)(r10 + {place}) = r0\n");
            }
            ("get", [place]) => {
                self.source += &format!("r0 = *(u64 *)(r10 + {})\n", &place[2..]);
                self.save();
            }
            ("field", [offset]) => {
                self.source += &format!("r0 = *(u32 *)(r6 + {offset})\n");
                self.save();
            }
            ("|", ["save"]) => self.save(),
            ("|", _) => self.source += &format!("{}\n", &line[2..]),
            (helper, arguments) => {
                let name = helper.trim_start_matches('!');
                let proto = HELPERS.iter().find(|proto| proto.name == name);
                let id = proto.unwrap_or_else(|| panic!("{}: {line}", self.name)).id;
                for (i, argument) in arguments.iter().enumerate() {
                    self.source += &load(i + 1, argument);
                }
                self.source += &format!("call {id}\n");
                if name == helper {
                    self.save();
                }
            }
        }
    }

    /// The program.
    pub(crate) fn code(&self) -> Code {
        let code = assemble(&self.source.replace("+ -", "- "), Dialect::PseudoC);
        code.unwrap_or_else(|e| panic!("{}: {e}\n{}", self.name, self.source))
    }

    /// The program as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.code().to_bytes(ByteOrder::HOST).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// The results that the program has recorded, from the value of its map.
    pub(crate) fn results(&self, value: &[u8]) -> Vec<u64> {
        let words = value.as_chunks::<8>().0.iter();
        words.take(self.saved).map(|word| u64::from_ne_bytes(*word)).collect()
    }

    /// Whether the packet that comes out is all of it.
    pub(crate) fn shows_packet(&self) -> bool {
        matches!(self.prog_type, ProgType::Xdp | ProgType::SchedCls)
    }
}
