//! Test-running programs.

use super::Prog;
use crate::sys::{self, Command, TestRunAttr, address, address_mut, length};
use ebpfvm_spec::{Errno, ProgType};

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
}
