//! The maps of both sides, with what is in them before a run and after it.

use crate::draw::Draw;
use crate::generate::world::{self, world};
use crate::oracle::compiled::Setup;
use ebpfvm::host::World;
use ebpfvm::host::world::Clock;
use ebpfvm::map::{ProgArray, Ringbuf, UpdateFlags};
use ebpfvm::{Engine, Instance, MapRef, Vm};
use ebpfvm_asm::{Builder, ByteOrder, Code, Imm64, Insn, Reg};
use ebpfvm_conformance::judge::LiveJudge;
use ebpfvm_kernel::ring::RingBuffer;
use ebpfvm_kernel::{Kernel, LoadRequest, Map as KernelMap, MapRequest, Prog};
use ebpfvm_spec::{MapDef, MapType, ProgType, Program};
use ebpfvm_verifier::Options;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

/// Keys and values, in the order of the keys; of a queue, values in their order.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a run left: entries by index of the map, and records.
pub(super) type Left = (BTreeMap<usize, Entries>, Vec<Vec<u8>>);

/// Maps in each map of maps.
const INNER: usize = 2;

/// The definitions of all maps: those of the programs, and behind them those in maps of maps.
pub(super) fn defs() -> &'static [MapDef] {
    static DEFS: OnceLock<Vec<MapDef>> = OnceLock::new();
    DEFS.get_or_init(|| {
        let outer = &world().maps;
        let inner = outer.iter().filter_map(|def| def.inner.as_deref());
        let inner = inner.flat_map(|def| vec![def.clone(); INNER]);
        outer.iter().cloned().chain(inner).collect()
    })
}

/// The maps that are filled and compared when a program names some.
pub(super) fn used(code: &Code) -> BTreeSet<usize> {
    let mut used = BTreeSet::new();
    for (_, insn) in code.iter() {
        if let Insn::LoadImm {
            value: Imm64::MapIdx(i) | Imm64::MapIdxValue { index: i, .. }, ..
        } = insn
        {
            match *i as usize {
                world::ARRAYS => used.extend([world::PROGRAMS + 1, world::PROGRAMS + 2]),
                world::HASHES => used.extend([world::PROGRAMS + 3, world::PROGRAMS + 4]),
                index => drop(used.insert(index)),
            }
        }
    }
    used
}

/// What is in the maps when a program starts.
#[derive(Debug)]
pub(super) struct Contents(Vec<(usize, Vec<u8>, u64)>);

impl Contents {
    pub(super) fn draw(draw: &mut Draw<'_>) -> Contents {
        let mut contents = Vec::new();
        for (index, def) in defs().iter().enumerate() {
            let entries = match def.map_type {
                MapType::Array | MapType::PercpuArray => 0..def.max_entries,
                _ => 0..draw.below(4) as u32,
            };
            for i in entries {
                let key = match (def.map_type, def.key_bytes) {
                    (MapType::LpmTrie, _) => {
                        let bits = draw.one(&[0u32, 8, 16, 24, 32]);
                        [bits.to_ne_bytes(), i.to_ne_bytes()].concat()
                    }
                    (_, 8) => u64::from(i).to_ne_bytes().to_vec(),
                    (_, 4) => i.to_ne_bytes().to_vec(),
                    _ => Vec::new(),
                };
                let value = if draw.below(2) == 0 { draw.below(70) as u64 } else { draw.number() };
                contents.push((index, key, value));
            }
        }
        Contents(contents)
    }

    /// The entries of a map: of each the key and the value's bytes.
    fn of(&self, map: usize, bytes: usize) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        let entries = self.0.iter().filter(move |(index, ..)| *index == map);
        entries.map(move |(_, key, value)| {
            let words = (0..bytes.div_ceil(8) as u32).map(|i| value.rotate_left(7 * i));
            let mut value: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
            value.truncate(bytes);
            if map == world::LOCKED {
                value[..4].fill(0);
            }
            (&key[..], value)
        })
    }
}

/// What a map of a kind is to this oracle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Array,
    Keyed,
    List,
    Records,
    /// It is not changed.
    Fixed,
}

fn view(index: usize) -> View {
    use MapType::*;
    match defs()[index].map_type {
        _ if index == 2 => View::Fixed,
        Array | PercpuArray => View::Array,
        Hash | PercpuHash | LruHash | LpmTrie => View::Keyed,
        Queue | Stack => View::List,
        Ringbuf => View::Records,
        _ => View::Fixed,
    }
}

/// The maps of programs of one type.
pub(super) struct Stage {
    pub(super) vm: Vm,
    host: Arc<World>,
    cpus: u32,
    /// Machines that compile, by number of their setup.
    compilers: BTreeMap<usize, Vm>,
    pub(super) live: LiveJudge,
    ours: Vec<MapRef>,
    inner: Vec<KernelMap>,
    ring: RingBuffer,
    /// The program that a tail call goes to; the array does not keep it.
    _their_target: Prog,
    /// The one here, interpreted and compiled.
    targets: [Arc<Instance>; 2],
}

/// A machine that compiles.
fn compiler(host: &Arc<World>, cpus: u32, setup: Setup) -> Vm {
    Vm::linux().host(host.clone()).cpus(cpus).engine(Engine::Jit).jit(setup.options()).build()
}

impl Stage {
    pub(super) fn new(kernel: &Kernel, cpu: u32, prog_type: ProgType) -> Result<Stage, String> {
        let host = World::new().clock(Clock::starting_at(1_000_000_000)).on_cpu(cpu);
        let (host, cpus) = (Arc::new(host), kernel.possible_cpus());
        let vm = Vm::linux().host(host.clone()).cpus(cpus).engine(Engine::Interpreter).build();
        let ours: Result<Vec<_>, _> = defs().iter().map(|def| vm.create_map(def)).collect();
        let ours = ours.map_err(|e| e.to_string())?;
        let mut live = LiveJudge::new(kernel, world().maps.clone(), Some(&world().types))?;
        let mut all = Builder::new();
        for index in 0..world().maps.len() {
            all.load_imm(Reg::R1, Imm64::MapIdx(index as u32));
        }
        let all = Program::from_code("all", prog_type, all.build().unwrap_or_default());
        live.prepare(&all)?;
        let their = |index: usize| live.map(index).ok_or("a map is missing");
        let mut inner = Vec::new();
        for (i, def) in defs()[world().maps.len()..].iter().enumerate() {
            let request =
                MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries);
            let map = kernel.map_create(&request).map_err(|e| e.to_string())?;
            let (outer, key) = (world::ARRAYS + i / INNER, (i as u32 % INNER as u32).to_ne_bytes());
            let put = their(outer)?.update(&key, &map.fd().to_ne_bytes(), 0);
            put.map_err(|e| e.to_string())?;
            let our = ours[world().maps.len() + i].clone();
            ours[outer].set_inner(&key, our, UpdateFlags::ANY).map_err(|e| e.to_string())?;
            inner.push(map);
        }
        // The target of tail calls.
        let mut target = Builder::new();
        target.mov(Reg::R0, 1).exit();
        let code = target.build().map_err(|e| e.to_string())?;
        let bytes = code.to_bytes(ByteOrder::HOST).map_err(|e| e.to_string())?;
        let loaded = kernel.prog_load(&LoadRequest::new(prog_type, &bytes));
        let loaded = loaded.map_err(|e| e.to_string())?;
        let put =
            their(world::PROGRAMS)?.update(&1u32.to_ne_bytes(), &loaded.fd().to_ne_bytes(), 0);
        put.map_err(|e| e.to_string())?;
        let target = Program::from_code("target", prog_type, code);
        let verified = vm.verify(target, &Options::default()).verdict;
        let verified = verified.map_err(|e| e.to_string())?;
        let all = Setup::number(0);
        let compiler = compiler(&host, cpus, all);
        let link = |vm: &Vm| vm.link_verified(verified.clone(), &[]).map_err(|e| e.to_string());
        let targets = [link(&vm)?, link(&compiler)?];
        let compilers = [(0, compiler)].into();
        let ring = RingBuffer::new(their(world::RECORDS)?).map_err(|e| e.to_string())?;
        let _their_target = loaded;
        Ok(Stage { vm, host, cpus, compilers, live, ours, inner, ring, _their_target, targets })
    }

    /// A machine that compiles in the way with this number.
    pub(super) fn compiler(&mut self, number: usize) -> &Vm {
        let (host, cpus) = (&self.host, self.cpus);
        let make = || compiler(host, cpus, Setup::number(number));
        self.compilers.entry(number).or_insert_with(make)
    }

    /// Lets tail calls go to the interpreted (0) or compiled (1) program.
    pub(super) fn point_to_target(&self, number: usize) -> Result<(), String> {
        let target = &self.targets[number];
        let programs = self.ours[world::PROGRAMS].as_kind::<ProgArray>();
        programs.ok_or("no program array")?.set(1, target.clone()).map_err(|e| e.to_string())
    }

    /// The maps of programs, on this side.
    pub(super) fn our_maps(&self) -> &[MapRef] {
        &self.ours[..world().maps.len()]
    }

    fn their(&self, index: usize) -> Result<&KernelMap, String> {
        let inner = index.checked_sub(world().maps.len());
        let map = inner.map_or_else(|| self.live.map(index), |i| self.inner.get(i));
        map.ok_or_else(|| "a map is missing".to_string())
    }

    pub(super) fn fill_ours(
        &self,
        used: &BTreeSet<usize>,
        contents: &Contents,
    ) -> Result<(), String> {
        // A run that was given up may have left some.
        self.our_records();
        for &index in used {
            let map = &self.ours[index];
            match view(index) {
                View::Keyed => {
                    let keys: Vec<_> = map.entries().map(|(key, _)| key).collect();
                    keys.iter().try_for_each(|key| map.remove(key)).map_err(|e| e.to_string())?;
                }
                View::List => while map.take(&[]).is_ok() {},
                View::Array => {}
                View::Records | View::Fixed => continue,
            }
            for (key, value) in contents.of(index, map.host_value_bytes()) {
                map.write(key, &value, UpdateFlags::ANY).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    pub(super) fn fill_theirs(
        &mut self,
        used: &BTreeSet<usize>,
        contents: &Contents,
    ) -> Result<(), String> {
        self.ring.take_all().map_err(|e| e.to_string())?;
        for &index in used {
            let map = self.their(index)?;
            match view(index) {
                View::Keyed => {
                    for (key, _) in map.entries().map_err(|e| e.to_string())? {
                        map.delete(&key).map_err(|e| e.to_string())?;
                    }
                }
                View::List => while matches!(map.lookup_and_delete(&[]), Ok(Some(_))) {},
                View::Array => {}
                View::Records | View::Fixed => continue,
            }
            for (key, value) in contents.of(index, map.value_bytes()) {
                map.update(key, &value, 0).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    fn our_records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        if let Some(ring) = self.ours[world::RECORDS].as_kind::<Ringbuf>() {
            ring.consume(|record| records.push(record.to_vec()));
        }
        records
    }

    pub(super) fn our_contents(&self, used: &BTreeSet<usize>) -> Result<Left, String> {
        let mut maps = BTreeMap::new();
        for &index in used {
            let map = &self.ours[index];
            let mut entries: Entries = match view(index) {
                View::List => {
                    let values = std::iter::from_fn(|| map.take(&[]).ok());
                    values.map(|value| (Vec::new(), value)).collect()
                }
                View::Array | View::Keyed => map.entries().collect(),
                View::Records | View::Fixed => continue,
            };
            // Of a queue all keys are equal, and the order stays.
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            maps.insert(index, entries);
        }
        Ok((maps, self.our_records()))
    }

    pub(super) fn their_contents(&mut self, used: &BTreeSet<usize>) -> Result<Left, String> {
        let mut maps = BTreeMap::new();
        for &index in used {
            let map = self.their(index)?;
            let mut entries: Entries = match view(index) {
                View::List => {
                    let value = || map.lookup_and_delete(&[]).ok().flatten();
                    std::iter::from_fn(value).map(|value| (Vec::new(), value)).collect()
                }
                View::Array | View::Keyed => map.entries().map_err(|e| e.to_string())?,
                View::Records | View::Fixed => continue,
            };
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            maps.insert(index, entries);
        }
        let records = self.ring.take_all().map_err(|e| e.to_string())?;
        Ok((maps, records))
    }
}
