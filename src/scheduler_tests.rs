use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const OVERLAP: Duration = Duration::from_secs(1800);

#[test]
fn a_window_goes_from_the_cursor_less_the_overlap_to_now() {
    let now = time("2026-11-22T10:00:00.4Z");
    for (cursor, start) in [
        (None, "2026-11-22T09:30:00.4Z"),
        (Some("2026-11-22T09:59:30Z"), "2026-11-22T09:29:30Z"),
        (Some("2026-11-15T10:00:00Z"), "2026-11-15T09:30:00Z"),
        // A clock that was ahead.
        (Some("2026-11-23T10:00:00Z"), "2026-11-22T09:30:00.4Z"),
        // Longer ago than CloudTrail remembers.
        (Some("2025-11-22T10:00:00Z"), "2026-08-24T11:00:00.4Z"),
    ] {
        let window = window(now, cursor.map(time), OVERLAP);
        assert_eq!(window.start, time(start), "{cursor:?}");
        assert_eq!(window.end.as_second(), time("2026-11-22T10:00:01Z").as_second());
    }
}

#[test]
fn late_events_are_read_for_a_day_but_not_from_before_the_first_start() {
    let now = time("2026-11-22T10:00:00Z");
    for (read_to, baseline, first) in [
        ("2026-11-22T09:00:00Z", "2026-10-01T00:00:00Z", "2026-11-21T09:00:00Z"),
        ("2026-11-22T09:00:00Z", "2026-11-22T08:00:00Z", "2026-11-22T07:30:00Z"),
        // After a week of downtime: what came late in the day before it.
        ("2026-11-15T09:00:00Z", "2026-10-01T00:00:00Z", "2026-11-14T09:00:00Z"),
        ("2025-11-15T09:00:00Z", "2025-10-01T00:00:00Z", "2026-08-24T11:00:00Z"),
    ] {
        assert_eq!(first_of_late(now, time(read_to), Some(time(baseline)), OVERLAP), time(first), "{read_to}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_spaces_requests() {
    let mut budget = Budget::new(0.5);
    let begun = clock::instant();
    for _ in 0..4 {
        budget.take().await;
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    clock::sleep(Duration::from_secs(100)).await;
    budget.take().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(106), "an idle time is not saved up");
}

/// An event history whose first answer shows that the clock is wrong.
#[derive(Debug)]
struct Correcting {
    clock: Arc<crate::clock::CorrectedClock>,
    windows: std::sync::Mutex<Vec<Window>>,
}

#[async_trait::async_trait]
impl CloudTrail for Correcting {
    async fn lookup(&self, _: &str, window: Window, _: Option<String>) -> Result<LookupPage, AwsError> {
        self.windows.lock().unwrap().push(window);
        self.clock.correct(SignedDuration::from_hours(-8));
        Ok(LookupPage::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_by_a_clock_that_was_wrong_is_read_again_by_the_right_one() {
    let clock = Arc::new(crate::clock::CorrectedClock::default());
    let wrong = clock.now();
    let cloudtrail = Arc::new(Correcting { clock: Arc::clone(&clock), windows: std::sync::Mutex::default() });
    let (batches, mut pages) = mpsc::channel(4);
    let scheduler = Scheduler {
        context: ContextName::parse("default").unwrap(),
        cloudtrail: Arc::<Correcting>::clone(&cloudtrail),
        polling: Polling { interval: Duration::from_secs(30), overlap: OVERLAP, rate: 1.0 },
        cursor: Some(wrong),
        baseline: Some(wrong),
        clock: Arc::<crate::clock::CorrectedClock>::clone(&clock),
        metrics: Arc::new(Metrics::new("1", "c", wrong).unwrap()),
        health: Arc::new(Health::new()),
        batches,
        auditor: None,
    };
    scheduler.poll_once().await.unwrap();
    let read_to = pages.recv().await.unwrap().scanned_to.unwrap();
    assert!(pages.recv().await.is_none(), "what the wrong window showed is not handed on");
    let windows = cloudtrail.windows.lock().unwrap();
    assert_eq!(windows.len(), 2);
    let near = |time: Timestamp| {
        time.duration_since(wrong - SignedDuration::from_hours(8)).abs() < SignedDuration::from_secs(10)
    };
    assert!(near(read_to) && near(windows[1].end) && !near(windows[0].end), "{windows:?}, {read_to}");
}
