//! When the state is written, and what waits for that.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tracing::{error, info};

use super::Deployer;
use crate::clock;

/// The cursor alone is written this often: an older one costs only a longer re-read after a crash.
const CURSOR_EVERY: Duration = Duration::from_secs(60);
/// After a failed commit.
const COMMIT_AGAIN: Duration = Duration::from_secs(5);
/// What waited for the disk for longer than this may have been overtaken.
const LONG_COMMIT: Duration = Duration::from_secs(5);

impl Deployer {
    pub(super) fn cursor_is_due(&self) -> bool {
        self.stale_since.is_some_and(|since| since.elapsed() >= CURSOR_EVERY)
    }

    pub(super) async fn commit(&mut self) {
        self.forget();
        let begun = clock::instant();
        let committed = Arc::clone(&self.ledger).commit(self.state.clone()).await;
        let result = committed.map_err(|error| crate::logging::chain(&error));
        self.metrics.committed(result.is_ok());
        match result {
            Ok(()) => {
                if begun.elapsed() >= LONG_COMMIT {
                    // What had to wait for the disk is looked at again before it is done.
                    self.doubt_all();
                }
                self.dirty = false;
                self.stale_since = None;
                self.commit_again = None;
                self.reply(Ok(()));
                for notice in self.untold.drain(..) {
                    self.notices.tell(&notice);
                }
                if self.commit_complaint.take().is_some() {
                    info!("the state can be written again");
                    self.launch_reads();
                }
            }
            Err(text) => {
                self.commit_again = Some(clock::instant() + COMMIT_AGAIN);
                self.reply(Err(&text));
                self.doubt_all();
                if self.commit_complaint.as_ref() != Some(&text) {
                    error!(error = %text, "the state cannot be written: nothing is deployed until it can");
                    self.commit_complaint = Some(text);
                }
            }
        }
    }

    /// What is not begun in ECS yet is looked at again before it is.
    pub(super) fn doubt_all(&mut self) {
        for run in self.runs.values_mut() {
            run.certain = false;
        }
    }

    /// Forgets the events that are not read again.
    pub(super) fn forget(&mut self) {
        let overlap = SignedDuration::try_from(self.config.poll.overlap).unwrap_or(SignedDuration::MAX);
        self.state.bound_history();
        self.forget_changes(overlap);
        for context in self.state.contexts.values_mut() {
            context.forget(overlap);
        }
    }
}
