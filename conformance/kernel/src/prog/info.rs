//! What the kernel tells about a loaded program.

use super::Prog;
use crate::sys::{self, Command, ObjectInfoAttr, address_mut, length};
use ebpfvm_spec::Errno;

impl Prog {
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
