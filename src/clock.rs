//! The only place that reads a clock or sleeps.
//!
//! Wall-clock time ([`Clock::now`]) is for records and windows, and may jump; spans are measured by tokio's monotonic clock, which tests
//! can pause.
#![expect(clippy::disallowed_methods, reason = "this is the module that the others go through")]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
pub use tokio::time::Instant;

/// A source of wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, in UTC.
    fn now(&self) -> Timestamp;

    /// By how much AWS's answers have moved this clock, all in all. It may change at any moment; what was taken from the clock before that is
    /// wrong by as much.
    fn correction(&self) -> SignedDuration {
        SignedDuration::ZERO
    }

    /// For how long the machine was suspended since it was started, in tenths of a second. The monotonic clock stands still meanwhile, and
    /// the time of everybody else does not. It never shrinks.
    fn suspended(&self) -> Duration {
        suspended()
    }
}

/// The wall clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The machine's clock, until AWS's answers show that it is wrong; from then on AWS's time.
///
/// AWS's time goes on by the monotonic clock, so that a machine whose clock is set right at last sees no jump.
#[derive(Debug, Default)]
pub struct CorrectedClock(Mutex<Corrected>);

/// What AWS's answers have made of the clock.
#[derive(Debug, Clone, Copy, Default)]
struct Corrected {
    anchor: Option<Anchor>,
    moved: SignedDuration,
}

/// AWS's time at a moment.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    time: Timestamp,
    at: Instant,
}

impl Anchor {
    fn at(self, moment: Instant) -> Option<Timestamp> {
        self.time.checked_add(moment.duration_since(self.at)).ok()
    }
}

impl CorrectedClock {
    /// From now on this is to be added to the machine's time; nothing is, if it is zero.
    pub fn correct(&self, offset: SignedDuration) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (machine, at) = (Timestamp::now(), instant());
        let before = held.anchor.and_then(|anchor| anchor.at(at)).unwrap_or(machine);
        let time = machine.checked_add(offset).ok().filter(|_| !offset.is_zero());
        held.anchor = time.map(|time| Anchor { time, at });
        held.moved += time.unwrap_or(machine).duration_since(before);
    }

    fn held(&self) -> Corrected {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for CorrectedClock {
    fn now(&self) -> Timestamp {
        self.held().anchor.and_then(|anchor| anchor.at(instant())).unwrap_or_else(Timestamp::now)
    }

    fn correction(&self) -> SignedDuration {
        self.held().moved
    }
}

/// The present moment of the monotonic clock.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// What the kernel says of suspensions: `CLOCK_BOOTTIME` goes on during one, and `CLOCK_MONOTONIC` does not.
fn suspended() -> Duration {
    static LONGEST: AtomicU64 = AtomicU64::new(0);
    let span = |id| {
        let time = clock_gettime(id);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
    };
    // In this order, so that the time between the two readings is not taken for a suspension.
    let since_boot = span(ClockId::Boottime);
    longest(&LONGEST, since_boot, span(ClockId::Monotonic))
}

/// The longest difference so far between the time since the start of the machine and the time that it was running, in whole tenths of a
/// second.
fn longest(so_far: &AtomicU64, since_boot: Duration, running: Duration) -> Duration {
    let tenths = |span: Duration| u64::try_from(span.as_millis() / 100).unwrap_or(u64::MAX);
    let now = tenths(since_boot).saturating_sub(tenths(running));
    Duration::from_millis(so_far.fetch_max(now, Ordering::Relaxed).max(now).saturating_mul(100))
}

/// Sleeps for a while.
pub async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Sleeps until a moment.
pub async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment).await;
}

/// Gives a future a span to finish in; `None` if it did not.
pub async fn within<F: Future>(span: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(span, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_is_what_the_time_since_the_start_is_ahead_of_the_running_time_and_never_shrinks() {
        let (so_far, milliseconds) = (AtomicU64::new(0), Duration::from_millis);
        let longest = |since_boot, running| longest(&so_far, milliseconds(since_boot), milliseconds(running));
        assert_eq!(longest(5_000, 5_000), milliseconds(0));
        assert_eq!(longest(5_000, 5_001), milliseconds(0), "the clocks are read one after the other");
        assert_eq!(longest(65_000, 5_000), milliseconds(60_000), "a minute");
        assert_eq!(longest(65_199, 5_210), milliseconds(60_000), "the rounding makes it no shorter");
        assert_eq!(longest(365_200, 5_200), milliseconds(360_000), "and five minutes more");
    }

    #[test]
    fn the_kernel_tells_of_suspensions() {
        let before = SystemClock.suspended();
        assert!(SystemClock.suspended() >= before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_corrected_clock_goes_on_by_the_monotonic_one() {
        let clock = CorrectedClock::default();
        let near = |a: Timestamp, b: Timestamp| a.duration_since(b).abs() < SignedDuration::from_secs(5);
        assert!(near(clock.now(), Timestamp::now()));
        clock.correct(SignedDuration::from_mins(-10));
        let corrected = clock.now();
        assert!(near(corrected, Timestamp::now() - SignedDuration::from_mins(10)));
        assert_eq!(clock.correction(), SignedDuration::from_mins(-10));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().duration_since(corrected), SignedDuration::from_hours(1));
        // The machine's clock is set right at last, so this one does not move. Only tokio's clock has advanced here, so it is an hour off.
        clock.correct(SignedDuration::ZERO);
        assert!(near(clock.now(), Timestamp::now()));
        let moved = SignedDuration::from_mins(-10) + SignedDuration::from_mins(10 - 60);
        assert!((clock.correction() - moved).abs() < SignedDuration::from_secs(5));
    }
}
