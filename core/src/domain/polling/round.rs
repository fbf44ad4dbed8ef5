//! How changes to ECS are read: LookupEvents takes one attribute, so each event name is a scan of its own, and a round goes through all
//! of them.

use std::time::Duration;

use jiff::SignedDuration;

use super::scan::{Limit, Scan, Step};
use super::{Failure, Moment, Page, Request, Window};
use crate::domain::audit::EventName;
use crate::domain::state::{AuditProgress, AuditRound, AuditState, EVENT_HISTORY, before};

/// The longest pause after failures.
const LONGEST_PAUSE: u64 = 60;

/// Reads the changes of one context: gives the next request, and takes what came of it. What a round has read it keeps, whatever fails.
#[derive(Debug)]
pub struct Auditing {
    events: Vec<EventName>,
    interval: Duration,
    overlap: Duration,
    progress: AuditProgress,
    /// Where the first round goes on from.
    since: jiff::Timestamp,
    round: Option<Round>,
    due: Duration,
    failures: u32,
    limit: Limit,
}

/// A round under way.
#[derive(Debug)]
struct Round {
    begun: Duration,
    window: Window,
    /// When it began, by the clock of the windows.
    to: jiff::Timestamp,
    event: usize,
    scan: Scan,
}

impl Auditing {
    /// Goes on from where the state says.
    #[must_use]
    pub fn new(events: Vec<EventName>, interval: Duration, overlap: Duration, known: &AuditState) -> Self {
        let begun = |round: &AuditRound| {
            let event = events.iter().position(|event| event.as_str() == round.event)?;
            let window = Window { start: round.from, end: round.to };
            let scan = Scan::new(Window { start: round.from, end: round.below });
            Some(Round { begun: Duration::ZERO, window, to: round.to, event, scan })
        };
        Self {
            round: known.round.as_ref().and_then(begun),
            progress: AuditProgress { cursor: known.cursor, round: known.round.clone() },
            since: known.read_from(),
            events,
            interval,
            overlap,
            due: Duration::ZERO,
            failures: 0,
            limit: Limit::default(),
        }
    }

    /// When the next request is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// The next request, and the event name that it asks for. `None` if there is no name to ask for.
    pub fn next(&mut self, at: Moment) -> Option<(EventName, Request)> {
        let round = match self.round.take() {
            Some(round) => round,
            None => self.begin(at),
        };
        let round = self.round.insert(round);
        let name = self.events.get(round.event)?;
        Some((name.clone(), round.scan.ask(self.limit.get(), at.elapsed)))
    }

    /// Takes the answer to the last request, and tells how far the changes are read with it.
    pub fn answered(&mut self, page: &Page, at: Moment) -> AuditProgress {
        self.failures = 0;
        let limit = self.limit.get();
        self.limit.answered();
        self.due = at.elapsed;
        if let Some(mut round) = self.round.take() {
            match round.scan.take(page, limit, at.elapsed) {
                Step::GoesOn => {}
                // What lies before a page that leads to itself cannot be had.
                Step::Ended | Step::Circles => {
                    round.event += 1;
                    round.scan = Scan::new(round.window);
                }
            }
            match self.events.get(round.event) {
                Some(name) => {
                    self.progress.round = Some(AuditRound {
                        from: round.window.start,
                        to: round.to,
                        event: name.as_str().to_owned(),
                        below: round.scan.below(),
                    });
                    self.round = Some(round);
                }
                None => {
                    self.progress = AuditProgress { cursor: Some(round.to), round: None };
                    self.due = (round.begun + self.interval).max(at.elapsed);
                }
            }
        }
        self.progress.clone()
    }

    /// Takes the failure of the last request: the round goes on from the same place after a pause.
    pub fn failed(&mut self, failure: Failure, at: Moment) {
        if let Some(round) = &mut self.round {
            match failure {
                Failure::StaleToken if round.scan.lose_token() => return,
                Failure::TimedOut => {
                    self.limit.timed_out();
                    round.scan.lose_token();
                }
                Failure::StaleToken | Failure::Passing | Failure::Lasting => round.scan.interrupt(),
            }
        }
        self.failures += 1;
        let passing = Duration::from_secs((1 << self.failures.min(6)).min(LONGEST_PAUSE));
        self.due = at.elapsed + if failure == Failure::Lasting { self.interval } else { passing };
    }

    fn begin(&self, at: Moment) -> Round {
        let from = self.progress.cursor.unwrap_or(self.since).min(at.now);
        let overlap = SignedDuration::try_from(self.overlap).unwrap_or(EVENT_HISTORY);
        let start = before(from, overlap).max(before(at.now, EVENT_HISTORY));
        let end = at.now.checked_add(SignedDuration::from_millis(999)).unwrap_or(at.now);
        let window = Window { start, end };
        Round { begun: at.elapsed, window, to: at.now, event: 0, scan: Scan::new(window) }
    }
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;
