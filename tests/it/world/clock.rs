//! The clock of the machine that the process runs on, which need not agree with those of AWS.

use ecs_deployd::aws::Fault;
use ecs_deployd::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use super::{Inner, World};

/// AWS refuses what was signed by a clock that differs by more than this.
const BELIEVED: SignedDuration = SignedDuration::from_mins(5);

/// The machine's clock.
#[derive(Debug)]
pub struct MachineClock(World);

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let inner = self.0.lock();
        inner.now() + inner.ahead
    }
}

impl World {
    /// The clock of the machine.
    pub fn clock(&self) -> MachineClock {
        MachineClock(self.clone())
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.lock().now()
    }

    /// The machine's clock jumps: it is ahead by this much from here on.
    pub fn set_clock_ahead(&self, ahead: SignedDuration) {
        self.lock().ahead = ahead;
    }
}

impl Inner {
    pub(super) fn refuse_clock(&self) -> Option<Fault> {
        (self.ahead.abs() > BELIEVED).then_some(Fault::Credentials)
    }
}
