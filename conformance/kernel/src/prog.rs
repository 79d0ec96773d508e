//! Loading and test-running programs.

mod info;
mod run;

pub use info::ProgInfo;
pub use run::{TestRun, TestRunResult};

use crate::sys::{self, Command, Fd, ProgLoadAttr, address, address_mut, length};
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
    /// Bits of [`load_flags`](ebpfvm_spec::load_flags).
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
    // A source line, "; TEXT @ FILE:LINE", follows some messages.
    let is_source = |line: &str| line.starts_with("; ") && line.contains(" @ ");
    let follows = |line: &str| AFTER.iter().any(|start| line.starts_with(start)) || is_source(line);
    let line = log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !follows(line))?;
    // Some messages end without a line break, and one follows an instruction without one.
    let start = line.find("infinite loop detected").unwrap_or(0);
    let statistics = AFTER[..2].iter().filter_map(|start| line.find(start)).min();
    Some(&line[start..statistics.unwrap_or(line.len())])
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_or_skip;
    use ebpfvm_spec::load_flags;

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
        let log = "expected prog array map for tail callprocessed 3 insns (limit 1000000)\n";
        assert_eq!(reason(log), Some("expected prog array map for tail call"));
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
