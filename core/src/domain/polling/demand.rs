//! Whether the requests suffice for the events there are.

use std::time::Duration;

use super::{FRESH, PAGE, Polling};

/// Once an hour 24 hours are read again, and the hour itself: seconds of history for each second.
const REREAD_SECONDS: f64 = 25.0;

/// What the reading of an account's pushes takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Pushes a day, of all repositories of the account and Region.
    pub pushes_a_day: f64,
    /// Requests per second that it takes to read the overlap at every poll and 24 hours every hour.
    pub requests: f64,
    /// How long it takes to read the last fifteen minutes with the requests there are: pushes are seen that much later than CloudTrail
    /// delivers them.
    pub delay: Duration,
}

impl Demand {
    /// The demand of so many pushes per second.
    #[must_use]
    pub fn of(pushes_per_second: f64, polling: &Polling) -> Self {
        let pages_per_second = pushes_per_second / f64::from(PAGE);
        let interval = polling.interval.as_secs_f64();
        let at_a_poll = (pages_per_second * (polling.overlap.as_secs_f64() + interval)).max(1.0);
        let fresh = pages_per_second * FRESH.min(polling.overlap).as_secs_f64();
        Self {
            pushes_a_day: pushes_per_second * 86_400.0,
            requests: at_a_poll / interval + pages_per_second * REREAD_SECONDS,
            delay: Duration::try_from_secs_f64(fresh / polling.rate).unwrap_or(Duration::MAX),
        }
    }

    /// Whether the events take more than the requests that the configuration allows. A poll of an account without any push takes one, which
    /// may well be more often than they allow.
    #[must_use]
    pub fn exceeds(&self, polling: &Polling) -> bool {
        let idle = 1.0 / polling.interval.as_secs_f64();
        self.requests > polling.rate.max(idle) * 1.001
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(polling: &Polling) -> &'static str {
        if polling.rate < 2.0 {
            "raise max_lookups_per_second (2 is what AWS allows in an account and Region, to everybody in it together), raise poll.interval, or let ECR's events come through a queue"
        } else {
            "raise poll.interval, or let ECR's events come through a queue: AWS allows no more than 2 requests per second"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_account_takes_follows_from_its_pushes() {
        let polling = |rate| Polling { interval: Duration::from_secs(30), overlap: Duration::from_secs(1800), rate };
        for (a_day, rate, exceeds, delay) in [
            (0.0, 1.0, false, 0),
            (5_000.0, 1.0, false, 1),
            (50_000.0, 1.0, false, 10),
            (60_000.0, 1.0, true, 12),
            (60_000.0, 2.0, false, 6),
            (200_000.0, 2.0, true, 20),
            (0.0, 0.01, false, 0),
            (5_000.0, 0.01, true, 104),
        ] {
            let demand = Demand::of(a_day / 86_400.0, &polling(rate));
            assert_eq!((demand.exceeds(&polling(rate)), demand.delay.as_secs()), (exceeds, delay), "{a_day} {rate}");
        }
    }
}
