//! Work that may hang or panic, on a thread of its own.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Stack of the thread in bytes: a verifier must not recurse deeply, but is not judged for it here.
const STACK_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mishap {
    /// It panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It did not end in time. Its thread runs on: there is no way to stop it.
    #[error("not done after {} s", .0.as_secs())]
    TimedOut(Duration),
}

thread_local! {
    /// On a guarded thread: where it panicked, once it has.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of guarded threads tell their place here instead of on standard error.
fn keep_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            let kept = PLACE.with_borrow_mut(|place| {
                let Some(place) = place else { return false };
                *place = info.location().map(ToString::to_string).unwrap_or_default();
                true
            });
            if !kept {
                others(info);
            }
        }));
    });
}

/// Runs `work` and waits for it at most this long.
///
/// # Errors
/// [`Mishap`].
pub fn guarded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Mishap> {
    let (done, result) = channel();
    keep_places();
    let run = move || {
        PLACE.set(Some(String::new()));
        let result = catch_unwind(AssertUnwindSafe(work));
        let result = result.map_err(|payload| {
            let place = PLACE.take().unwrap_or_default();
            format!("{place}: {}", panic_text(payload))
        });
        // Nobody listens any more after the limit.
        let _ = done.send(result);
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    if let Err(error) = thread {
        return Err(Mishap::Panicked(format!("no thread: {error}")));
    }
    match result.recv_timeout(limit) {
        Ok(result) => result.map_err(Mishap::Panicked),
        Err(RecvTimeoutError::Timeout) => Err(Mishap::TimedOut(limit)),
        Err(RecvTimeoutError::Disconnected) => Err(Mishap::Panicked("the thread is gone".into())),
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_panics_and_hangs_are_told_apart() {
        let second = Duration::from_secs(1);
        assert_eq!(guarded(second, || 7), Ok(7));
        let panicked = guarded(second, || -> u32 { panic!("why {}", 3) });
        let Err(Mishap::Panicked(why)) = panicked else { panic!("{panicked:?}") };
        assert!(why.contains("guard.rs:") && why.ends_with(": why 3"), "{why}");
        let hung =
            guarded(Duration::from_millis(20), || std::thread::sleep(Duration::from_secs(2)));
        assert_eq!(hung, Err(Mishap::TimedOut(Duration::from_millis(20))));
    }
}
