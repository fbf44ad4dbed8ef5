//! Calls that fail: when they are made again, and what is said about it.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Deployer;
use crate::aws::{AwsError, Fault};
use crate::clock::{self, Instant};
use crate::domain::types::ServiceKey;

/// After a failed call: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What needs an operator to change something is tried this often.
const BACKOFF_DENIED: Duration = Duration::from_secs(60);
/// Calls that fail.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Nothing is begun before then.
    pub(super) not_before: Option<Instant>,
    failures: u32,
    pub(super) complaint: Option<String>,
    /// Somebody has to change something first.
    pub(super) hopeless: bool,
}

impl Trouble {
    pub(super) fn is_over(&self) -> bool {
        self.not_before.is_none_or(|at| at <= clock::instant())
    }
}

/// What kind of call: each is tried again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Watch,
}

impl Deployer {
    /// A call failed: when to try again, and what to say.
    pub(super) fn failed(&mut self, key: &ServiceKey, kind: Kind, error: &AwsError) {
        let trouble = self.trouble(key, kind);
        let delay = match error.fault {
            Fault::Denied | Fault::Refused => BACKOFF_DENIED,
            _ => BACKOFF.1.min(BACKOFF.0 * 2u32.saturating_pow(trouble.failures.min(10))),
        };
        trouble.failures += 1;
        trouble.hopeless = matches!(error.fault, Fault::Denied | Fault::Refused | Fault::Credentials);
        trouble.not_before = Some(clock::instant() + delay);
        let text = error.to_string();
        if trouble.complaint.as_ref() == Some(&text) {
            debug!(aws = %key.aws, cluster = %key.cluster, service = %key.service, error = %text, "still failing");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "none needed: it is tried again".to_owned());
        warn!(
            aws = %key.aws, cluster = %key.cluster, service = %key.service, error = %text, remedy, retry_in = ?delay,
            "a call to AWS failed"
        );
        trouble.complaint = Some(text);
    }

    /// A call succeeded.
    pub(super) fn succeeded(&mut self, key: &ServiceKey, kind: Kind) {
        if std::mem::take(self.trouble(key, kind)).complaint.is_some() {
            info!(aws = %key.aws, cluster = %key.cluster, service = %key.service, "calls to AWS work again");
        }
    }

    fn trouble(&mut self, key: &ServiceKey, kind: Kind) -> &mut Trouble {
        let run = self.run_mut(key);
        match kind {
            Kind::Read => &mut run.reads,
            Kind::Write => &mut run.writes,
            Kind::Watch => &mut run.watching,
        }
    }
}
