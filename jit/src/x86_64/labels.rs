//! Places in the code, and the jumps to them in their shortest forms.
//!
//! Jumps are written in their long forms. At the end those whose target is near are made short, in
//! one sweep: code only moves together, so that what is near stays near.

use crate::masm::Label;

const UNBOUND: u32 = u32::MAX;

/// How a place is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Jump,
    /// A conditional jump, with the condition's code.
    Branch(u8),
    Call,
}

impl Way {
    /// Length of the opcode in the long form, which a displacement of 4 bytes follows.
    fn opcode_bytes(self) -> u32 {
        if matches!(self, Way::Branch(_)) { 2 } else { 1 }
    }

    fn bytes(self) -> u32 {
        self.opcode_bytes() + 4
    }
}

#[derive(Debug)]
struct Reference {
    /// Where the instruction begins.
    at: u32,
    to: Label,
    way: Way,
    is_short: bool,
}

/// The places and jumps of a program.
#[derive(Debug, Default)]
pub(super) struct Labels {
    places: Vec<u32>,
    /// In the order of their places.
    bound: Vec<Label>,
    references: Vec<Reference>,
}

impl Labels {
    pub(super) fn reserve(&mut self, count: usize) {
        self.places.resize(count, UNBOUND);
        self.bound.reserve(count);
        self.references.reserve(count);
    }

    pub(super) fn label(&mut self) -> Label {
        self.places.push(UNBOUND);
        Label(self.places.len() as u32 - 1)
    }

    /// The label is here: at the end of the code so far.
    pub(super) fn bind(&mut self, label: Label, code: &[u8]) {
        self.places[label.0 as usize] = code.len() as u32;
        self.bound.push(label);
    }

    /// Writes a jump or call.
    pub(super) fn refer(&mut self, code: &mut Vec<u8>, to: Label, way: Way) {
        self.references.push(Reference { at: code.len() as u32, to, way, is_short: false });
        match way {
            Way::Jump => code.extend_from_slice(&[0xe9, 0, 0, 0, 0]),
            Way::Call => code.extend_from_slice(&[0xe8, 0, 0, 0, 0]),
            Way::Branch(code_bits) => {
                code.extend_from_slice(&[0x0f, 0x80 | code_bits, 0, 0, 0, 0]);
            }
        }
    }

    fn place(&self, label: Label) -> u32 {
        let place = self.places[label.0 as usize];
        debug_assert_ne!(place, UNBOUND, "a jump to a place that is not there");
        place
    }

    /// Makes jumps short, and puts their displacements in. `marks` are offsets in the code, in order,
    /// that move with it.
    pub(super) fn finish<'m>(
        &mut self,
        code: &mut Vec<u8>,
        marks: impl Iterator<Item = &'m mut u32>,
    ) {
        self.squeeze(code, marks);
        for reference in &self.references {
            let (at, to) = (reference.at as usize, i64::from(self.place(reference.to)));
            if reference.is_short {
                code[at + 1] = (to - (at as i64 + 2)) as u8;
            } else {
                let end = at + reference.way.bytes() as usize;
                let distance = (to - end as i64) as i32;
                code[end - 4..end].copy_from_slice(&distance.to_le_bytes());
            }
        }
    }

    /// Moves the code together and everything that refers to offsets in it.
    fn squeeze<'m>(&mut self, code: &mut Vec<u8>, mut marks: impl Iterator<Item = &'m mut u32>) {
        let mut bound = self.bound.iter().copied().peekable();
        let mut mark = marks.next();
        let (mut from, mut to) = (0, 0);
        for reference in &mut self.references {
            let (at, gap) = (reference.at, from - to);
            while let Some(label) = bound.next_if(|label| self.places[label.0 as usize] <= at) {
                self.places[label.0 as usize] -= gap;
            }
            while let Some(offset) = mark.as_mut().filter(|offset| ***offset <= at) {
                **offset -= gap;
                mark = marks.next();
            }
            code.copy_within(from as usize..at as usize, to as usize);
            to += at - from;
            from = at + reference.way.bytes();
            let here = to as usize;
            // Places behind the jump have not moved yet: they come nearer.
            let place = self.places[reference.to.0 as usize];
            let is_near = if place > at { place - from <= 127 } else { to + 2 - place <= 128 };
            reference.at = to;
            reference.is_short = is_near && reference.way != Way::Call;
            if reference.is_short {
                code[here] = match reference.way {
                    Way::Branch(condition) => 0x70 | condition,
                    _ => 0xeb,
                };
                to += 2;
            } else {
                code.copy_within(at as usize..from as usize, here);
                to += reference.way.bytes();
            }
        }
        let gap = from - to;
        bound.for_each(|label| self.places[label.0 as usize] -= gap);
        while let Some(offset) = mark {
            *offset -= gap;
            mark = marks.next();
        }
        let end = code.len();
        code.copy_within(from as usize..end, to as usize);
        code.truncate(end - gap as usize);
    }

    /// Where each label is.
    pub(super) fn into_places(self) -> Vec<u32> {
        self.places
    }
}
