use std::sync::Mutex;

use super::*;
use crate::aws::Window;
use crate::clock::CorrectedClock;

#[tokio::test(start_paused = true)]
async fn the_budget_spaces_requests() {
    let mut budget = Budget::new(0.5);
    let begun = clock::instant();
    for _ in 0..4 {
        budget.ready().await;
        budget.spend();
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    clock::sleep(Duration::from_secs(100)).await;
    budget.ready().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(106), "an idle time is not saved up");
}

#[tokio::test(start_paused = true)]
async fn no_second_has_more_requests_than_the_rate() {
    let mut budget = Budget::new(2.0);
    let begun = clock::instant();
    let mut sent = Vec::new();
    for idle in [0, 100, 0, 700, 5000, 0, 0, 0] {
        clock::sleep(Duration::from_millis(idle)).await;
        budget.ready().await;
        budget.spend();
        sent.push(begun.elapsed().as_millis());
    }
    assert_eq!(sent, [0, 100, 1000, 1700, 6700, 6700, 7700, 7700]);
    assert!(sent.windows(3).all(|three| three[2] - three[0] >= 1000), "{sent:?}");
}

/// An event history whose answers show that the clock is wrong.
#[derive(Debug)]
struct Correcting {
    clock: Arc<CorrectedClock>,
    windows: Mutex<Vec<Window>>,
}

#[async_trait::async_trait]
impl CloudTrail for Correcting {
    async fn lookup(&self, _: &str, request: &Request) -> Result<LookupPage, AwsError> {
        self.windows.lock().unwrap().push(request.window);
        self.clock.correct(AHEAD);
        Ok(LookupPage::default())
    }
}

const AHEAD: SignedDuration = SignedDuration::from_hours(-8);
const OVERLAP: Duration = Duration::from_secs(1800);

#[tokio::test(start_paused = true)]
async fn a_window_by_a_clock_that_was_wrong_is_read_again_by_the_right_one() {
    let clock = Arc::new(CorrectedClock::default());
    let wrong = clock.now();
    let cloudtrail = Arc::new(Correcting { clock: Arc::clone(&clock), windows: Mutex::default() });
    let (batches, mut pages) = mpsc::channel(4);
    let scheduler = Scheduler {
        context: ContextName::parse("default").unwrap(),
        cloudtrail: Arc::<Correcting>::clone(&cloudtrail),
        polling: Polling { interval: Duration::from_secs(30), overlap: OVERLAP, rate: 1.0 },
        known: ContextState::new(wrong),
        clock: Arc::<CorrectedClock>::clone(&clock),
        metrics: Arc::new(Metrics::new("1", "c", wrong).unwrap()),
        health: Arc::new(Health::new()),
        batches,
        auditor: None,
    };
    scheduler.poll_once().await.unwrap();
    let read_to = pages.recv().await.unwrap().progress.unwrap().cursor.unwrap();
    assert!(pages.recv().await.is_none(), "what the wrong window showed is not handed on");
    let windows = cloudtrail.windows.lock().unwrap();
    assert_eq!(windows.len(), 2);
    let near = |time: Timestamp, to: Timestamp| time.duration_since(to).abs() < SignedDuration::from_secs(10);
    let right = wrong + AHEAD;
    assert!(near(windows[0].end, wrong), "{windows:?}");
    assert!(
        near(read_to, right) && near(windows[1].end, right) && near(windows[1].start, right - OVERLAP),
        "{windows:?}, {read_to}"
    );
}
