//! How things are, asked of the deployer once a second at most.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::clock::{self, Instant};
use crate::deployer::Request;
use crate::metrics::Metrics;
use crate::status::Status;

/// A snapshot is shown to whoever asks within this time.
const FRESH: Duration = Duration::from_secs(1);
/// Metrics are written once within this time.
const FRESH_METRICS: Duration = Duration::from_millis(100);
/// The deployer answers at once, unless it hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The status as of one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    status: Status,
    json: OnceLock<Bytes>,
}

impl Snapshot {
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// The same for programs, written once.
    pub(super) fn json(&self) -> Bytes {
        self.json.get_or_init(|| serde_json::to_vec(&self.status).map(Bytes::from).unwrap_or_default()).clone()
    }
}

/// The last moment. With thousands of services it takes megabytes, so that it is kept no longer than it is shown.
#[derive(Debug)]
pub(super) struct Snapshots {
    asks: mpsc::Sender<Request>,
    last: Kept<Arc<Snapshot>>,
    metrics: Kept<Bytes>,
}

type Kept<T> = Arc<Mutex<Option<(Instant, T)>>>;

/// Keeps something for as long as it is fresh.
fn keep<T: Send + 'static>(kept: &Kept<T>, last: &mut Option<(Instant, T)>, value: T, fresh: Duration) {
    *last = Some((clock::instant(), value));
    let kept = Arc::clone(kept);
    drop(tokio::spawn(async move {
        clock::sleep(fresh).await;
        kept.lock().await.take_if(|(taken, _)| taken.elapsed() >= fresh);
    }));
}

impl Snapshots {
    pub(super) fn new(asks: mpsc::Sender<Request>) -> Self {
        Self { asks, last: Kept::default(), metrics: Kept::default() }
    }

    /// The metrics, as they are or were a moment ago: with thousands of services it takes its time to write them.
    pub(super) async fn metrics(&self, metrics: &Metrics) -> prometheus::Result<Bytes> {
        let mut last = self.metrics.lock().await;
        if let Some((taken, text)) = last.as_ref()
            && taken.elapsed() < FRESH_METRICS
        {
            return Ok(text.clone());
        }
        let text = Bytes::from(metrics.render()?);
        keep(&self.metrics, &mut last, text.clone(), FRESH_METRICS);
        Ok(text)
    }

    /// How things are, or were within the last second. Nothing, if the deployer does not answer.
    pub(super) async fn get(&self) -> Option<Arc<Snapshot>> {
        let mut last = self.last.lock().await;
        if let Some((taken, snapshot)) = last.as_ref()
            && taken.elapsed() < FRESH
        {
            return Some(Arc::clone(snapshot));
        }
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.asks.send(Request::Status(answer)).await.ok()?;
            answered.await.ok()
        };
        let status = clock::within(ANSWER_WITHIN, asking).await.flatten()?;
        let snapshot = Arc::new(Snapshot { status, json: OnceLock::new() });
        keep(&self.last, &mut last, Arc::clone(&snapshot), FRESH);
        Some(snapshot)
    }
}
