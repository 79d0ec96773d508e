//! Records about functions and lines that come with a program (`check_btf_func_early`,
//! `check_btf_func`, `check_btf_line` of `kernel/bpf/verifier.c`, Linux 6.18).
//!
//! The kernel looks at the functions' types first, then at the shape of the code, then at whether
//! both agree; lines come last.

use ebpfvm_spec::btf::{Btf, Kind, KindTag, TypeId};

/// A function as the program's records have it (`struct bpf_func_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncRecord {
    /// First slot.
    pub slot: u32,
    /// Its type.
    pub type_id: TypeId,
}

/// A line as the program's records have it (`struct bpf_line_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRecord {
    /// First slot.
    pub slot: u32,
    /// Whether file name and text lie in the strings of the types.
    pub has_names: bool,
}

/// A function as the code has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubprogFacts {
    /// First slot.
    pub start: u32,
    /// Whether it loads from the packet with a legacy instruction (`BPF_LD_ABS`, `BPF_LD_IND`).
    pub has_legacy_load: bool,
    /// Whether it makes tail calls.
    pub has_tail_call: bool,
}

/// What is wrong with the records about functions. Shown, it is the kernel's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FuncInfoError {
    /// The first function starts elsewhere than the program.
    #[error("nonzero insn_off {slot} for the first func info record")]
    First {
        /// Where.
        slot: u32,
    },
    /// Functions out of order.
    #[error("same or smaller insn offset ({slot}) than previous func info record ({previous})")]
    Order {
        /// Where one starts.
        slot: u32,
        /// Where the one before does.
        previous: u32,
    },
    /// The type is none of a function.
    #[error("invalid type id {} in func info", .0.0)]
    Type(TypeId),
    /// More or fewer functions than the code has.
    #[error("number of funcs in func_info doesn't match number of subprogs")]
    Count,
    /// Other functions than the code has.
    #[error("func_info BTF section doesn't match subprog layout in BPF program")]
    Layout,
    /// A function that may end the program early returns no `int`.
    #[error("LD_ABS is only allowed in functions that return 'int'.")]
    LegacyLoad,
    /// A function that may end the program early returns no `int`.
    #[error("tail_call is only allowed in functions that return 'int'.")]
    TailCall,
    /// A function that may end the program early has no type.
    #[error("LD_ABS is not allowed in subprogs without BTF")]
    LegacyLoadWithoutType,
    /// A function that may end the program early has no type.
    #[error("tail_call is not allowed in subprogs without BTF")]
    TailCallWithoutType,
}

/// Whether the records are in order and name functions.
///
/// # Errors
/// [`FuncInfoError::First`], [`FuncInfoError::Order`], [`FuncInfoError::Type`].
pub fn check_func_info(btf: &Btf, records: &[FuncRecord]) -> Result<(), FuncInfoError> {
    let mut previous = None;
    for FuncRecord { slot, type_id } in records.iter().copied() {
        match previous {
            None if slot != 0 => return Err(FuncInfoError::First { slot }),
            Some(previous) if slot <= previous => {
                return Err(FuncInfoError::Order { slot, previous });
            }
            _ => {}
        }
        if !matches!(btf.kind(type_id), Some(Kind::Func { .. })) {
            return Err(FuncInfoError::Type(type_id));
        }
        previous = Some(slot);
    }
    Ok(())
}

/// Whether the records are about the functions that the code has; without records, whether its
/// functions can do without.
///
/// # Errors
/// The other kinds of [`FuncInfoError`].
pub fn check_func_layout(
    btf: Option<&Btf>,
    records: &[FuncRecord],
    subprogs: &[SubprogFacts],
) -> Result<(), FuncInfoError> {
    let Some(btf) = btf.filter(|_| !records.is_empty()) else {
        for subprog in subprogs.iter().skip(1) {
            if subprog.has_legacy_load {
                return Err(FuncInfoError::LegacyLoadWithoutType);
            }
            if subprog.has_tail_call {
                return Err(FuncInfoError::TailCallWithoutType);
            }
        }
        return Ok(());
    };
    if records.len() != subprogs.len() {
        return Err(FuncInfoError::Count);
    }
    for (i, (record, subprog)) in records.iter().zip(subprogs).enumerate() {
        if record.slot != subprog.start {
            return Err(FuncInfoError::Layout);
        }
        if i == 0 || returns_int(btf, record.type_id) {
            continue;
        }
        if subprog.has_legacy_load {
            return Err(FuncInfoError::LegacyLoad);
        }
        if subprog.has_tail_call {
            return Err(FuncInfoError::TailCall);
        }
    }
    Ok(())
}

/// Whether it returns an integer of at most 8 bytes or an enum.
fn returns_int(btf: &Btf, func: TypeId) -> bool {
    let Some(Kind::Func { proto, .. }) = btf.kind(func) else { return false };
    let Some(Kind::FuncProto { ret, .. }) = btf.kind(proto) else { return false };
    match btf.resolve(ret) {
        Ok((_, Kind::Int { bytes, .. })) => bytes <= 8,
        Ok((_, kind)) => matches!(kind.tag(), KindTag::Enum | KindTag::Enum64),
        Err(_) => false,
    }
}

/// What is wrong with the records about lines. Shown, it is the kernel's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineInfoError {
    /// Lines out of order or behind the program.
    #[error(
        "Invalid line_info[{index}].insn_off:{slot} (prev_offset:{previous} prog->len:{slots})"
    )]
    Order {
        /// Which record.
        index: usize,
        /// Where it starts.
        slot: u32,
        /// Where the one before does; 0 for the first.
        previous: u32,
        /// Length of the program.
        slots: u32,
    },
    /// A line that starts in the second slot of an instruction.
    #[error("Invalid insn code at line_info[{index}].insn_off")]
    Middle {
        /// Which record.
        index: usize,
    },
    /// A line without text or file name.
    #[error("Invalid line_info[{index}].line_off or .file_name_off")]
    Names {
        /// Which record.
        index: usize,
    },
    /// A function that does not begin with a line.
    #[error("missing bpf_line_info for func#{func}")]
    Missing {
        /// Which function.
        func: usize,
    },
    /// Functions after the last line.
    #[error("missing bpf_line_info for {count} funcs starting from func#{func}")]
    MissingRest {
        /// How many.
        count: usize,
        /// The first of them.
        func: usize,
    },
}

/// Whether the lines are in order and each function begins with one. `starts_insn` tells whether an
/// instruction starts in a slot of the program, which has `slots`.
///
/// # Errors
/// [`LineInfoError`].
pub fn check_line_info(
    lines: &[LineRecord],
    subprogs: &[SubprogFacts],
    slots: u32,
    starts_insn: impl Fn(u32) -> bool,
) -> Result<(), LineInfoError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut func = 0;
    let mut previous = 0;
    for (index, LineRecord { slot, has_names }) in lines.iter().copied().enumerate() {
        if index > 0 && slot <= previous || slot >= slots {
            return Err(LineInfoError::Order { index, slot, previous, slots });
        }
        if !starts_insn(slot) {
            return Err(LineInfoError::Middle { index });
        }
        if !has_names {
            return Err(LineInfoError::Names { index });
        }
        if let Some(subprog) = subprogs.get(func) {
            if slot == subprog.start {
                func += 1;
            } else if subprog.start < slot {
                return Err(LineInfoError::Missing { func });
            }
        }
        previous = slot;
    }
    match subprogs.len() - func {
        0 => Ok(()),
        count => Err(LineInfoError::MissingRest { count, func }),
    }
}
