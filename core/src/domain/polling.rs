//! How CloudTrail's event history is read: which request is next, given what came back so far.
//!
//! LookupEvents gives pages of at most 50 events, newest first, and an account has two requests a second for everybody in it. So what is
//! read is ordered by what it is worth: the newest events first and at every poll; what was read before, what is read again for events that
//! came late, and what a downtime left unread in the background, request by request.

mod demand;
mod reader;
mod round;
mod scan;

use std::time::Duration;

use jiff::Timestamp;

pub use demand::Demand;
pub use reader::{Failure, Next, Reader, Took};
pub use round::Auditing;

/// LookupEvents gives at most 50 events a page.
pub const PAGE: u8 = 50;
/// CloudTrail delivers within 15 minutes, as a rule: every poll reads so much of the past before anything else.
pub const FRESH: Duration = Duration::from_secs(15 * 60);

/// A part of the event history. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first second that belongs to it.
    pub start: Timestamp,
    /// The last second that belongs to it.
    pub end: Timestamp,
}

/// How a context is polled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polling {
    /// A poll begins this long after the one before began.
    pub interval: Duration,
    /// How much of the past is read again after each poll.
    pub overlap: Duration,
    /// LookupEvents requests per second.
    pub rate: f64,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, for windows.
    pub now: Timestamp,
    /// The time since the reader began, for pauses.
    pub elapsed: Duration,
}

/// What one LookupEvents request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The part of the history that is asked for.
    pub window: Window,
    /// The most events that are asked for.
    pub limit: u8,
    /// The token of the page, within a run of requests with one window.
    pub token: Option<String>,
}

/// What a page says about the pages after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// How many events it holds.
    pub events: usize,
    /// The time of its last event, which is its oldest.
    pub oldest: Option<Timestamp>,
    /// The token of the next page.
    pub next: Option<String>,
}
