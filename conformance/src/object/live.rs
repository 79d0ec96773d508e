//! An object on the running kernel.

use super::live_map::{create, fill_section};
use super::{Contents, Input, ObjectError, Observation, SKB_FIELDS, Side, View, for_host, view};
use ebpfvm_asm::ByteOrder;
use ebpfvm_kernel::btf::BtfError;
use ebpfvm_kernel::prog::{FuncRecord, log_level};
use ebpfvm_kernel::{Btf, Kernel, LoadRequest, Map, MapError, Prog, RingBuffer, TestRun};
use ebpfvm_loader::Object;
use ebpfvm_loader::btf::write::encode_btf;
use ebpfvm_spec::map::InitialValue;
use ebpfvm_spec::{ContextDef, Field, MapDef, MapType, Platform, ProgType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object on the running kernel: its maps created and filled as libbpf does it, its programs
/// loaded and test-run, nothing attached.
#[derive(Debug)]
pub struct Live {
    kernel: Kernel,
    object: Arc<Object>,
    platform: Platform,
    defs: Vec<MapDef>,
    maps: Vec<Map>,
    /// Consumers of the ring buffers, by index of the map.
    rings: BTreeMap<usize, RingBuffer>,
    btf: Option<Btf>,
    progs: BTreeMap<String, (ProgType, Prog)>,
}

/// Room for a packet that has grown.
const PACKET_ROOM_BYTES: usize = 1 << 17;

impl Live {
    /// Creates the maps from these definitions, which are those of the object, perhaps with other
    /// capacities or other initial values of globals.
    ///
    /// # Errors
    /// The kernel refuses the types or a map, or a program that is an initial value.
    pub fn new(
        kernel: &Kernel,
        object: Arc<Object>,
        defs: Vec<MapDef>,
    ) -> Result<Live, ObjectError> {
        let mut live = Live {
            kernel: kernel.clone(),
            platform: Platform::linux(),
            btf: None,
            maps: Vec::new(),
            rings: BTreeMap::new(),
            progs: BTreeMap::new(),
            object,
            defs,
        };
        if let Some(btf) = live.object.btf() {
            let refused = |why: String| ObjectError::Map { map: ".BTF".into(), why };
            let bytes = encode_btf(btf, ByteOrder::HOST).map_err(|e| refused(e.to_string()))?;
            let loaded =
                live.kernel.btf_load(&bytes, 0).or_else(|_| live.kernel.btf_load(&bytes, 1));
            let reason = |e: BtfError| {
                let line = e.log.lines().rfind(|line| !line.trim().is_empty());
                refused(format!("{e}: {}", line.unwrap_or_default()))
            };
            live.btf = Some(loaded.map_err(reason)?);
        }
        for def in &live.defs {
            let map = create(&live.kernel, def, live.btf.as_ref())
                .map_err(|errno| ObjectError::map(&def.name, errno))?;
            live.maps.push(map);
        }
        live.fill()?;
        Ok(live)
    }

    /// Gives data sections and arrays of programs and maps their initial values.
    fn fill(&mut self) -> Result<(), ObjectError> {
        for index in 0..self.defs.len() {
            let def = self.defs[index].clone();
            let refused =
                |e: MapError| ObjectError::Map { map: def.name.clone(), why: e.to_string() };
            fill_section(&self.maps[index], &def).map_err(refused)?;
            for (key, value) in &def.values {
                let fd = match value {
                    InitialValue::Program(name) => self.prog(name)?.1.fd(),
                    InitialValue::Map(inner) => self.maps[*inner as usize].fd(),
                };
                let (key, fd) = (key.to_ne_bytes(), fd.to_ne_bytes());
                self.maps[index].update(&key, &fd, 0).map_err(refused)?;
            }
            if def.map_type == MapType::Ringbuf {
                let ring = RingBuffer::new(&self.maps[index]);
                let ring = ring.map_err(|errno| ObjectError::map(&def.name, errno))?;
                self.rings.insert(index, ring);
            }
        }
        Ok(())
    }

    fn prog(&mut self, name: &str) -> Result<&(ProgType, Prog), ObjectError> {
        if !self.progs.contains_key(name) {
            let prog = self.load_prog(name)?;
            self.progs.insert(name.into(), prog);
        }
        Ok(&self.progs[name])
    }

    fn load_prog(&self, name: &str) -> Result<(ProgType, Prog), ObjectError> {
        let program = self.object.program(name, &self.platform);
        let program = program.map_err(|e| ObjectError::program(name, e))?;
        let insns = program.code.to_bytes(ByteOrder::HOST);
        let insns = insns.map_err(|e| ObjectError::program(name, e))?;
        let fds: Vec<i32> = self.maps.iter().map(Map::fd).collect();
        // All functions or none: the kernel wants a record for each.
        let records = program
            .funcs
            .iter()
            .map(|func| Some(FuncRecord { insn_offset: func.start.0, type_id: func.type_id?.0 }));
        let records: Vec<FuncRecord> = records.collect::<Option<_>>().unwrap_or_default();
        let request = LoadRequest {
            expected_attach_type: program.attach_type,
            license: &program.license,
            flags: program.flags,
            name,
            btf: self.btf.as_ref(),
            func_info: if self.btf.is_some() { &records } else { &[] },
            fd_array: &fds,
            ..LoadRequest::new(program.prog_type, &insns)
        };
        let loaded = self.kernel.prog_load(&request).or_else(|_| {
            // A log costs more than the rest, so it is made only when there is something to read.
            self.kernel.prog_load(&LoadRequest { log_level: log_level::PATH, ..request.clone() })
        });
        let prog = loaded.map_err(|e| ObjectError::program(name, e))?;
        Ok((program.prog_type, prog))
    }

    fn index(&self, name: &str) -> Result<usize, ObjectError> {
        let missing = || ObjectError::Map { map: name.into(), why: "there is none".into() };
        self.defs.iter().position(|def| def.name == name).ok_or_else(missing)
    }

    fn contents(&mut self, index: usize) -> Result<Option<Contents>, MapError> {
        let (def, map) = (&self.defs[index], &self.maps[index]);
        Ok(match view(def) {
            View::Entries => Some(Contents::Entries(map.entries()?.into_iter().collect())),
            View::Keys => {
                let keys = map.entries()?.into_iter().map(|(key, _)| (key, Vec::new()));
                Some(Contents::Entries(keys.collect()))
            }
            View::Sequence => Some(Contents::Sequence(sequence(map)?)),
            View::Records => match self.rings.get_mut(&index) {
                Some(ring) => Some(Contents::Sequence(ring.take_all()?)),
                None => None,
            },
            View::Hidden => None,
        })
    }
}

/// The values of a queue or stack, which can only be read by taking them all: they are put back.
fn sequence(map: &Map) -> Result<Vec<Vec<u8>>, MapError> {
    let mut values = Vec::new();
    while let Some(value) = map.lookup_and_delete(&[])? {
        values.push(value);
    }
    let last_first = map.map_type() == MapType::Stack;
    for i in 0..values.len() {
        let value = &values[if last_first { values.len() - 1 - i } else { i }];
        map.update(&[], value, 0)?;
    }
    Ok(values)
}

/// The context as bytes of its layout.
struct Layout<'a>(&'a ContextDef);

impl Layout<'_> {
    /// Field, offset and size; `cb[1]` names an element.
    fn place(&self, name: &str) -> Option<(&Field, usize, usize)> {
        let (base, element) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((base, index)) => (base, Some(index.parse::<usize>().ok()?)),
            None => (name, None),
        };
        let field = self.0.field(base)?;
        Some(match element {
            Some(index) => (field, field.offset as usize + 4 * index, 4),
            None => (field, field.offset as usize, field.bytes as usize),
        })
    }

    fn set(&self, bytes: &mut [u8], name: &str, value: u32) -> Option<()> {
        let (_, at, _) = self.place(name)?;
        bytes.get_mut(at..at + 4)?.copy_from_slice(&value.to_ne_bytes());
        Some(())
    }

    fn get(&self, bytes: &[u8], name: &str) -> Option<u64> {
        let (_, at, size) = self.place(name)?;
        let mut value = [0; 8];
        value.get_mut(..size)?.copy_from_slice(bytes.get(at..at + size)?);
        Some(u64::from_le_bytes(value))
    }
}

impl Side for Live {
    fn write(&mut self, name: &str, key: &[u8], value: &[u8]) -> Result<(), ObjectError> {
        let index = self.index(name)?;
        let value = for_host(&self.defs[index], value, self.maps[index].value_bytes());
        let refused = |e: MapError| ObjectError::Map { map: name.into(), why: e.to_string() };
        self.maps[index].update(key, &value, 0).map_err(refused)
    }

    fn remove(&mut self, name: &str, key: &[u8]) -> Result<(), ObjectError> {
        let refused = |e: MapError| ObjectError::Map { map: name.into(), why: e.to_string() };
        self.maps[self.index(name)?].delete(key).map_err(refused)
    }

    fn load(&mut self, program: &str) -> Result<(), ObjectError> {
        self.prog(program).map(drop)
    }

    fn run(&mut self, program: &str, input: &Input) -> Result<Observation, ObjectError> {
        let no_context = || ObjectError::Input("the program type takes no packet".into());
        let prog_type = self.prog(program)?.0;
        let def = self.platform.prog_type(prog_type).and_then(|t| t.context.clone());
        let def = def.ok_or_else(no_context)?;
        let layout = Layout(&def);
        let mut context = vec![0; def.bytes as usize];
        if prog_type == ProgType::Xdp {
            // All of the packet in one piece.
            let bytes = input.packet.len() as u32;
            layout.set(&mut context, "data_end", bytes).ok_or_else(no_context)?;
        }
        for (field, value) in &input.fields {
            let unknown = || ObjectError::Input(format!("there is no field {field}"));
            layout.set(&mut context, field, *value).ok_or_else(unknown)?;
        }
        let run = TestRun {
            data_in: &input.packet,
            data_out_capacity: PACKET_ROOM_BYTES,
            ctx_in: &context,
            ctx_out_capacity: context.len(),
            ..TestRun::default()
        };
        let result = self.prog(program)?.1.test_run(&run);
        let result = result.map_err(|errno| ObjectError::Input(errno.to_string()))?;
        let mut observed = Observation {
            retval: result.retval,
            packet: result.data_out,
            ..Observation::default()
        };
        let names = match prog_type {
            ProgType::Xdp => &["data", "data_end"],
            _ => SKB_FIELDS,
        };
        for name in names {
            let value = layout.get(&result.ctx_out, name).ok_or_else(no_context)?;
            observed.context.insert((*name).into(), value);
        }
        for index in 0..self.defs.len() {
            let name = self.defs[index].name.clone();
            let refused = |e: MapError| ObjectError::Map { map: name.clone(), why: e.to_string() };
            if let Some(contents) = self.contents(index).map_err(refused)? {
                observed.maps.insert(name, contents);
            }
        }
        Ok(observed)
    }
}
