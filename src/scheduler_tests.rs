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
