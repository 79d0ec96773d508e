//! Measuring on a machine that others use as well: short samples, of all that is compared in turn, so
//! that what disturbs one disturbs its neighbours; the thread's own time, so that what others use does
//! not count; and medians.

use std::hint::black_box;
use std::time::Duration;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Samples of each.
    pub rounds: usize,
    /// How long a sample takes at least.
    pub sample: Duration,
}

impl Effort {
    /// For figures to keep.
    pub const FULL: Effort = Effort { rounds: 41, sample: Duration::from_millis(2) };
    /// For a look.
    pub const QUICK: Effort = Effort { rounds: 7, sample: Duration::from_micros(300) };
}

/// Something that can be repeated: how long so many runs of it take.
pub type Subject<'a> = &'a mut dyn FnMut(u64) -> Duration;

/// Nanoseconds of a run of each subject, a sample a round. No sample is zero.
pub fn alternate(subjects: &mut [Subject<'_>], effort: Effort) -> Vec<Vec<f64>> {
    let runs: Vec<u64> = subjects.iter_mut().map(|subject| calibrate(*subject, effort)).collect();
    let mut samples = vec![Vec::with_capacity(effort.rounds); subjects.len()];
    for _ in 0..effort.rounds {
        for ((subject, samples), runs) in subjects.iter_mut().zip(&mut samples).zip(&runs) {
            let ns = subject(*runs).as_secs_f64() * 1e9 / *runs as f64;
            samples.push(ns.max(LEAST_NS));
        }
    }
    samples
}

/// Less than any program takes: a subtraction may leave nothing.
const LEAST_NS: f64 = 0.1;

/// Where what is measured seems to take no time.
const MOST_RUNS: u64 = 1 << 20;

/// How many runs make a sample, after some to warm up.
fn calibrate(subject: Subject<'_>, effort: Effort) -> u64 {
    let mut runs = 1;
    loop {
        // Of two, so that one that was disturbed does not end it.
        let elapsed = subject(runs).min(subject(runs));
        if elapsed >= effort.sample || runs >= MOST_RUNS {
            return runs;
        }
        // From the second half on the estimate is good.
        let wanted = effort.sample.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        runs = (runs as f64 * wanted.clamp(1.2, 8.0)).ceil() as u64;
    }
}

/// The processor's time that this thread has used.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to a variable of ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "a thread has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that so many runs of something take.
pub fn repeat<T>(runs: u64, mut work: impl FnMut() -> T) -> Duration {
    let start = thread_time();
    for _ in 0..runs {
        black_box(work());
    }
    thread_time() - start
}

/// The middle one; of an even number, the upper of the two. `None` of nothing.
pub fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

/// The mean of ratios. `None` of nothing.
pub fn geometric_mean(ratios: impl IntoIterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = ratios.into_iter().map(f64::ln).collect();
    let count = logarithms.len();
    (count > 0).then(|| (logarithms.iter().sum::<f64>() / count as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_take_turns_and_samples_are_long_enough() {
        let turns = std::cell::RefCell::new(Vec::new());
        let effort = Effort { rounds: 3, sample: Duration::from_micros(100) };
        let mut slow = |runs: u64| {
            turns.borrow_mut().push('s');
            Duration::from_nanos(runs * 1000)
        };
        let mut fast = |runs: u64| {
            turns.borrow_mut().push('f');
            Duration::from_nanos(runs * 10)
        };
        let samples = alternate(&mut [&mut slow, &mut fast], effort);
        assert_eq!(samples.len(), 2);
        for (samples, ns) in samples.iter().zip([1000.0, 10.0]) {
            assert_eq!(samples.len(), 3);
            assert!(samples.iter().all(|sample| (sample - ns).abs() < 1e-6), "{samples:?}");
        }
        let turns: String = turns.into_inner().into_iter().collect();
        assert!(turns.ends_with("sfsfsf"), "{turns}");
    }

    #[test]
    fn nothing_takes_no_time_at_all() {
        let mut calls = 0_u64;
        let mut subject = |runs: u64| {
            calls += 1;
            if calls < 3 { Duration::from_secs(1) } else { Duration::from_nanos(runs / 1000) }
        };
        let samples = alternate(&mut [&mut subject], Effort::QUICK);
        assert!(samples[0].iter().all(|sample| *sample >= LEAST_NS));
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
        assert!(geometric_mean([2.0, 8.0]).is_some_and(|mean| (mean - 4.0).abs() < 1e-9));
        assert_eq!(geometric_mean([]), None);
    }
}
