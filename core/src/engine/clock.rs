//! A clock that turns out to be wrong.

use jiff::SignedDuration;

use super::{Engine, Now};
use crate::domain::opening::{self, Correction};

impl Engine {
    /// This was added to the clock: what began by the clock as it was is moved along.
    pub(super) fn clock_corrected(&mut self, by: SignedDuration, now: Now) {
        let correction = Correction { by, started_at: self.started_at, now: now.time };
        if opening::clock_corrected(&mut self.state, correction) {
            self.out.durability.changed();
        }
        self.started_at = self.started_at.checked_add(by).unwrap_or(self.started_at);
    }
}
