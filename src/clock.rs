//! The only place that reads a clock or sleeps.
//!
//! Wall-clock time ([`Clock::now`]) is for records and windows, and may jump; spans are measured by tokio's monotonic clock, which tests
//! can pause.
#![expect(clippy::disallowed_methods, reason = "this is the module that the others go through")]

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
pub use tokio::time::Instant;

/// A source of wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The monotonic clock.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
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
