//! The optimiser: passes between verdict and emission, each a function on a [`Unit`].
//!
//! Every pass keeps what a program does: results, memory, calls in their order, and where it traps.
//! Fuel is counted as before, by edge and call. A pass may be switched off by its name.

mod address;
mod bits;
mod branches;
mod dead;
mod defer;
mod divide;
mod extend;
mod forward;
mod frame;
mod fuse;
mod guards;
mod hoist;
mod kinds;
mod local;
mod order;
mod parts;
mod rotate;
#[cfg(test)]
pub(crate) mod same;
mod select;
mod simplify;
mod sink;
mod slots;
mod unroll;
mod values;
mod wide;

use crate::ir::Unit;
use ebpfvm_verifier::Facts;
use std::fmt;

/// What passes may ask.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What the verifier found out; none for programs that are checked.
    pub facts: Option<&'a Facts>,
    /// Whether [`Reg::SPARE`](crate::ir::Reg::SPARE) is free. Fuel is not counted then: what edges
    /// cost does not matter.
    pub has_spare: bool,
}

/// A pass.
pub struct Pass {
    /// Its name, for switching it off.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Does it.
    pub run: fn(&mut Unit, &Given<'_>),
}

/// The passes, in the order in which they run. A name may occur more than once.
pub const PASSES: &[Pass] = &[
    Pass { name: "branches", about: "branches that go one way, dead blocks", run: branches::first },
    Pass { name: "values", about: "constants and copies for what computes them", run: values::run },
    Pass {
        name: "dead",
        about: "results that nobody reads, stores that nobody loads",
        run: dead::run,
    },
    Pass { name: "extend", about: "extensions and masks that change nothing", run: extend::run },
    Pass { name: "slots", about: "what is on the stack from registers", run: slots::run },
    Pass { name: "address", about: "sums folded into addresses", run: address::run },
    Pass { name: "divide", about: "multiplications for divisions by constants", run: divide::run },
    Pass { name: "hoist", about: "what a loop does not change, before it", run: hoist::run },
    Pass { name: "unroll", about: "several rounds of small loops at once", run: unroll::run },
    Pass { name: "guards", about: "checks of many accesses at once", run: guards::run },
    Pass { name: "rotate", about: "rotates from shifts", run: rotate::run },
    Pass { name: "wide", about: "wide loads and stores from narrow ones", run: wide::run },
    Pass { name: "bits", about: "bit fields and tests of bits", run: bits::run },
    Pass { name: "select", about: "conditional moves", run: select::run },
    Pass { name: "values", about: "constants and copies for what computes them", run: values::run },
    Pass { name: "defer", about: "sums in place done by the only address", run: defer::run },
    Pass { name: "sink", about: "what only the way out of a loop needs, onto it", run: sink::run },
    Pass { name: "fuse", about: "operands in memory", run: fuse::run },
    Pass {
        name: "dead",
        about: "results that nobody reads, stores that nobody loads",
        run: dead::run,
    },
    Pass { name: "branches", about: "branches that go one way, dead blocks", run: branches::run },
    Pass { name: "order", about: "blocks where control falls through into them", run: order::run },
];

/// Runs the passes that are in the set.
pub fn run(unit: &mut Unit, given: &Given<'_>, passes: Passes) {
    run_each(unit, given, passes, |_, _| {});
}

/// As [`run`]; `see` is told of each pass that has run, by its place, with the blocks after it.
pub fn run_each(
    unit: &mut Unit,
    given: &Given<'_>,
    passes: Passes,
    mut see: impl FnMut(usize, &Unit),
) {
    unit.share(true);
    for (place, pass) in PASSES.iter().enumerate().filter(|(place, _)| passes.0 >> place & 1 != 0) {
        (pass.run)(unit, given);
        unit.settle();
        see(place, unit);
    }
    unit.share(false);
}

/// As [`run_each`]; `see` is told what the blocks were before each pass, too.
pub fn run_seen(
    unit: &mut Unit,
    given: &Given<'_>,
    passes: Passes,
    mut see: impl FnMut(usize, &Unit, &Unit),
) {
    let mut before = unit.clone();
    run_each(unit, given, passes, |place, after| {
        see(place, &before, after);
        before.clone_from(after);
    });
}

/// Makes all ways free, where nobody counts fuel: passes may then join blocks across them.
pub fn forget_costs(unit: &mut Unit) {
    for block in &mut unit.blocks {
        block.end.edges_mut().for_each(|edge| edge.cost = 0);
    }
}

/// A set of passes, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Passes(u64);

const _: () = assert!(PASSES.len() <= 64, "a set has 64 bits");

impl Passes {
    /// All of them.
    pub const ALL: Passes = Passes(u64::MAX);
    /// None: programs are compiled as they are.
    pub const NONE: Passes = Passes(0);

    /// The bits of a name: one for each place in the order.
    fn bits(name: &str) -> u64 {
        let places = PASSES.iter().enumerate().filter(|(_, pass)| pass.name == name);
        places.fold(0, |bits, (place, _)| bits | 1 << place)
    }

    fn named(name: &str) -> Result<u64, UnknownPass> {
        match Passes::bits(name) {
            0 => Err(UnknownPass(name.to_owned())),
            bits => Ok(bits),
        }
    }

    /// Only this pass.
    ///
    /// # Errors
    /// [`UnknownPass`]
    pub fn only(name: &str) -> Result<Passes, UnknownPass> {
        Passes::named(name).map(Passes)
    }

    /// With this pass too.
    ///
    /// # Errors
    /// [`UnknownPass`]
    pub fn with(self, name: &str) -> Result<Passes, UnknownPass> {
        Passes::named(name).map(|bits| Passes(self.0 | bits))
    }

    /// Without this pass.
    ///
    /// # Errors
    /// [`UnknownPass`]
    pub fn without(self, name: &str) -> Result<Passes, UnknownPass> {
        Passes::named(name).map(|bits| Passes(self.0 & !bits))
    }

    /// Whether the pass is in the set.
    pub fn has(self, name: &str) -> bool {
        self.0 & Passes::bits(name) != 0
    }

    /// The names of all passes, each once, in the order in which they run first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let is_first = |(place, pass): &(usize, &Pass)| {
            PASSES.iter().position(|other| other.name == pass.name) == Some(*place)
        };
        PASSES.iter().enumerate().filter(is_first).map(|(_, pass)| pass.name)
    }
}

impl Default for Passes {
    fn default() -> Passes {
        Passes::ALL
    }
}

/// `all`, `none`, or names with commas between them; names with a minus before them are taken out of
/// all.
impl std::str::FromStr for Passes {
    type Err = UnknownPass;

    fn from_str(text: &str) -> Result<Passes, UnknownPass> {
        match text {
            "all" => return Ok(Passes::ALL),
            "none" => return Ok(Passes::NONE),
            _ => {}
        }
        let start = if text.starts_with('-') { Passes::ALL } else { Passes::NONE };
        text.split(',').map(str::trim).try_fold(start, |set, name| match name.strip_prefix('-') {
            Some(name) => set.without(name),
            None => set.with(name),
        })
    }
}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Passes::names().filter(|name| self.has(name)).collect();
        match names.len() {
            0 => f.write_str("none"),
            all if all == Passes::names().count() => f.write_str("all"),
            _ => f.write_str(&names.join(",")),
        }
    }
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passes({self})")
    }
}

/// There is no pass of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no pass {0:?}; there are {names}, all and none", names = Passes::names().collect::<Vec<_>>().join(", "))]
pub struct UnknownPass(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_passes_together_keep_what_programs_do() {
        same::keeps_meaning(&|unit, given| run(unit, given, Passes::ALL));
    }

    /// The table of `docs/jit.md`. `EBPFVM_BLESS=1` writes it anew.
    #[test]
    fn the_guide_has_all_passes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/jit.md");
        let text = std::fs::read_to_string(path).expect("the guide");
        let (before, rest) = text.split_once("opt -->\n").expect("where the table begins");
        let (_, after) = rest.split_once("<!-- end").expect("where it ends");
        let rows: String =
            PASSES.iter().map(|pass| format!("| `{}` | {} |\n", pass.name, pass.about)).collect();
        let written = format!("{before}opt -->\n| Pass | For |\n|---|---|\n{rows}<!-- end{after}");
        if std::env::var_os("EBPFVM_BLESS").is_some() {
            std::fs::write(path, &written).expect("the guide can be written");
            return;
        }
        assert!(text == written, "docs/jit.md differs; EBPFVM_BLESS=1 writes it anew");
    }

    #[test]
    fn sets_of_passes_are_read_as_they_are_written() {
        let all: Vec<&str> = Passes::names().collect();
        assert_eq!("all".parse(), Ok(Passes::ALL));
        assert_eq!("none".parse(), Ok(Passes::NONE));
        assert_eq!(Passes::NONE.to_string(), "none");
        assert_eq!(Passes::ALL.to_string(), "all");
        for name in &all {
            let only = Passes::only(name).expect("a pass");
            assert_eq!((only.to_string(), name.parse()), (name.to_string(), Ok(only)));
            let without = Passes::ALL.without(name).expect("a pass");
            assert_eq!(format!("-{name}").parse(), Ok(without));
            assert!(only.has(name) && !without.has(name));
        }
        let error = "ghost".parse::<Passes>().expect_err("no such pass").to_string();
        assert!(all.iter().all(|name| error.contains(name)) && error.contains("ghost"));
    }
}
