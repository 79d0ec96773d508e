//! What the log begins and ends with: functions, live registers, statistics.

use super::insn::InsnText;
use crate::log::Log;
use crate::options::Limits;
use crate::subject::Subject;
use crate::verdict::Stats;
use ebpfvm_asm::{Pc, Reg};

/// Writes where the functions begin (`add_subprog_and_kfunc`).
pub(crate) fn functions(log: &mut Log, starts: impl IntoIterator<Item = Pc>) {
    if log.is_full() {
        for (index, start) in starts.into_iter().enumerate() {
            log.write(format_args!("func#{index} @{start}\n"));
        }
    }
}

/// Writes which registers each instruction and those after it need (`compute_live_registers`).
pub(crate) fn live_registers(subject: &Subject<'_>, log: &mut Log) {
    if !log.is_full() {
        return;
    }
    log.write(format_args!("Live regs before insn:\n"));
    for (pc, _) in subject.program.code.iter() {
        let shape = subject.structure.at(pc);
        match shape.scc {
            0 => log.write(format_args!("    ")),
            scc => log.write(format_args!("{scc:3} ")),
        }
        log.write(format_args!("{:3}: ", pc.0));
        for number in 0..Reg::R10.number() {
            if shape.live_regs.has(number.into()) {
                log.write(format_args!("{number}"));
            } else {
                log.write(format_args!("."));
            }
        }
        log.write(format_args!(" {}\n", InsnText { subject, pc }));
    }
}

/// Writes what judging took (`print_verification_stats`).
pub(crate) fn statistics(log: &mut Log, stats: &Stats, limits: &Limits) {
    if log.has_stats() {
        log.write(format_args!("verification time {} usec\n", stats.time.as_micros()));
        let depths: Vec<String> = stats.stack_bytes.iter().map(u32::to_string).collect();
        log.write(format_args!("stack depth {}\n", depths.join("+")));
    }
    let Stats { processed, max_states_per_insn, total_states, peak_states, .. } = stats;
    // Linux 6.18 still writes the last number, and it is always 0.
    log.write(format_args!(
        "processed {processed} insns (limit {}) max_states_per_insn {max_states_per_insn} \
         total_states {total_states} peak_states {peak_states} mark_read 0\n",
        limits.processed
    ));
}
