//! The running kernel as a judge.

use super::Judged;
use crate::object::create_map;
use ebpfvm_asm::{ByteOrder, Imm64, Insn};
use ebpfvm_kernel::prog::{FuncRecord, LineRecord, log_level};
use ebpfvm_kernel::{Btf, Kernel, LoadRequest, Map, Prog, VerifierStats};
use ebpfvm_loader::encode_btf;
use ebpfvm_spec::{MapDef, Program, btf};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kernel with the maps and types of one object or one set of cases, which are made when a
/// program first needs them.
#[derive(Debug)]
pub struct LiveJudge {
    kernel: Kernel,
    maps: Arc<[MapDef]>,
    /// By index in `maps`.
    live_maps: BTreeMap<usize, Map>,
    types: Option<Types>,
}

#[derive(Debug)]
struct Types {
    btf: Btf,
    /// Where each string of the types lies, for the records of source lines.
    strings: HashMap<String, u32>,
}

impl LiveJudge {
    /// A judge of programs with these maps and types.
    ///
    /// # Errors
    /// The kernel refuses the types.
    pub fn new(
        kernel: &Kernel,
        maps: Arc<[MapDef]>,
        types: Option<&btf::Btf>,
    ) -> Result<LiveJudge, String> {
        let types = types.map(|types| Types::load(kernel, types)).transpose()?;
        Ok(LiveJudge { kernel: kernel.clone(), maps, live_maps: BTreeMap::new(), types })
    }

    /// Loads a program, at a log level of `bpf()`, and tells what the kernel says.
    ///
    /// # Errors
    /// The program cannot be encoded, or a map that it uses cannot be made.
    pub fn judge(&mut self, program: &Program, level: u32) -> Result<Judged, String> {
        Ok(self.load(program, level)?.0)
    }

    /// As [`LiveJudge::judge`], with the program if it was accepted. A refusal before verification
    /// has no message.
    ///
    /// # Errors
    /// As [`LiveJudge::judge`].
    pub fn load(
        &mut self,
        program: &Program,
        level: u32,
    ) -> Result<(Judged, Option<Prog>), String> {
        let insns = program.code.to_bytes(ByteOrder::HOST).map_err(|e| e.to_string())?;
        let fds = self.fds(program)?;
        let records = self.types.as_ref().map(|types| types.records(program)).unwrap_or_default();
        let request = LoadRequest {
            expected_attach_type: program.attach_type,
            license: &program.license,
            flags: program.flags,
            log_level: level,
            name: &program.name,
            btf: self.types.as_ref().map(|types| &types.btf),
            func_info: &records.0,
            line_info: &records.1,
            fd_array: &fds,
            ..LoadRequest::new(program.prog_type, &insns)
        };
        let start = Instant::now();
        let loaded = self.kernel.prog_load(&request);
        let took = start.elapsed();
        let (message, log, prog) = match loaded {
            Ok(prog) => (String::new(), prog.log().to_string(), Some(prog)),
            Err(error) => (error.reason().unwrap_or_default().to_string(), error.log, None),
        };
        let stats = VerifierStats::parse(&log);
        let time = stats.as_ref().and_then(|stats| stats.time_us).map(Duration::from_micros);
        let judged = Judged {
            accepted: prog.is_some(),
            unsupported: false,
            message,
            code: None,
            processed: stats.map(|stats| stats.processed_insns.into()),
            time: time.unwrap_or(took),
            log,
        };
        Ok((judged, prog))
    }

    /// Makes the maps that a program uses, so that loading it needs no right to make maps.
    ///
    /// # Errors
    /// A map cannot be made.
    pub fn prepare(&mut self, program: &Program) -> Result<(), String> {
        self.fds(program).map(drop)
    }

    /// The map with this index, if a program that was loaded used it.
    pub fn map(&self, index: usize) -> Option<&Map> {
        self.live_maps.get(&index)
    }

    /// The array that map indexes of a program's instructions refer to.
    fn fds(&mut self, program: &Program) -> Result<Vec<i32>, String> {
        let mut fds = vec![-1; self.maps.len()];
        for (_, insn) in program.code.iter() {
            let Insn::LoadImm { value, .. } = insn else { continue };
            let (Imm64::MapIdx(index) | Imm64::MapIdxValue { index, .. }) = *value else {
                continue;
            };
            let index = index as usize;
            if index < fds.len() {
                fds[index] = self.map_fd(index)?;
            }
        }
        Ok(fds)
    }

    fn map_fd(&mut self, index: usize) -> Result<i32, String> {
        if let Some(map) = self.live_maps.get(&index) {
            return Ok(map.fd());
        }
        let btf = self.types.as_ref().map(|types| &types.btf);
        let def = &self.maps[index];
        let map = create_map(&self.kernel, def, btf);
        let map = map.map_err(|why| format!("map '{}': {why}", def.name))?;
        let fd = map.fd();
        self.live_maps.insert(index, map);
        Ok(fd)
    }
}

impl Types {
    fn load(kernel: &Kernel, types: &btf::Btf) -> Result<Types, String> {
        let bytes = encode_btf(types, ByteOrder::HOST).map_err(|e| e.to_string())?;
        let btf = kernel.btf_load(&bytes, 0).or_else(|_| kernel.btf_load(&bytes, 1));
        let btf = btf.map_err(|e| format!("{e}: {}", super::last_line(&e.log)))?;
        let mut strings = HashMap::new();
        let mut at = 0;
        for text in types.own_strings().split('\0') {
            strings.entry(text.to_string()).or_insert(at);
            at += text.len() as u32 + 1;
        }
        Ok(Types { btf, strings })
    }

    /// Records of functions and source lines: of all functions or none, as the kernel wants it.
    fn records(&self, program: &Program) -> (Vec<FuncRecord>, Vec<LineRecord>) {
        let funcs = program
            .funcs
            .iter()
            .map(|func| Some(FuncRecord { insn_offset: func.start.0, type_id: func.type_id?.0 }));
        let Some(funcs) = funcs.collect::<Option<Vec<_>>>() else {
            return (Vec::new(), Vec::new());
        };
        let mut lines: Vec<LineRecord> = program
            .lines
            .iter()
            .filter_map(|line| {
                Some(LineRecord {
                    insn_offset: line.pc.0,
                    file_name_offset: *self.strings.get(&*line.file)?,
                    line_offset: *self.strings.get(&*line.text)?,
                    line_column: line.line << 10 | line.column,
                })
            })
            .collect();
        lines.dedup_by_key(|line| line.insn_offset);
        let starts_a_line = |func: &FuncRecord| {
            lines.binary_search_by_key(&func.insn_offset, |line| line.insn_offset).is_ok()
        };
        if !funcs.iter().all(starts_a_line) {
            lines.clear();
        }
        (funcs, lines)
    }
}

/// The log level of a comparison of logs: everything but the time, which is never the same.
pub const FULL_LOG: u32 = log_level::FULL;
