//! The coarsest partition of the nodes of a graph such that nodes of one class have edges of the
//! same labels into the same classes.
//!
//! This is the minimisation of a partial deterministic automaton as A. Valmari describes it ("Fast
//! brief practical DFA minimization", Information Processing Letters 112, 2012): two partitions, of
//! nodes into classes and of edges into bundles, split each other until neither changes; of two
//! halves the smaller is looked at again, hence O(edges x log nodes) steps whatever the graph.

/// An edge. Edges out of one node have different labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) label: u32,
    pub(super) to: u32,
}

/// Elements `0..n` in disjoint sets, which can be split by marking elements.
struct Partition {
    /// The elements, those of one set side by side.
    elements: Vec<u32>,
    /// Where each element is in `elements`.
    place: Vec<u32>,
    set_of: Vec<u32>,
    /// Start and end of each set in `elements`.
    first: Vec<u32>,
    end: Vec<u32>,
    /// How many elements of the set, its first ones, are marked.
    marked: Vec<u32>,
    touched: Vec<u32>,
}

impl Partition {
    /// The elements with equal keys are together; keys may be any.
    fn by_key(keys: &[u32]) -> Partition {
        let mut elements: Vec<u32> = (0..keys.len() as u32).collect();
        elements.sort_by_key(|e| keys[*e as usize]);
        let mut p = Partition {
            place: vec![0; keys.len()],
            set_of: vec![0; keys.len()],
            elements,
            first: Vec::new(),
            end: Vec::new(),
            marked: Vec::new(),
            touched: Vec::new(),
        };
        for i in 0..p.elements.len() {
            let e = p.elements[i] as usize;
            if i == 0 || keys[p.elements[i - 1] as usize] != keys[e] {
                p.open(i as u32, i as u32);
            }
            p.place[e] = i as u32;
            p.set_of[e] = p.first.len() as u32 - 1;
            *p.end.last_mut().expect("a set was opened for the first element") += 1;
        }
        p
    }

    fn open(&mut self, first: u32, end: u32) {
        self.first.push(first);
        self.end.push(end);
        self.marked.push(0);
    }

    fn sets(&self) -> usize {
        self.first.len()
    }

    fn set(&self, set: usize) -> std::ops::Range<usize> {
        self.first[set] as usize..self.end[set] as usize
    }

    fn mark(&mut self, element: u32) {
        let set = self.set_of[element as usize] as usize;
        let at = self.place[element as usize];
        let to = self.first[set] + self.marked[set];
        if at < to {
            return;
        }
        let other = self.elements[to as usize];
        self.elements.swap(at as usize, to as usize);
        self.place[other as usize] = at;
        self.place[element as usize] = to;
        if self.marked[set] == 0 {
            self.touched.push(set as u32);
        }
        self.marked[set] += 1;
    }

    /// Makes a set of its own of the smaller part, marked or not, of each touched set.
    fn split(&mut self) {
        while let Some(set) = self.touched.pop() {
            let set = set as usize;
            let (first, end) = (self.first[set], self.end[set]);
            let middle = first + std::mem::take(&mut self.marked[set]);
            if middle == end {
                continue;
            }
            let new = self.sets() as u32;
            if middle - first <= end - middle {
                self.open(first, middle);
                self.first[set] = middle;
            } else {
                self.open(middle, end);
                self.end[set] = middle;
            }
            for i in self.set(new as usize) {
                self.set_of[self.elements[i] as usize] = new;
            }
        }
    }
}

/// The class of each node. Nodes with different keys are never together.
pub(super) fn classes(keys: &[u32], edges: &[Edge]) -> Vec<u32> {
    let mut nodes = Partition::by_key(keys);
    let labels: Vec<u32> = edges.iter().map(|e| e.label).collect();
    let mut bundles = Partition::by_key(&labels);
    let incoming = Incoming::new(keys.len(), edges);

    // The edges into the first class are those that go into no other.
    let (mut class, mut bundle) = (1, 0);
    while bundle < bundles.sets() {
        for i in bundles.set(bundle) {
            nodes.mark(edges[bundles.elements[i] as usize].from);
        }
        nodes.split();
        bundle += 1;
        while class < nodes.sets() {
            for i in nodes.set(class) {
                for edge in incoming.of(nodes.elements[i]) {
                    bundles.mark(*edge);
                }
            }
            bundles.split();
            class += 1;
        }
    }
    nodes.set_of
}

/// The edges by the node that they lead to.
struct Incoming {
    edges: Vec<u32>,
    /// Where those of each node start in `edges`, and the end.
    starts: Vec<u32>,
}

impl Incoming {
    fn new(nodes: usize, edges: &[Edge]) -> Incoming {
        let mut starts = vec![0; nodes + 1];
        for e in edges {
            starts[e.to as usize + 1] += 1;
        }
        for i in 0..nodes {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut sorted = vec![0; edges.len()];
        for (i, e) in (0..).zip(edges) {
            let place = &mut next[e.to as usize];
            sorted[*place as usize] = i;
            *place += 1;
        }
        Incoming { edges: sorted, starts }
    }

    fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.edges[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// The definition, round by round.
    fn slow(keys: &[u32], edges: &[Edge]) -> Vec<u32> {
        let mut classes = keys.to_vec();
        loop {
            let mut numbers = HashMap::new();
            let next: Vec<u32> = (0..keys.len())
                .map(|n| {
                    let mut out: Vec<(u32, u32)> = edges
                        .iter()
                        .filter(|e| e.from as usize == n)
                        .map(|e| (e.label, classes[e.to as usize]))
                        .collect();
                    out.sort_unstable();
                    let new = numbers.len() as u32;
                    *numbers.entry((classes[n], out)).or_insert(new)
                })
                .collect();
            let count = |c: &[u32]| c.iter().collect::<std::collections::HashSet<_>>().len();
            let done = count(&next) == count(&classes);
            classes = next;
            if done {
                return classes;
            }
        }
    }

    fn same_partition(a: &[u32], b: &[u32]) -> bool {
        let (mut to, mut from) = (HashMap::new(), HashMap::new());
        a.iter()
            .zip(b)
            .all(|(a, b)| to.entry(a).or_insert(b) == &b && from.entry(b).or_insert(a) == &a)
    }

    #[test]
    fn cycles_are_told_apart_by_what_hangs_on_them() {
        // Two rings of three; a node of the second has another key.
        let ring =
            |at: u32| (0..3).map(move |i| Edge { from: at + i, label: 0, to: at + (i + 1) % 3 });
        let edges: Vec<Edge> = ring(0).chain(ring(3)).collect();
        let all_same = classes(&[0; 6], &edges);
        assert!(all_same.iter().all(|c| *c == all_same[0]));
        let told = classes(&[0, 0, 0, 0, 0, 1], &edges);
        assert!(same_partition(&told, &[0, 0, 0, 1, 2, 3]));
    }

    proptest! {
        #[test]
        fn classes_are_those_of_the_definition(
            keys in prop::collection::vec(0u32..3, 1..24),
            ends in prop::collection::vec((any::<prop::sample::Index>(), 0u32..3, any::<prop::sample::Index>()), 0..48),
        ) {
            let mut edges: Vec<Edge> = ends
                .iter()
                .map(|(from, label, to)| Edge {
                    from: from.index(keys.len()) as u32,
                    label: *label,
                    to: to.index(keys.len()) as u32,
                })
                .collect();
            edges.sort_by_key(|e| (e.from, e.label));
            edges.dedup_by_key(|e| (e.from, e.label));
            prop_assert!(same_partition(&classes(&keys, &edges), &slow(&keys, &edges)));
        }
    }
}
