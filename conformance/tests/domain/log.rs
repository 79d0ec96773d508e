//! The register states of the kernel's log.

use std::collections::HashMap;

/// Where the log shows a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// After the instruction with this number, executed so many times before.
    After(u32, usize),
    /// Where the path continues that a jump put aside.
    Jump(u32, u32),
}

/// A log, read.
#[derive(Default)]
pub(crate) struct Log {
    states: HashMap<Place, HashMap<u8, String>>,
    /// The complaints about contradictions, in order.
    pub(crate) complaints: Vec<String>,
}

impl Log {
    /// The register as the log shows it, without the marks of precision and of shared numbers.
    pub(crate) fn register(&self, place: Place, number: u8) -> Option<&str> {
        Some(self.states.get(&place)?.get(&number)?)
    }

    /// Whether the log shows this place.
    pub(crate) fn reaches(&self, place: Place) -> bool {
        self.states.contains_key(&place)
    }

    pub(crate) fn parse(text: &str) -> Log {
        let mut log = Log::default();
        let mut times: HashMap<u32, usize> = HashMap::new();
        // The last instruction, if no states stand in its line.
        let mut untold = None;
        for line in text.lines() {
            if let Some(what) = line.strip_prefix("verifier bug: REG INVARIANTS VIOLATION ") {
                log.complaints.push(what.into());
            }
            let Some((head, rest)) = line.split_once(':') else { continue };
            if let Some(jump) = head.strip_prefix("from ") {
                untold = None;
                let Some((from, to)) = jump.split_once(" to ") else { continue };
                let (Ok(from), Ok(to)) = (from.parse(), to.parse()) else { continue };
                log.states.entry(Place::Jump(from, to)).or_insert_with(|| registers(rest));
            } else if let Ok(pc) = head.parse::<u32>() {
                if rest.starts_with(" (") {
                    let time = times.entry(pc).or_default();
                    let place = Place::After(pc, *time);
                    *time += 1;
                    let states = registers(rest);
                    untold = states.is_empty().then_some(place);
                    log.states.insert(place, states);
                } else if let Some(place) = untold.take() {
                    // When the instruction had more to say, the states follow in a line of their
                    // own, with its number or the next one's.
                    log.states.insert(place, registers(rest));
                }
            }
        }
        log
    }
}

/// ` R0_w=0 R6=scalar(umax=7) R10=fp0`, after anything.
fn registers(text: &str) -> HashMap<u8, String> {
    let mut registers = HashMap::new();
    for (at, _) in text.match_indices(" R") {
        let Some((name, value)) = text[at + 2..].split_once('=') else { continue };
        let Ok(number) = name.trim_end_matches("_w").parse() else { continue };
        let mut depth = 0;
        let end = value.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ' ' && depth == 0
        });
        registers.insert(number, unmarked(&value[..end.unwrap_or(value.len())]));
    }
    registers
}

/// Without `P` for precise and `id=1`, `id=1+8` as the first of what stands in parentheses.
fn unmarked(value: &str) -> String {
    let value = value.strip_prefix('P').unwrap_or(value);
    let Some((kind, inner)) = value.split_once("(id=") else { return value.into() };
    let end = inner.find([',', ')']).unwrap_or(inner.len());
    let rest = &inner[end..];
    format!("{kind}({}", rest.strip_prefix(',').unwrap_or(rest))
}
