//! The time as the engine gets it: an argument of every transition.

use std::time::Duration;

use jiff::Timestamp;

/// A moment of the monotonic clock, counted from the start of the process. It never jumps, so spans are measured with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment so long after the start of the process.
    #[must_use]
    pub const fn after_start(span: Duration) -> Self {
        Self(span)
    }

    /// The span from an earlier moment to this one; zero if that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// The span since the start of the process.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }
}

/// The time of one transition, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: for records, and for times that AWS tells. It may jump.
    pub time: Timestamp,
    /// The monotonic clock, which never jumps.
    pub moment: Moment,
}
