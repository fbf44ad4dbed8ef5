//! How far the machine's clock is from AWS's time, as AWS's answers show it.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The `Date` header of one answer, and when it came.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// AWS's time, cut to whole seconds.
    pub date: Timestamp,
    /// The machine's time when the answer came.
    pub received: Timestamp,
    /// From sending the request to its answer, by a clock that nobody sets.
    pub took: Duration,
}

/// A `Date` header has whole seconds, and nobody knows when within a request it was written: smaller differences say nothing.
const NOTHING: SignedDuration = SignedDuration::from_secs(5);
/// An answer that took longer says too little.
const QUICK: Duration = Duration::from_secs(4);
/// What is believed changes only if the middle one of so many readings says so.
const READINGS: usize = 3;

/// What is believed of the machine's clock.
#[derive(Debug, Default)]
pub struct ClockOffset {
    last: VecDeque<SignedDuration>,
    believed: SignedDuration,
}

impl ClockOffset {
    /// Takes in one answer. Gives what has to be added to the machine's time to have AWS's, if that is to be believed from now on and was not
    /// before. The first answer is believed as it is, for there is nothing better; after that one answer alone changes nothing.
    pub fn read(&mut self, reading: Reading) -> Option<SignedDuration> {
        if reading.took > QUICK {
            return None;
        }
        let first = self.last.is_empty();
        if self.last.len() == READINGS {
            self.last.pop_front();
        }
        self.last.push_back(offset(reading));
        if !first && self.last.len() < READINGS {
            return None;
        }
        let found = self.middle();
        if (found - self.believed).abs() < NOTHING {
            return None;
        }
        self.believed = if found.abs() < NOTHING { SignedDuration::ZERO } else { found };
        Some(self.believed)
    }

    fn middle(&self) -> SignedDuration {
        let mut sorted: Vec<_> = self.last.iter().copied().collect();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// AWS's time less the machine's, both when the answer came: the middle of what is possible.
fn offset(reading: Reading) -> SignedDuration {
    let half = SignedDuration::try_from(reading.took / 2).unwrap_or_default();
    reading.date.duration_since(reading.received) + half + SignedDuration::from_millis(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer at a true time, on a machine whose clock is ahead by some seconds.
    fn answer(second: i64, ahead: i64, took: u64) -> Reading {
        let at = Timestamp::from_second(1_800_000_000 + second).unwrap();
        let received = at + SignedDuration::from_secs(ahead) + SignedDuration::from_millis(700);
        Reading { date: at, received, took: Duration::from_millis(took) }
    }

    /// What is believed after each answer, in seconds.
    fn believed(answers: &[(i64, u64)]) -> Vec<Option<i64>> {
        let mut offset = ClockOffset::default();
        let answers = (0..).zip(answers);
        answers
            .map(|(second, (ahead, took))| offset.read(answer(second, *ahead, *took)).map(|it| it.as_secs()))
            .collect()
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        assert_eq!(believed(&[(0, 100), (1, 100), (-2, 900), (3, 3000), (-3, 100)]), [None; 5]);
    }

    #[test]
    fn the_first_answer_is_believed_and_said_once() {
        assert_eq!(believed(&[(600, 100), (600, 100), (601, 100), (599, 100)]), [Some(-600), None, None, None]);
        assert_eq!(believed(&[(-600, 100), (-600, 100)]), [Some(599), None]);
    }

    #[test]
    fn a_single_answer_that_differs_changes_nothing() {
        let answers = [(0, 50), (0, 50), (0, 50), (3600, 50), (0, 50), (0, 50), (0, 50)];
        assert_eq!(believed(&answers), [None; 7]);
        let answers = [(600, 50), (600, 50), (600, 50), (0, 50), (600, 50), (600, 50)];
        assert_eq!(believed(&answers), [Some(-600), None, None, None, None, None]);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_after_a_few_answers() {
        let answers = [(600, 50), (600, 50), (600, 50), (0, 50), (0, 50), (0, 50)];
        assert_eq!(believed(&answers), [Some(-600), None, None, None, Some(0), None]);
    }

    #[test]
    fn an_answer_that_took_long_says_nothing() {
        assert_eq!(believed(&[(600, 9000), (0, 50)]), [None, None]);
    }
}
