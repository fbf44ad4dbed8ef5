//! What is read of a context's pushes, and in which order.

mod progress;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::scan::{Limit, Scan, Step};
use super::{Demand, FRESH, Moment, Page, Polling, Request, Window};
use crate::domain::opening::Correction;
use crate::domain::state::{ContextState, EVENT_HISTORY, REREAD, ReadingProgress, before};

/// Late events are looked for so often.
const REREAD_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// A re-read that could not be done for long goes back no further than this.
const REREAD_AT_MOST: SignedDuration = SignedDuration::from_hours(48);
/// After so many requests of a poll one of the background has its turn.
const SHARE: u32 = 4;
/// So many requests in a row for one of the two things that are read in the background, if both wait.
const TURN: u32 = 4;
/// So many failures in a row end a poll; the next one goes on from the same place.
const ATTEMPTS: u32 = 5;
/// The longest pause after failures in the background.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this request to CloudTrail.
    Ask(Request),
    /// Nothing before this time since the reader began.
    Wait(Duration),
}

/// What came of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Took {
    /// How far the events are read with this page, if it is further than before.
    pub progress: Option<ReadingProgress>,
    /// The poll has ended: the newest events are read.
    pub polled: bool,
    /// The answer leads nowhere: the token of the next page is that of this page. The request counts as failed, and has to be told so.
    pub circles: bool,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The page token is not valid (any more).
    StaleToken,
    /// No answer came in time.
    TimedOut,
    /// It is worth trying again soon.
    Passing,
    /// Somebody has to do something about it.
    Lasting,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The newest events, while an older sweep is still under way.
    Peek,
    /// From now back over the overlap. A poll begins it, and reads its fresh part; the rest is read in the background.
    Sweep,
    /// What was never read.
    Unread,
    /// What is read again for late events.
    Reread,
}

/// A poll under way.
#[derive(Debug, Clone)]
struct Poll {
    begun: Duration,
    now: Timestamp,
    /// It has ended when everything after this is read.
    fresh_from: Timestamp,
    peek: Option<Scan>,
    events: usize,
    failures: u32,
    /// Requests since the background had its turn.
    asked: u32,
}

/// From now back over the overlap, and beyond it to what is to be read besides, if that follows without a break.
#[derive(Debug, Clone)]
struct Sweep {
    scan: Scan,
    /// The time at which it began, which it reads back from.
    to: Timestamp,
    /// It is complete when everything from here on is read.
    overlap_from: Timestamp,
    /// What lies before that.
    rest: Option<Rest>,
}

/// What a sweep goes on to after its overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// What nobody read. Whether it goes back far enough for late events, too.
    Unread { rereads: bool },
    /// What is read again for late events.
    Reread,
}

/// Reads the pushes of one context: gives the next request, and takes what came of it.
#[derive(Debug)]
pub struct Reader {
    polling: Polling,
    baseline: Timestamp,
    progress: ReadingProgress,
    /// What was handed on of it last.
    told: ReadingProgress,
    /// Reads everything from the cursor once, and nothing in the background.
    once: bool,
    poll: Option<Poll>,
    /// The poll began anew, by a clock that was corrected.
    began_anew: bool,
    due: Duration,
    sweep: Option<Sweep>,
    /// The first of the spans that are read in the background.
    deep: Option<(Part, Scan)>,
    asked: Option<Part>,
    /// The background had no turn since the last poll.
    owed: bool,
    turn: u32,
    limit: Limit,
    pause: Duration,
    background_pause: Duration,
    background_failures: u32,
    rate: Option<f64>,
}

impl Reader {
    /// Goes on from where the state says.
    #[must_use]
    pub fn new(known: &ContextState, polling: Polling) -> Self {
        let mut progress = known.progress();
        // Earlier versions looked for late events without writing it down.
        progress.reread_to.get_or_insert(known.read_from());
        Self {
            polling,
            baseline: known.baseline,
            told: progress.clone(),
            progress,
            once: false,
            poll: None,
            began_anew: false,
            due: Duration::ZERO,
            sweep: None,
            deep: None,
            asked: None,
            owed: false,
            turn: 0,
            limit: Limit::default(),
            pause: Duration::ZERO,
            background_pause: Duration::ZERO,
            background_failures: 0,
            rate: None,
        }
    }

    /// Reads everything from the cursor to now, and has ended with its first poll.
    #[must_use]
    pub fn once(known: &ContextState, polling: Polling) -> Self {
        Self { once: true, ..Self::new(known, polling) }
    }

    /// What to do next. The answer to a request has to be given before the next one is asked for.
    pub fn next(&mut self, at: Moment) -> Next {
        let paused = at.elapsed < self.background_pause.max(self.pause);
        let has_turn = self.owed && !paused && self.background().is_some();
        if self.poll.is_none() && at.elapsed >= self.due && !has_turn {
            self.begin_poll(at);
        }
        let shares = self.poll.as_ref().is_none_or(|poll| poll.asked >= SHARE) && !self.polls_within_a_second();
        match (self.background().filter(|_| !paused && shares), &self.poll) {
            (Some(part), _) => self.ask(part, at),
            (None, Some(_)) if at.elapsed < self.pause => Next::Wait(self.pause),
            (None, Some(poll)) => {
                let part = if poll.peek.is_some() { Part::Peek } else { Part::Sweep };
                self.ask(part, at)
            }
            (None, None) => {
                let paused = self.background().map(|_| self.background_pause.max(self.pause));
                Next::Wait(paused.map_or(self.due, |paused| paused.min(self.due)))
            }
        }
    }

    /// Takes the answer to the last request.
    pub fn answered(&mut self, page: &Page, at: Moment) -> Took {
        let limit = self.limit.get();
        self.limit.answered();
        let Some(part) = self.asked.take() else { return Took::default() };
        let of_poll = self.is_of_poll(part);
        let Some(scan) = self.scan_of(part) else { return Took::default() };
        let (step, start) = (scan.take(page, limit, at.elapsed), scan.start());
        if step == Step::Circles {
            self.asked = Some(part);
            return Took { circles: true, ..Took::default() };
        }
        let ended = step == Step::Ended;
        let read_from = if ended { start } else { scan.below() };
        self.went_on(part, ended, at.now);
        let polled = match self.poll.as_mut().filter(|_| of_poll) {
            Some(poll) => {
                (poll.events, poll.failures) = (poll.events + page.events, 0);
                let is_read = ended || read_from < poll.fresh_from;
                is_read && self.end_poll(read_from, at)
            }
            None => {
                self.background_failures = 0;
                false
            }
        };
        let progress = (self.progress != self.told).then(|| self.progress.clone());
        if let Some(progress) = &progress {
            self.told.clone_from(progress);
        }
        Took { progress, polled, circles: false }
    }

    /// Takes the failure of the last request. True if it ends the poll.
    pub fn failed(&mut self, failure: Failure, at: Moment) -> bool {
        let Some(part) = self.asked.take() else { return false };
        let of_poll = self.is_of_poll(part);
        let had_token = match self.scan_of(part) {
            Some(scan) if matches!(failure, Failure::StaleToken | Failure::TimedOut) => scan.lose_token(),
            Some(scan) => {
                scan.interrupt();
                false
            }
            None => false,
        };
        match failure {
            // It goes on from the time of the last event.
            Failure::StaleToken if had_token => return false,
            Failure::TimedOut => self.limit.timed_out(),
            Failure::StaleToken | Failure::Passing | Failure::Lasting => {}
        }
        match self.poll.as_mut().filter(|_| of_poll) {
            Some(poll) => {
                poll.failures += 1;
                if failure != Failure::Lasting && poll.failures < ATTEMPTS {
                    self.pause = at.elapsed + pause(poll.failures);
                    return false;
                }
                self.due = (poll.begun + self.polling.interval).max(at.elapsed);
                // While nothing can be read, each poll finds out whether it can again.
                self.pause = self.due;
                self.poll = None;
                self.began_anew = false;
                // By the next poll it would be out of date.
                self.sweep.take_if(|sweep| sweep.scan.is_untouched());
                true
            }
            None => {
                self.background_failures += 1;
                let pause = if failure == Failure::Lasting { LONGEST_PAUSE } else { pause(self.background_failures) };
                self.background_pause = at.elapsed + pause;
                false
            }
        }
    }

    /// Takes that the clock was wrong. If a poll is under way of which nothing was read yet, it begins anew by the right clock, and so gives true:
    /// then an answer that has come in is not for this reader any more. A poll begins anew only once, so that a clock which is corrected again
    /// and again holds up nothing.
    pub fn clock_corrected(&mut self, correction: Correction) -> bool {
        let opening = self.progress.cursor.is_none() && self.progress.recent.is_none();
        self.baseline = correction.of_start(self.baseline, opening);
        if let Some(reread_to) = &mut self.progress.reread_to {
            *reread_to = correction.of_start(*reread_to, opening);
        }
        let scan = match &self.poll {
            Some(poll) => poll.peek.as_ref().or(self.sweep.as_ref().map(|sweep| &sweep.scan)),
            None => None,
        };
        if self.began_anew || !scan.is_some_and(Scan::is_untouched) {
            return false;
        }
        self.began_anew = true;
        (self.poll, self.asked) = (None, None);
        self.sweep.take_if(|sweep| sweep.scan.is_untouched());
        true
    }

    /// Whether there is something to ask for now.
    #[must_use]
    pub fn is_due(&self, at: Moment) -> bool {
        let unpaused = at.elapsed >= self.pause;
        let polls = self.poll.is_some() || at.elapsed >= self.due;
        unpaused && (polls || (at.elapsed >= self.background_pause && self.background().is_some()))
    }

    /// What the events take, as far as it is known by now.
    #[must_use]
    pub fn demand(&self) -> Option<Demand> {
        self.rate.map(|rate| Demand::of(rate, &self.polling))
    }

    /// The settings by which it polls.
    #[must_use]
    pub fn polling(&self) -> &Polling {
        &self.polling
    }

    fn begin_poll(&mut self, at: Moment) {
        let fresh_from = before(at.now, span(FRESH.min(self.polling.overlap)));
        // Event times are whole seconds and both ends belong to a window: the second that has begun is read too.
        let end = at.now.checked_add(SignedDuration::from_millis(999)).unwrap_or(at.now);
        let mut poll =
            Poll { begun: at.elapsed, now: at.now, fresh_from, peek: None, events: 0, failures: 0, asked: 0 };
        match &self.sweep {
            Some(sweep) => {
                let start = fresh_from.max(sweep.scan.start());
                poll.peek = Some(Scan::new(Window { start, end }));
            }
            None => {
                let (start, overlap_from, rest) = self.plan_sweep(at.now);
                self.sweep = Some(Sweep { scan: Scan::new(Window { start, end }), to: at.now, overlap_from, rest });
                if self.once {
                    poll.fresh_from = Timestamp::MIN;
                }
            }
        }
        self.poll = Some(poll);
    }

    /// How far a sweep goes back: its start, where its overlap begins, and what lies between.
    fn plan_sweep(&self, now: Timestamp) -> (Timestamp, Timestamp, Option<Rest>) {
        let overlap = span(self.polling.overlap);
        let known = self.progress.cursor.unwrap_or(self.baseline);
        let reach = |time: Timestamp| time.max(before(now, EVENT_HISTORY)).min(now);
        if self.once {
            let start = reach(before(known.min(now), overlap));
            return (start, start, None);
        }
        let read_to = self.progress.recent.unwrap_or(known).min(now);
        let reread_to = self.progress.reread_to.unwrap_or(known).min(now);
        let overlap_from = reach(before(read_to, overlap));
        let at_rest = self.progress.unread.is_empty() && self.progress.reread.is_none();
        // Nothing from before the overlap of the first start is of any use.
        let first = before(self.baseline, overlap);
        let reread_from = reach(before(reread_to, REREAD).max(first));
        let newest = reach(before(now, overlap));
        if newest > read_to {
            let start = if at_rest { overlap_from.min(reread_from) } else { overlap_from };
            return (start, newest, Some(Rest::Unread { rereads: at_rest }));
        }
        if at_rest && now.duration_since(reread_to) >= REREAD_EVERY {
            let start = reread_from.max(before(now, REREAD_AT_MOST));
            return (start.min(overlap_from), overlap_from, Some(Rest::Reread));
        }
        (overlap_from, overlap_from, None)
    }

    /// What waits in the background.
    fn background(&self) -> Option<Part> {
        if self.once {
            return None;
        }
        let polled = self.poll.as_ref().is_some_and(|poll| poll.peek.is_none());
        let sweep = self.sweep.as_ref().filter(|_| !polled).map(|_| Part::Sweep);
        let unread = (!self.progress.unread.is_empty()).then_some(Part::Unread);
        let deep = unread.or(self.progress.reread.map(|_| Part::Reread));
        let stays = [sweep, deep].into_iter().flatten().find(|part| self.is_within_a_second(*part));
        let sweep_first = self.turn % (2 * TURN) < TURN;
        stays.or(if sweep_first { sweep.or(deep) } else { deep.or(sweep) })
    }

    fn is_within_a_second(&self, part: Part) -> bool {
        let scan = match part {
            Part::Sweep => self.sweep.as_ref().map(|sweep| &sweep.scan),
            Part::Peek => self.poll.as_ref().and_then(|poll| poll.peek.as_ref()),
            Part::Unread | Part::Reread => self.deep.as_ref().filter(|(deep, _)| *deep == part).map(|(_, scan)| scan),
        };
        scan.is_some_and(Scan::is_within_a_second)
    }

    fn polls_within_a_second(&self) -> bool {
        let Some(poll) = &self.poll else { return false };
        self.is_within_a_second(if poll.peek.is_some() { Part::Peek } else { Part::Sweep })
    }

    /// Whether a request for this part belongs to the poll that is under way.
    fn is_of_poll(&self, part: Part) -> bool {
        let Some(poll) = &self.poll else { return false };
        match part {
            Part::Peek => true,
            Part::Sweep => poll.peek.is_none(),
            Part::Unread | Part::Reread => false,
        }
    }

    fn ask(&mut self, part: Part, at: Moment) -> Next {
        let limit = self.limit.get();
        if self.is_of_poll(part) {
            if let Some(poll) = &mut self.poll {
                poll.asked += 1;
            }
        } else {
            self.owed = false;
            self.turn = self.turn.wrapping_add(1);
            if let Some(poll) = &mut self.poll {
                poll.asked = 0;
            }
        }
        // Others come first now: they go on by time.
        for other in [Part::Peek, Part::Sweep, Part::Unread, Part::Reread].into_iter().filter(|other| *other != part) {
            if let Some(scan) = self.scan_of(other) {
                scan.interrupt();
            }
        }
        if matches!(part, Part::Unread | Part::Reread) && self.deep.as_ref().is_none_or(|(deep, _)| *deep != part) {
            let first = if part == Part::Unread { self.progress.unread.first() } else { self.progress.reread.as_ref() };
            self.deep = first.map(|span| (part, Scan::new(Window { start: span.from, end: span.to })));
        }
        let request = self.scan_of(part).map(|scan| scan.ask(limit, at.elapsed));
        self.asked = Some(part);
        request.map_or(Next::Wait(self.due), Next::Ask)
    }

    fn scan_of(&mut self, part: Part) -> Option<&mut Scan> {
        match part {
            Part::Peek => self.poll.as_mut()?.peek.as_mut(),
            Part::Sweep => self.sweep.as_mut().map(|sweep| &mut sweep.scan),
            Part::Unread | Part::Reread => self.deep.as_mut().filter(|(deep, _)| *deep == part).map(|(_, scan)| scan),
        }
    }

    /// The part of the history that the poll was for is read.
    fn end_poll(&mut self, read_from: Timestamp, at: Moment) -> bool {
        let Some(poll) = self.poll.take() else { return false };
        let covered = poll.now.duration_since(read_from).as_secs_f64();
        if covered >= 1.0 {
            self.rate = Some(f64::from(u32::try_from(poll.events).unwrap_or(u32::MAX)) / covered);
        }
        self.due = (poll.begun + self.polling.interval).max(at.elapsed);
        self.owed = true;
        self.began_anew = false;
        true
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(LONGEST_PAUSE)
}

fn span(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(EVENT_HISTORY)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
