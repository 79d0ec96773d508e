//! What the kernel makes of a context after a program of a cgroup has run (`kernel/bpf/cgroup.c`,
//! Linux 6.18): the verdict that the system call gives back, and the option that it sets or returns.

use super::{Behind, Context, ContextError};
use ebpfvm_spec::{AttachType, Errno, ProgType};

/// The value of a socket option is shown up to a page (`sockopt_alloc_buf`).
pub(super) const OPTVAL_MAX_BYTES: usize = 4096;

/// Who sets an option may write at least so many bytes, however few were given.
const OPTVAL_MIN_BYTES: usize = 16;

/// What a system call on a socket option does after the programs of the cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SockoptResult {
    /// It ends with 0 or a negated error number.
    Returns(i32),
    /// `setsockopt` goes on and sets this option to this value.
    Sets {
        /// `SOL_*`
        level: i32,
        /// `SO_*` and the like.
        optname: i32,
        /// The value.
        optval: Vec<u8>,
    },
    /// `getsockopt` ends with 0 and gives this value back.
    Gives {
        /// The value; none to leave what the kernel has given.
        optval: Option<Vec<u8>>,
    },
}

impl Context {
    /// What the system call gives back for a program that returned `retval`: 0 or what
    /// `set_retval` left, `-EPERM` if the program forbids the call and did not say otherwise
    /// (`bpf_prog_run_array_cg`).
    pub fn cgroup_result(&self, retval: u64) -> i32 {
        let left = self.field("retval").unwrap_or(0) as u32 as i32;
        let is_error = (-4095..0).contains(&left);
        if retval & 1 == 0 && !is_error { Errno::EPERM.to_ret() as i32 } else { left }
    }

    /// What the system call on the socket option does after a program with this attach type has
    /// returned `retval` (`__cgroup_bpf_run_filter_setsockopt`, `__cgroup_bpf_run_filter_getsockopt`).
    /// None for other contexts.
    pub fn sockopt_result(&self, attach_type: AttachType, retval: u64) -> Option<SockoptResult> {
        if self.prog_type != ProgType::CgroupSockopt {
            return None;
        }
        let sets = attach_type == AttachType::CGROUP_SETSOCKOPT;
        let result = self.cgroup_result(retval);
        let optlen = self.field("optlen").unwrap_or(0) as u32 as i32;
        let window = self.visible_packet().map(|packet| packet.data()).unwrap_or_default();
        let fault = SockoptResult::Returns(Errno::EFAULT.to_ret() as i32);
        let given = &*self.original;
        let number = |name| self.field(name).unwrap_or(0) as u32 as i32;
        let set = |optval: &[u8]| SockoptResult::Sets {
            level: number("level"),
            optname: number("optname"),
            optval: optval.to_vec(),
        };
        let fits = usize::try_from(optlen).ok().filter(|n| *n <= window.len());
        let ignored = given.len() > OPTVAL_MAX_BYTES && optlen >= 0;
        Some(match (sets, fits) {
            // What is above 0 ends the call too, with success.
            (true, _) if result != 0 => SockoptResult::Returns(result.min(0)),
            (true, _) if optlen == -1 => SockoptResult::Returns(0),
            (true, Some(0)) => set(given),
            (true, Some(bytes)) => set(&window[..bytes]),
            (true, None) if ignored => set(given),
            (false, _) if result < 0 => SockoptResult::Returns(result),
            (false, Some(0)) => SockoptResult::Gives { optval: None },
            (false, Some(bytes)) => SockoptResult::Gives { optval: Some(window[..bytes].to_vec()) },
            (false, None) if ignored => SockoptResult::Gives { optval: None },
            (_, None) => fault,
        })
    }

    /// Prepares the value of an option for a program: who sets one has more room.
    pub(super) fn begin_sockopt(&mut self, attach_type: AttachType) {
        let Behind::Packet { packet, .. } = &mut self.behind else { return };
        if attach_type == AttachType::CGROUP_SETSOCKOPT && packet.data().len() < OPTVAL_MIN_BYTES {
            packet.resize(OPTVAL_MIN_BYTES);
            self.sync();
        }
    }

    /// Refuses numbers with which a context would contradict itself.
    pub(super) fn contradicts(&self, name: &str, value: u64) -> Result<(), ContextError> {
        let wrong = |why: &'static str| {
            let (context, field) = (self.context_name(), name.to_string());
            Err(ContextError::Contradiction { context, field, value, why })
        };
        match (self.prog_type, name) {
            (ProgType::CgroupSockopt, "optlen") if value > i32::MAX as u64 => {
                wrong("no option has a negative length when a program begins")
            }
            (ProgType::CgroupDevice, "access_type") => match (value & 0xffff, value >> 16) {
                (1 | 2, 0..=7) => Ok(()),
                _ => wrong(
                    "it is 1 (block) or 2 (char), plus 0x10000 times mknod 1, read 2, write 4",
                ),
            },
            (ProgType::CgroupSysctl, "write") if value > 1 => wrong("it is 0 or 1"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: AttachType = AttachType::CGROUP_SETSOCKOPT;
    const GET: AttachType = AttachType::CGROUP_GETSOCKOPT;

    fn sockopt(attach_type: AttachType, value: &[u8]) -> Context {
        let mut ctx = Context::linux(ProgType::CgroupSockopt, value).unwrap();
        ctx.set_field("level", 1).unwrap();
        ctx.set_field("optname", 7).unwrap();
        ctx.begin(attach_type);
        ctx
    }

    fn sets(optval: &[u8]) -> Option<SockoptResult> {
        Some(SockoptResult::Sets { level: 1, optname: 7, optval: optval.to_vec() })
    }

    #[test]
    fn setsockopt_goes_on_with_what_the_program_left() {
        let mut ctx = sockopt(SET, &[1, 2, 3, 4]);
        assert_eq!((ctx.window().1, ctx.field("optlen")), (16, Ok(4)));
        assert_eq!(ctx.sockopt_result(SET, 1), sets(&[1, 2, 3, 4]));
        assert_eq!(ctx.sockopt_result(SET, 0), Some(SockoptResult::Returns(-1)));
        let mut left = |optlen: i32| {
            ctx.put("optlen", u64::from(optlen as u32));
            ctx.sockopt_result(SET, 1)
        };
        assert_eq!(left(0), sets(&[1, 2, 3, 4]));
        assert_eq!(left(6), sets(&[1, 2, 3, 4, 0, 0]));
        assert_eq!(left(-1), Some(SockoptResult::Returns(0)));
        assert_eq!(left(-2), Some(SockoptResult::Returns(-14)));
        assert_eq!(left(17), Some(SockoptResult::Returns(-14)));
        ctx.put("retval", 1);
        assert_eq!(ctx.sockopt_result(SET, 1), Some(SockoptResult::Returns(0)));
    }

    #[test]
    fn a_value_longer_than_a_page_is_shown_in_part() {
        let value = vec![5; 5000];
        for attach in [SET, GET] {
            let mut ctx = sockopt(attach, &value);
            assert_eq!((ctx.window().1, ctx.field("optlen")), (4096, Ok(5000)));
            let kept = match attach {
                SET => sets(&value),
                _ => Some(SockoptResult::Gives { optval: None }),
            };
            assert_eq!(ctx.sockopt_result(attach, 1), kept);
            ctx.put("optlen", 0xffff_fffe);
            assert_eq!(ctx.sockopt_result(attach, 1), Some(SockoptResult::Returns(-14)));
        }
    }

    #[test]
    fn getsockopt_gives_what_the_program_left() {
        let mut ctx = sockopt(GET, &[1, 2, 3, 4]);
        assert_eq!(ctx.window().1, 4);
        let gives = |optval: &[u8]| Some(SockoptResult::Gives { optval: Some(optval.to_vec()) });
        assert_eq!(ctx.sockopt_result(GET, 1), gives(&[1, 2, 3, 4]));
        ctx.put("optlen", 2);
        assert_eq!(ctx.sockopt_result(GET, 1), gives(&[1, 2]));
        ctx.put("optlen", 5);
        assert_eq!(ctx.sockopt_result(GET, 1), Some(SockoptResult::Returns(-14)));
        // The kernel's own error stays, unless the program takes it away.
        ctx.put("optlen", 4);
        ctx.set_field("retval", u64::from(-92i32 as u32)).unwrap();
        assert_eq!(ctx.sockopt_result(GET, 1), Some(SockoptResult::Returns(-92)));
        assert_eq!(ctx.sockopt_result(GET, 0), Some(SockoptResult::Returns(-92)));
    }

    #[test]
    fn contexts_that_contradict_themselves_are_refused() {
        let mut ctx = Context::linux(ProgType::CgroupSockopt, &[]).unwrap();
        let error = ctx.set_field("optlen", 0xffff_ffff).unwrap_err().to_string();
        let expected = "bpf_sockopt.optlen cannot be 4294967295: no option has a negative length \
                        when a program begins";
        assert_eq!(error, expected);
        let mut ctx = Context::linux(ProgType::CgroupDevice, &[]).unwrap();
        assert!(ctx.set_field("access_type", 0x6_0002).is_ok());
        for wrong in [0, 3, 0x8_0001, 0x2_0000] {
            assert!(ctx.set_field("access_type", wrong).is_err(), "{wrong}");
        }
        let mut ctx = Context::linux(ProgType::CgroupSysctl, &[]).unwrap();
        assert!(ctx.set_field("write", 2).is_err());
    }
}
