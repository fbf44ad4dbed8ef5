//! How often each operation was called, as CloudTrail recorded it.

use crate::client::{CallError, Client, USER_AGENT};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// Whose calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The calls of all callers.
    Anyone,
    /// All but the [`Client`]s of this crate: those of the program under test.
    Others,
}

impl Client {
    /// How often each operation was called in this account and region since MiniStack started.
    ///
    /// Reading calls count too, and calls that failed; calls to CloudTrail itself are not recorded.
    pub fn recorded_calls(&self, caller: Caller) -> Result<BTreeMap<String, u64>, CallError> {
        let mut counts = BTreeMap::new();
        for event in self.all_events()? {
            if caller == Caller::Anyone || !is_own(&event) {
                let name = event["EventName"].as_str().unwrap_or_default();
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// MiniStack gives the newest 50 events and no token for more, so the next page is asked for by
    /// its end, and what stands on both pages counts once.
    fn all_events(&self) -> Result<Vec<Value>, CallError> {
        let mut events = Vec::new();
        let mut seen = HashSet::new();
        let mut input = json!({});
        loop {
            let page = self.lookup(&input)?;
            let oldest = page.last().and_then(|event| event["EventTime"].as_f64());
            let before = events.len();
            events.extend(page.into_iter().filter(|event| seen.insert(event["EventId"].to_string())));
            match oldest {
                // Times are binary fractions that do not survive being written and read to the last
                // digit: a microsecond more keeps those of the same moment.
                Some(time) if events.len() > before => input = json!({"EndTime": time + 1e-6}),
                _ => return Ok(events),
            }
        }
    }
}

fn is_own(event: &Value) -> bool {
    event["CloudTrailEvent"]
        .as_str()
        .and_then(|record| serde_json::from_str::<Value>(record).ok())
        .is_some_and(|record| record["userAgent"] == USER_AGENT)
}
