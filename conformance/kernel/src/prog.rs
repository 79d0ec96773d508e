//! Loading and test-running programs.

use crate::sys::{
    self, Command, Fd, ObjectInfoAttr, ProgLoadAttr, TestRunAttr, address, address_mut, length,
};
use crate::{Btf, Kernel, VerifierStats, object_name};
use ebpfvm_spec::{AttachType, Errno, ProgType};

/// Bits of [`LoadRequest::log_level`].
pub mod log_level {
    /// The path that was refused.
    pub const PATH: u32 = 1;
    /// Every instruction of every path.
    pub const FULL: u32 = 2;
    /// Statistics.
    pub const STATS: u32 = 4;
}

/// Bits of [`LoadRequest::flags`]: `BPF_F_*` of `BPF_PROG_LOAD`.
pub mod load_flags {
    /// Refuse accesses that are not aligned.
    pub const STRICT_ALIGNMENT: u32 = 1 << 0;
    /// Allow accesses that are not aligned on every machine.
    pub const ANY_ALIGNMENT: u32 = 1 << 1;
    /// Fill the upper halves that a 32-bit operation must zero with random bits first.
    pub const TEST_RND_HI32: u32 = 1 << 2;
    /// Save the verifier's state often, to test pruning.
    pub const TEST_STATE_FREQ: u32 = 1 << 3;
    /// The program may sleep.
    pub const SLEEPABLE: u32 = 1 << 4;
    /// The program handles packets in fragments.
    pub const XDP_HAS_FRAGS: u32 = 1 << 5;
    /// Refuse the program where the verifier's invariants on register bounds fail.
    pub const TEST_REG_INVARIANTS: u32 = 1 << 7;
}

/// A function record of the program: `struct bpf_func_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FuncRecord {
    /// First slot of the function.
    pub insn_offset: u32,
    /// BTF id of the function.
    pub type_id: u32,
}

/// A source line record of the program: `struct bpf_line_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct LineRecord {
    /// First slot of the line.
    pub insn_offset: u32,
    /// Offset of the file's name in the BTF strings.
    pub file_name_offset: u32,
    /// Offset of the line's text in the BTF strings.
    pub line_offset: u32,
    /// Line number times 1024 plus column.
    pub line_column: u32,
}

/// What a program is attached to by its load already (`attach_prog_fd`, `attach_btf_obj_fd`).
#[derive(Clone, Copy, Debug, Default)]
pub enum AttachTo<'a> {
    /// Nothing, or something of `vmlinux`.
    #[default]
    Kernel,
    /// A function of another program, for [`ProgType::Ext`] and tracing programs.
    Prog(&'a Prog),
    /// A function of the module with this BTF.
    Btf(&'a Btf),
}

/// What to load: the parameters of `BPF_PROG_LOAD`.
#[derive(Clone, Debug)]
pub struct LoadRequest<'a> {
    /// Program type.
    pub prog_type: ProgType,
    /// Where the program will be attached, for types that are told apart by it; 0 otherwise.
    pub expected_attach_type: AttachType,
    /// The instructions in host byte order, 8 bytes a slot.
    pub insns: &'a [u8],
    /// The licence, such as `GPL`; some helpers ask for a compatible one.
    pub license: &'a str,
    /// Bits of [`load_flags`].
    pub flags: u32,
    /// Bits of [`log_level`]; 0 for no log, which is three times faster.
    pub log_level: u32,
    /// The name shown by tools; cut to 15 characters.
    pub name: &'a str,
    /// Types of the program.
    pub btf: Option<&'a Btf>,
    /// Functions of the program; needs `btf`.
    pub func_info: &'a [FuncRecord],
    /// Source lines of the program; needs `btf`.
    pub line_info: &'a [LineRecord],
    /// File descriptors of maps and BTF objects that instructions name by index.
    pub fd_array: &'a [i32],
    /// BTF id of the function to attach to; 0 for none.
    pub attach_btf_id: u32,
    /// Where that function is.
    pub attach_to: AttachTo<'a>,
}

impl<'a> LoadRequest<'a> {
    /// A request with licence `GPL`, no log and everything else empty.
    pub fn new(prog_type: ProgType, insns: &'a [u8]) -> LoadRequest<'a> {
        LoadRequest {
            prog_type,
            expected_attach_type: AttachType(0),
            insns,
            license: "GPL",
            flags: 0,
            log_level: 0,
            name: "ebpfvm",
            btf: None,
            func_info: &[],
            line_info: &[],
            fd_array: &[],
            attach_btf_id: 0,
            attach_to: AttachTo::Kernel,
        }
    }
}

/// Why a program was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel refuses the program: {errno}{}", last_lines(log))]
pub struct LoadError {
    /// The kernel's error number.
    pub errno: Errno,
    /// The verifier's log, empty at log level 0 and when the verifier was not reached.
    pub log: String,
}

impl LoadError {
    /// The verifier's reason: the last line of the log that is neither a statistic nor one of the
    /// states that follow the report of an endless loop.
    pub fn reason(&self) -> Option<&str> {
        reason(&self.log)
    }
}

fn reason(log: &str) -> Option<&str> {
    const AFTER: [&str; 5] =
        ["processed ", "verification time ", "stack depth ", "cur state:", "old state:"];
    let follows = |line: &str| AFTER.iter().any(|start| line.starts_with(start));
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !follows(line))
}

fn last_lines(log: &str) -> String {
    reason(log).map(|line| format!(": {line}")).unwrap_or_default()
}

/// A loaded program. It is unloaded when dropped.
#[derive(Debug)]
pub struct Prog {
    fd: Fd,
    prog_type: ProgType,
    log: String,
}

/// The first size of a log buffer, enough for small programs.
const LOG_BYTES: usize = 64 << 10;
/// The greatest size that the kernel takes (`UINT_MAX >> 2`, in `bpf_verifier_log_attr_valid`).
const MAX_LOG_BYTES: usize = (u32::MAX >> 2) as usize;

/// Cuts a log at its terminating zero. The kernel's log may quote source lines in any encoding.
pub(crate) fn log_text(log: &[u8]) -> String {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// Calls `attempt` with a log buffer that grows while the kernel says `ENOSPC`. `attempt` returns
/// its result and the size that the log would have had, 0 if unknown.
pub(crate) fn with_log<T>(
    wanted: bool,
    mut attempt: impl FnMut(&mut [u8]) -> (Result<T, Errno>, u32),
) -> Result<(T, String), (Errno, String)> {
    let mut log = vec![0; if wanted { LOG_BYTES } else { 0 }];
    loop {
        let (result, true_bytes) = attempt(&mut log);
        match result {
            Ok(value) => return Ok((value, log_text(&log))),
            Err(Errno::ENOSPC) if wanted && log.len() < MAX_LOG_BYTES => {
                let bytes = (true_bytes as usize).max(log.len() * 4).min(MAX_LOG_BYTES);
                log.clear();
                log.resize(bytes, 0);
            }
            Err(errno) => return Err((errno, log_text(&log))),
        }
    }
}

impl Kernel {
    /// Verifies and loads a program (`BPF_PROG_LOAD`).
    ///
    /// The log buffer grows until the log fits, so a full log of a big program may take hundreds of
    /// megabytes.
    ///
    /// # Errors
    /// [`LoadError`] with the kernel's error number and, at a log level above 0, its log. A length
    /// that is not a multiple of 8 and a licence with a zero byte are [`Errno::EINVAL`].
    pub fn prog_load(&self, request: &LoadRequest<'_>) -> Result<Prog, LoadError> {
        let early = |errno| LoadError { errno, log: String::new() };
        let (slots, rest) = request.insns.as_chunks::<8>();
        if !rest.is_empty() || request.license.contains('\0') {
            return Err(early(Errno::EINVAL));
        }
        let license = [request.license.as_bytes(), b"\0"].concat();
        let counts = (
            length(slots.len()).map_err(early)?,
            length(request.func_info.len()).map_err(early)?,
            length(request.line_info.len()).map_err(early)?,
        );
        let record_bytes = |count: u32, bytes: usize| if count == 0 { 0 } else { bytes as u32 };
        let attach_fd = match request.attach_to {
            AttachTo::Kernel => 0,
            AttachTo::Prog(prog) => prog.fd.number() as u32,
            AttachTo::Btf(btf) => btf.fd() as u32,
        };
        let loaded = with_log(request.log_level != 0, |log| {
            let mut attr = ProgLoadAttr {
                prog_type: request.prog_type as u32,
                insn_count: counts.0,
                insns: address(slots),
                license: address(&license),
                log_level: request.log_level,
                log_bytes: log.len() as u32,
                log: address_mut(log),
                flags: request.flags,
                name: object_name(request.name),
                expected_attach_type: request.expected_attach_type.0,
                btf_fd: request.btf.map_or(0, |btf| btf.fd() as u32),
                func_info_record_bytes: record_bytes(counts.1, size_of::<FuncRecord>()),
                func_info: address(request.func_info),
                func_info_count: counts.1,
                line_info_record_bytes: record_bytes(counts.2, size_of::<LineRecord>()),
                line_info: address(request.line_info),
                line_info_count: counts.2,
                attach_btf_id: request.attach_btf_id,
                attach_fd,
                fd_array: address(request.fd_array),
                ..ProgLoadAttr::default()
            };
            // SAFETY: slots, licence, records and log live through the call and have the lengths
            // given; only the log is written, and it is borrowed mutably. The kernel reads the fd
            // array one element at a time with copies that may fail; an index beyond its end gives
            // it a wrong number to refuse, never memory to write.
            let result = unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) };
            (result, attr.log_true_bytes)
        });
        match loaded {
            Ok((fd, log)) => Ok(Prog { fd, prog_type: request.prog_type, log }),
            Err((errno, log)) => Err(LoadError { errno, log }),
        }
    }
}

/// What to run a program on: the parameters of `BPF_PROG_TEST_RUN`.
#[derive(Clone, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet; at least 14 bytes for programs on packets.
    pub data_in: &'a [u8],
    /// How many bytes of the packet afterwards are wanted.
    pub data_out_capacity: usize,
    /// The context as the program type defines it, such as `struct xdp_md`.
    pub ctx_in: &'a [u8],
    /// How many bytes of the context afterwards are wanted.
    pub ctx_out_capacity: usize,
    /// How often to run; 0 means once. The packet is not restored in between.
    pub repeat: u32,
    /// `BPF_F_TEST_*` bits.
    pub flags: u32,
    /// The CPU to run on, for the flag that asks for one.
    pub cpu: u32,
    /// Packets a batch, for the flag that sends packets.
    pub batch_count: u32,
}

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    /// The low half of r0, as the program type's runner reports it.
    pub retval: u32,
    /// Average time of one run.
    pub duration_ns: u32,
    /// The packet afterwards, as far as it was wanted.
    pub data_out: Vec<u8>,
    /// The size of the packet afterwards.
    pub data_out_bytes: usize,
    /// The context afterwards, as far as it was wanted; for [`ProgType::Syscall`] programs always all of it.
    pub ctx_out: Vec<u8>,
    /// The size of the context afterwards.
    pub ctx_out_bytes: usize,
}

impl Prog {
    /// The file descriptor, for instructions and map values that name a program.
    pub fn fd(&self) -> i32 {
        self.fd.number()
    }

    /// The verifier's log, empty at log level 0.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The statistics in the log, if it has any.
    pub fn stats(&self) -> Option<VerifierStats> {
        VerifierStats::parse(&self.log)
    }

    /// Runs the program on the given data (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    /// The kernel's error number: `EOPNOTSUPP` or `ENOTSUPP` for a type that has no test run,
    /// `EINVAL` for data that the type does not take. Outputs longer than their capacity are cut,
    /// which is no error.
    pub fn test_run(&self, request: &TestRun<'_>) -> Result<TestRunResult, Errno> {
        let mut data_out = vec![0; request.data_out_capacity];
        let mut ctx_out = vec![0; request.ctx_out_capacity];
        // The kernel writes a [`ProgType::Syscall`] program's context back where it was read.
        let mut ctx_in = request.ctx_in.to_vec();
        let mut attr = TestRunAttr {
            prog_fd: self.fd.number() as u32,
            data_in_bytes: length(request.data_in.len())?,
            data_out_bytes: length(data_out.len())?,
            data_in: address(request.data_in),
            data_out: address_mut(&mut data_out),
            repeat: request.repeat,
            ctx_in_bytes: length(ctx_in.len())?,
            ctx_out_bytes: length(ctx_out.len())?,
            ctx_in: address_mut(&mut ctx_in),
            ctx_out: address_mut(&mut ctx_out),
            flags: request.flags,
            cpu: request.cpu,
            batch_count: request.batch_count,
            ..TestRunAttr::default()
        };
        // SAFETY: all four buffers live through the call and have the lengths given; the packet
        // given is only read, the others are owned here.
        let result = unsafe { sys::bpf(Command::ProgTestRun, &mut attr) };
        let (data_out_bytes, ctx_out_bytes) =
            (attr.data_out_bytes as usize, attr.ctx_out_bytes as usize);
        match result {
            // A short buffer gets what fits, and everything else is reported as usual.
            Err(Errno::ENOSPC)
                if data_out_bytes > data_out.len() || ctx_out_bytes > ctx_out.len() => {}
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        data_out.truncate(data_out_bytes);
        ctx_out.truncate(ctx_out_bytes);
        let (ctx_out, ctx_out_bytes) = match self.prog_type {
            ProgType::Syscall => {
                let bytes = ctx_in.len();
                (ctx_in, bytes)
            }
            _ => (ctx_out, ctx_out_bytes),
        };
        Ok(TestRunResult {
            retval: attr.retval,
            duration_ns: attr.duration_ns,
            data_out,
            data_out_bytes,
            ctx_out,
            ctx_out_bytes,
        })
    }

    /// What the kernel tells about the loaded program (`BPF_OBJ_GET_INFO_BY_FD`).
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn info(&self) -> Result<ProgInfo, Errno> {
        let sizes = self.raw_info(&mut [], &mut [])?;
        let mut jited = vec![0; sizes.u32_at(RawProgInfo::JITED_BYTES) as usize];
        let mut xlated = vec![0; sizes.u32_at(RawProgInfo::XLATED_BYTES) as usize];
        let info = self.raw_info(&mut jited, &mut xlated)?;
        // Both are left out for readers without the right to see addresses.
        jited.truncate(info.u32_at(RawProgInfo::JITED_BYTES) as usize);
        xlated.truncate(info.u32_at(RawProgInfo::XLATED_BYTES) as usize);
        Ok(ProgInfo {
            id: info.u32_at(RawProgInfo::ID),
            tag: info.bytes_at(RawProgInfo::TAG),
            verified_insns: info.u32_at(RawProgInfo::VERIFIED_INSNS),
            jited,
            xlated,
        })
    }

    fn raw_info(&self, jited: &mut [u8], xlated: &mut [u8]) -> Result<RawProgInfo, Errno> {
        let mut info = RawProgInfo([0; RawProgInfo::BYTES]);
        info.set_u32(RawProgInfo::JITED_BYTES, length(jited.len())?);
        info.set_u32(RawProgInfo::XLATED_BYTES, length(xlated.len())?);
        info.set_u64(RawProgInfo::JITED, address_mut(jited));
        info.set_u64(RawProgInfo::XLATED, address_mut(xlated));
        let mut attr = ObjectInfoAttr {
            fd: self.fd.number() as u32,
            info_bytes: RawProgInfo::BYTES as u32,
            info: address_mut(&mut info.0),
        };
        // SAFETY: the info and both buffers in it are borrowed mutably, live through the call and
        // have the lengths given; all other lengths in the info are 0.
        unsafe { sys::bpf(Command::ObjectInfo, &mut attr) }?;
        Ok(info)
    }
}

/// What the kernel tells about a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgInfo {
    /// Number of the program while it is loaded.
    pub id: u32,
    /// Hash of the instructions.
    pub tag: [u8; 8],
    /// How many instructions the verifier processed.
    pub verified_insns: u32,
    /// The machine code, empty without a JIT.
    pub jited: Vec<u8>,
    /// The instructions after the verifier's rewriting, with addresses taken out.
    pub xlated: Vec<u8>,
}

/// `struct bpf_prog_info`, as bytes with the offsets of the fields used.
struct RawProgInfo([u8; RawProgInfo::BYTES]);

impl RawProgInfo {
    const BYTES: usize = 232;
    const ID: usize = 4;
    const TAG: usize = 8;
    const JITED_BYTES: usize = 16;
    const XLATED_BYTES: usize = 20;
    const JITED: usize = 24;
    const XLATED: usize = 32;
    const VERIFIED_INSNS: usize = 216;

    fn bytes_at<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[offset..offset + N]);
        bytes
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes_at(offset))
    }

    fn set_u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u64(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_or_skip;

    /// A slot of immediate class in host order (little endian: the tests run on such machines only).
    fn slot(opcode: u8, regs: u8, offset: i16, imm: i32) -> [u8; 8] {
        let (o, i) = (offset.to_le_bytes(), imm.to_le_bytes());
        [opcode, regs, o[0], o[1], i[0], i[1], i[2], i[3]]
    }

    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_program_loads_runs_and_tells_about_itself() {
        let Some(kernel) = kernel_or_skip("a_program_loads_runs_and_tells_about_itself") else {
            return;
        };
        let insns = [slot(0xb7, 0, 0, 42), EXIT];
        let mut request = LoadRequest::new(ProgType::Xdp, insns.as_flattened());
        request.log_level = log_level::FULL | log_level::STATS;
        let prog = kernel.prog_load(&request).unwrap();
        assert!(prog.log().contains("r0 = 42"), "{}", prog.log());
        assert_eq!(prog.stats().unwrap().processed_insns, 2);
        let info = prog.info().unwrap();
        assert_eq!(info.verified_insns, 2);
        assert_eq!(info.xlated, insns.as_flattened());
        let packet = [7u8; 64];
        let run = TestRun { data_in: &packet, data_out_capacity: 64, ..TestRun::default() };
        let result = prog.test_run(&run).unwrap();
        assert_eq!((result.retval, result.data_out), (42, packet.to_vec()));
        let run = TestRun { data_in: &packet, data_out_capacity: 5, ..TestRun::default() };
        let result = prog.test_run(&run).unwrap();
        assert_eq!((result.retval, result.data_out.len(), result.data_out_bytes), (42, 5, 64));
    }

    #[test]
    fn a_refusal_has_number_and_reason() {
        let Some(kernel) = kernel_or_skip("a_refusal_has_number_and_reason") else { return };
        let mut request = LoadRequest::new(ProgType::SocketFilter, &EXIT);
        request.log_level = log_level::PATH;
        let error = kernel.prog_load(&request).unwrap_err();
        assert_eq!(error.errno, Errno::EACCES);
        assert_eq!(error.reason(), Some("R0 !read_ok"));
        assert!(error.to_string().ends_with("EACCES (permission denied): R0 !read_ok"), "{error}");
        request.log_level = 0;
        assert_eq!(kernel.prog_load(&request).unwrap_err().log, "");
        request.insns = &EXIT[..7];
        assert_eq!(kernel.prog_load(&request).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn an_endless_loop_is_the_reason_not_its_states() {
        let log = "0: (05) goto pc-1\ninfinite loop detected at insn 0\ncur state: R0=0\n\
                   old state: R0=0\nprocessed 2 insns (limit 1000000)\n";
        assert_eq!(reason(log), Some("infinite loop detected at insn 0"));
    }

    #[test]
    fn a_long_log_is_complete() {
        let Some(kernel) = kernel_or_skip("a_long_log_is_complete") else { return };
        let mut insns = vec![slot(0xb7, 0, 0, 1); 4000];
        insns.push(EXIT);
        let mut request = LoadRequest::new(ProgType::SocketFilter, insns.as_flattened());
        request.log_level = log_level::FULL;
        let prog = kernel.prog_load(&request).unwrap();
        assert!(prog.log().len() > LOG_BYTES);
        assert!(prog.log().contains("\n3999: "));
        assert_eq!(prog.stats().unwrap().processed_insns, 4001);
    }

    #[test]
    fn a_syscall_program_changes_its_context() {
        let Some(kernel) = kernel_or_skip("a_syscall_program_changes_its_context") else { return };
        // *(u32 *)(r1 + 4) = 9; r0 = 0; exit
        let insns = [slot(0x62, 1, 4, 9), slot(0xb7, 0, 0, 0), EXIT];
        let mut request = LoadRequest::new(ProgType::Syscall, insns.as_flattened());
        request.flags = load_flags::SLEEPABLE;
        let prog = kernel.prog_load(&request).unwrap();
        let result = prog.test_run(&TestRun { ctx_in: &[1; 8], ..TestRun::default() }).unwrap();
        assert_eq!(result.ctx_out, [1, 1, 1, 1, 9, 0, 0, 0]);
    }
}
