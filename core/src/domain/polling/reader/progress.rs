//! How far the pushes of a context are read: what each page adds to it, and what is left.

use jiff::{SignedDuration, Timestamp};

use super::{Part, Reader, Rest};
use crate::domain::state::Span;

/// Spans that are kept apart; beyond, two become one with what lies between them.
const SPANS: usize = 16;

impl Reader {
    /// How far behind the reading is: the age of the time up to which everything is read; where late events are looked for, at least for how long
    /// already.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> SignedDuration {
        let since = |time: Timestamp| now.duration_since(time).max(SignedDuration::ZERO);
        let read = since(self.progress.cursor.unwrap_or(self.baseline));
        let reread = self.progress.reread.and(self.progress.reread_to).map(since);
        read.max(reread.unwrap_or_default())
    }

    /// How much of the event history is still to be read in the background.
    #[must_use]
    pub fn backlog(&self) -> SignedDuration {
        let spans = self.progress.unread.iter().chain(&self.progress.reread).map(Span::length);
        let sweep = self.sweep.iter().map(|sweep| sweep.scan.below().duration_since(sweep.overlap_from));
        spans.chain(sweep).fold(SignedDuration::ZERO, |sum, one| sum.saturating_add(one.max(SignedDuration::ZERO)))
    }

    /// Whether what a downtime left unread is being read.
    #[must_use]
    pub fn catches_up(&self) -> bool {
        !self.progress.unread.is_empty()
    }

    /// What a page of one part means for what is read.
    pub(super) fn went_on(&mut self, part: Part, ended: bool, now: Timestamp) {
        match part {
            Part::Peek => {}
            Part::Sweep => self.sweep_went_on(ended, now),
            Part::Unread | Part::Reread => self.deep_went_on(part, ended),
        }
    }

    fn sweep_went_on(&mut self, ended: bool, now: Timestamp) {
        let Some(sweep) = self.sweep.take_if(|sweep| ended || sweep.scan.below() < sweep.overlap_from) else { return };
        // The clock may have been ahead when it began, and be right now.
        let to = sweep.to.min(now);
        let rest = Span { from: sweep.scan.start(), to: sweep.scan.below() };
        let rest = (!ended).then_some(rest);
        match sweep.rest {
            Some(Rest::Unread { rereads }) => {
                if rereads {
                    self.progress.reread_to = Some(to);
                }
                self.progress.unread.splice(0..0, rest);
                self.merge_spans();
                self.deep = None;
            }
            Some(Rest::Reread) => {
                self.progress.reread_to = Some(to);
                self.progress.reread = rest;
            }
            None => {}
        }
        if self.once {
            (self.progress.recent, self.progress.unread) = (None, Vec::new());
        }
        self.progress.recent = Some(to);
        self.move_cursor();
    }

    fn deep_went_on(&mut self, part: Part, ended: bool) {
        let Some((_, scan)) = &self.deep else { return };
        let to = scan.below();
        match (part, ended) {
            (Part::Unread, true) => drop(self.progress.unread.drain(..1)),
            (Part::Unread, false) => {
                if let Some(span) = self.progress.unread.first_mut() {
                    span.to = to;
                }
            }
            (Part::Reread | Part::Peek | Part::Sweep, true) => self.progress.reread = None,
            (Part::Reread | Part::Peek | Part::Sweep, false) => {
                if let Some(span) = &mut self.progress.reread {
                    span.to = to;
                }
            }
        }
        if ended {
            self.deep = None;
            self.move_cursor();
        }
    }

    /// The cursor waits for what was never read.
    fn move_cursor(&mut self) {
        if self.progress.unread.is_empty()
            && let Some(recent) = self.progress.recent.take()
        {
            self.progress.cursor = Some(recent);
        }
    }

    fn merge_spans(&mut self) {
        while self.progress.unread.len() > SPANS {
            let oldest = self.progress.unread.pop();
            if let (Some(oldest), Some(last)) = (oldest, self.progress.unread.last_mut()) {
                last.from = last.from.min(oldest.from);
            }
        }
    }
}
