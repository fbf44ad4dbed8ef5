//! One pass over a part of the history, from its end to its beginning.

use std::time::Duration;

use jiff::Timestamp;

use super::{PAGE, Page, Request, Window};

/// A token is used only for so long after it was given: nobody says when one expires.
const TOKEN_FRESH: Duration = Duration::from_secs(10);
/// So many pages in a row that came in time make the pages larger again.
const GROW_AFTER: u32 = 20;

/// One pass over a part of the history. It goes on from the time of the last event that was read, so that it survives pauses, restarts
/// and page tokens that expired.
///
/// A token is used only within a run of requests. It is needed where one second holds more events than a page: times are whole seconds, and
/// a window that ends with that second would begin with the same page again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    start: Timestamp,
    /// Everything after this second is read, and a part of the second itself.
    below: Timestamp,
    run: Option<Run>,
    touched: bool,
}

/// Requests with one window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    end: Timestamp,
    limit: u8,
    token: String,
    at: Duration,
}

/// What a page means for the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to read.
    GoesOn,
    /// It was the last page.
    Ended,
    /// The token of the next page is that of this page: such an answer leads nowhere.
    Circles,
}

impl Scan {
    /// A pass over a window.
    pub(super) fn new(window: Window) -> Self {
        Self { start: window.start, below: window.end.max(window.start), run: None, touched: false }
    }

    /// Up to where it is still to be read.
    pub(super) fn below(&self) -> Timestamp {
        self.below
    }

    /// The oldest second of its part of the history.
    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    /// Whether nothing of it was read yet.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// The request for its next page.
    pub(super) fn ask(&mut self, limit: u8, elapsed: Duration) -> Request {
        if self.run.as_ref().is_some_and(|run| elapsed.saturating_sub(run.at) > TOKEN_FRESH) {
            self.interrupt();
        }
        match &self.run {
            Some(run) => Request {
                window: Window { start: self.start, end: run.end },
                limit: run.limit,
                token: Some(run.token.clone()),
            },
            None => Request { window: Window { start: self.start, end: self.below }, limit, token: None },
        }
    }

    /// Takes the answer to the last request.
    pub(super) fn take(&mut self, page: &Page, limit: u8, elapsed: Duration) -> Step {
        self.touched = true;
        let Some(token) = page.next.clone() else { return Step::Ended };
        if self.run.as_ref().is_some_and(|run| run.token == token) {
            self.run = None;
            return Step::Circles;
        }
        let (end, limit) = self.run.as_ref().map_or((self.below, limit), |run| (run.end, run.limit));
        if let Some(oldest) = page.oldest {
            self.below = self.below.min(oldest.max(self.start));
        }
        self.run = Some(Run { end, limit, token, at: elapsed });
        Step::GoesOn
    }

    /// Whether it is in the middle of a second that holds more events than a page, so that it must go on with its token.
    pub(super) fn is_within_a_second(&self) -> bool {
        self.run.as_ref().is_some_and(|run| self.below.as_second() >= run.end.as_second())
    }

    /// Others come first: it goes on by time.
    pub(super) fn interrupt(&mut self) {
        if !self.is_within_a_second() {
            self.run = None;
        }
    }

    /// Its token is of no use any more. True if there was one.
    pub(super) fn lose_token(&mut self) -> bool {
        self.run.take().is_some()
    }
}

/// How many events a request asks for: fewer after a time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    events: u8,
    in_time: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self { events: PAGE, in_time: 0 }
    }
}

impl Limit {
    pub(super) fn get(self) -> u8 {
        self.events
    }
    pub(super) fn timed_out(&mut self) {
        *self = Self { events: (self.events / 2).max(1), in_time: 0 };
    }
    pub(super) fn answered(&mut self) {
        self.in_time += 1;
        if self.events < PAGE && self.in_time >= GROW_AFTER {
            *self = Self { events: self.events.saturating_mul(2).min(PAGE), in_time: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::at;

    const NOW: Duration = Duration::ZERO;

    fn page(oldest: i64, next: &str) -> Page {
        Page { events: 50, oldest: Some(at(oldest)), next: Some(next.to_owned()) }
    }

    fn asked(scan: &mut Scan, elapsed: Duration) -> (Timestamp, Timestamp, Option<String>) {
        let request = scan.ask(PAGE, elapsed);
        (request.window.start, request.window.end, request.token)
    }

    #[test]
    fn it_goes_on_by_token_in_a_run_and_by_time_after_a_pause() {
        let mut scan = Scan::new(Window { start: at(0), end: at(1000) });
        assert_eq!(asked(&mut scan, NOW), (at(0), at(1000), None));
        assert_eq!(scan.take(&page(900, "a"), PAGE, NOW), Step::GoesOn);
        assert_eq!(asked(&mut scan, NOW), (at(0), at(1000), Some("a".to_owned())), "the window of a token is its own");
        assert_eq!(scan.take(&page(800, "b"), PAGE, NOW), Step::GoesOn);
        scan.interrupt();
        assert_eq!(asked(&mut scan, NOW), (at(0), at(800), None));
        scan.take(&page(700, "c"), PAGE, NOW);
        assert_eq!(asked(&mut scan, TOKEN_FRESH), (at(0), at(800), Some("c".to_owned())));
        assert_eq!(asked(&mut scan, TOKEN_FRESH + Duration::from_millis(1)), (at(0), at(700), None), "too old");
        assert_eq!(scan.take(&Page::default(), PAGE, NOW), Step::Ended);
    }

    #[test]
    fn a_second_that_holds_more_than_a_page_is_read_to_its_end_by_token() {
        let mut scan = Scan::new(Window { start: at(0), end: at(1000) });
        scan.take(&page(900, "a"), PAGE, NOW);
        scan.interrupt();
        scan.take(&page(900, "b"), PAGE, NOW);
        assert!(scan.is_within_a_second());
        scan.interrupt();
        assert_eq!(asked(&mut scan, Duration::from_secs(60)), (at(0), at(900), Some("b".to_owned())));
        scan.take(&page(900, "c"), PAGE, NOW);
        assert!(scan.is_within_a_second());
        scan.take(&page(899, "d"), PAGE, NOW);
        assert!(!scan.is_within_a_second());
        scan.interrupt();
        assert_eq!(asked(&mut scan, NOW), (at(0), at(899), None));
    }

    #[test]
    fn an_empty_page_with_a_token_is_no_end() {
        let mut scan = Scan::new(Window { start: at(0), end: at(1000) });
        let empty = Page { events: 0, oldest: None, next: Some("a".to_owned()) };
        assert_eq!(scan.take(&empty, PAGE, NOW), Step::GoesOn);
        assert_eq!(asked(&mut scan, NOW), (at(0), at(1000), Some("a".to_owned())));
    }

    #[test]
    fn a_token_that_comes_again_leads_nowhere_and_a_lost_one_costs_no_progress() {
        let mut scan = Scan::new(Window { start: at(0), end: at(1000) });
        scan.take(&page(900, "a"), PAGE, NOW);
        assert_eq!(scan.take(&page(900, "a"), PAGE, NOW), Step::Circles);
        scan.take(&page(800, "b"), PAGE, NOW);
        assert!(scan.lose_token());
        assert!(!scan.lose_token());
        assert_eq!(asked(&mut scan, NOW), (at(0), at(800), None));
    }

    #[test]
    fn a_time_out_asks_for_fewer_events_and_many_answers_for_more() {
        let mut limit = Limit::default();
        let after = |limit: &mut Limit, change: fn(&mut Limit), times: u32| {
            (0..times).for_each(|_| change(limit));
            limit.get()
        };
        assert_eq!(after(&mut limit, Limit::timed_out, 1), 25);
        assert_eq!(after(&mut limit, Limit::timed_out, 10), 1);
        assert_eq!(after(&mut limit, Limit::answered, GROW_AFTER), 2);
        assert_eq!(after(&mut limit, Limit::answered, GROW_AFTER * 10), PAGE);
    }
}
