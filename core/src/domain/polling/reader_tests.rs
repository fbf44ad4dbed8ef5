use super::*;
use crate::domain::polling::PAGE;
use crate::domain::state::Span;
use crate::domain::test_support::at;

const INTERVAL: u64 = 30;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn polling(rate: f64) -> Polling {
    Polling { interval: Duration::from_secs(INTERVAL), overlap: Duration::from_secs(1800), rate }
}

/// A moment: so many seconds after `at(0)`, where the reader began at `at(1_000_000)`.
fn moment(second: i64) -> Moment {
    Moment { now: at(second), elapsed: Duration::from_secs(u64::try_from(second - START).unwrap()) }
}

const START: i64 = 10_000_000;

fn known(cursor: i64) -> ContextState {
    let mut known = ContextState::new(at(0));
    known.cursor = Some(at(cursor));
    known
}

fn asked(reader: &mut Reader, second: i64) -> (i64, i64, Option<String>) {
    match reader.next(moment(second)) {
        Next::Ask(request) => {
            let seconds = |time: Timestamp| time.as_second() - at(0).as_second();
            (seconds(request.window.start), seconds(request.window.end), request.token)
        }
        Next::Wait(until) => panic!("waits until {until:?}"),
    }
}

fn waits(reader: &mut Reader, second: i64) -> i64 {
    match reader.next(moment(second)) {
        Next::Wait(until) => START + i64::try_from(until.as_secs()).unwrap(),
        Next::Ask(request) => panic!("asks for {request:?}"),
    }
}

fn last() -> Page {
    Page { events: 3, oldest: Some(at(0)), next: None }
}

fn full(oldest: i64, token: &str) -> Page {
    Page { events: 50, oldest: Some(at(oldest)), next: Some(token.to_owned()) }
}

fn token(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn where_nothing_is_behind_a_poll_is_one_request() {
    let mut reader = Reader::new(&known(START - 60), polling(1.0));
    assert_eq!(asked(&mut reader, START), (START - 60 - 1800, START, None));
    let took = reader.answered(&last(), moment(START));
    assert!(took.polled);
    assert_eq!(took.progress.unwrap().cursor, Some(at(START)));
    assert_eq!(waits(&mut reader, START + 1), START + 30);
    assert_eq!(asked(&mut reader, START + 30), (START - 1800, START + 30, None));
}

#[test]
fn late_events_are_looked_for_once_an_hour_in_the_same_request_where_one_page_holds_them() {
    let mut reader = Reader::new(&known(START - 60), polling(1.0));
    for second in (0..2 * HOUR).step_by(30) {
        let (start, _, _) = asked(&mut reader, START + second);
        // The first goes by the cursor that was found.
        let read_again = match second {
            0 => START - 60 - 1800,
            3540 => START - 60 - DAY,
            7140 => START + 3540 - DAY,
            _ => START + second - 30 - 1800,
        };
        assert_eq!(start, read_again, "{second}");
        let took = reader.answered(&last(), moment(START + second));
        assert!(took.polled);
        assert_eq!(took.progress.unwrap().cursor, Some(at(START + second)));
        assert_eq!(reader.lag(at(START + second)), SignedDuration::ZERO);
    }
}

#[test]
fn what_is_older_than_the_fresh_part_waits_until_the_poll_is_over() {
    let mut reader = Reader::new(&known(START - 30), polling(1.0));
    assert_eq!(asked(&mut reader, START), (START - 1830, START, None));
    assert!(!reader.answered(&full(START - 600, "a"), moment(START)).polled);
    assert_eq!(asked(&mut reader, START + 1), (START - 1830, START, token("a")));
    let took = reader.answered(&full(START - 1000, "b"), moment(START + 1));
    assert_eq!((took.polled, took.progress), (true, None), "the newest fifteen minutes are read");
    assert_eq!(asked(&mut reader, START + 2), (START - 1830, START, token("b")), "the overlap follows");
    reader.answered(&full(START - 1400, "c"), moment(START + 2));
    // The next poll is due before the overlap is read: it reads the fresh part, and the rest goes on by time.
    assert_eq!(asked(&mut reader, START + 30), (START + 30 - 900, START + 30, None));
    assert!(reader.answered(&last(), moment(START + 30)).polled);
    assert_eq!(asked(&mut reader, START + 31), (START - 1830, START - 1400, None));
    let took = reader.answered(&last(), moment(START + 31));
    assert_eq!(took.progress.unwrap().cursor, Some(at(START)), "complete up to where the sweep began, not further");
    assert_eq!(waits(&mut reader, START + 32), START + 60);
    assert_eq!(asked(&mut reader, START + 60), (START - 1800, START + 60, None));
}

#[test]
fn after_a_downtime_new_pushes_come_first_and_a_restart_goes_on_where_it_was() {
    let cursor = START - 3 * DAY;
    let mut reader = Reader::new(&known(cursor), polling(1.0));
    // One scan, as long as one page holds everything: from now to what came late before the downtime.
    assert_eq!(asked(&mut reader, START), (cursor - DAY, START, None));
    assert!(reader.answered(&full(START - 1000, "a"), moment(START)).polled);
    assert_eq!(asked(&mut reader, START + 1), (cursor - DAY, START, token("a")));
    let took = reader.answered(&full(START - 2000, "b"), moment(START + 1));
    let progress = took.progress.unwrap();
    let unread = |to: i64| vec![Span { from: at(cursor - DAY), to: at(to) }];
    assert_eq!(progress.cursor, Some(at(cursor)), "the cursor waits");
    assert_eq!((progress.recent, &progress.unread), (Some(at(START)), &unread(START - 2000)));
    assert_eq!(progress.reread_to, Some(at(START)), "the day before is read with it, and not twice");
    assert!(reader.catches_up());
    assert_eq!(asked(&mut reader, START + 2), (cursor - DAY, START - 2000, None));
    let took = reader.answered(&full(START - DAY, "c"), moment(START + 2));
    assert_eq!(took.progress.as_ref().unwrap().unread, unread(START - DAY));
    assert_eq!(asked(&mut reader, START + 3), (cursor - DAY, START - 2000, token("c")));

    let mut state = known(cursor);
    state.advance(took.progress.unwrap());
    let mut reader = Reader::new(&state, polling(1.0));
    assert_eq!(asked(&mut reader, START + 60), (START - 1800, START + 60, None), "new pushes first");
    let took = reader.answered(&last(), moment(START + 60));
    assert_eq!((took.polled, took.progress.unwrap().recent), (true, Some(at(START + 60))));
    assert_eq!(asked(&mut reader, START + 61), (cursor - DAY, START - DAY, None));
    let took = reader.answered(&last(), moment(START + 61));
    let progress = took.progress.unwrap();
    assert_eq!((progress.cursor, progress.recent, progress.unread), (Some(at(START + 60)), None, Vec::new()));
}

#[test]
fn a_second_downtime_in_the_middle_of_a_catch_up_leaves_two_spans() {
    let mut state = known(START - 10 * DAY);
    state.recent = Some(at(START - 2 * DAY));
    state.unread = vec![Span { from: at(START - 11 * DAY), to: at(START - 5 * DAY) }];
    state.reread_to = Some(at(START - 2 * DAY));
    let mut reader = Reader::new(&state, polling(1.0));
    let from = START - 2 * DAY - 1800;
    assert_eq!(asked(&mut reader, START), (from, START, None));
    let took = reader.answered(&full(START - 1900, "a"), moment(START));
    let spans = |progress: &ReadingProgress| {
        let seconds = |time: Timestamp| time.as_second() - at(0).as_second();
        progress.unread.iter().map(|span| (seconds(span.from), seconds(span.to))).collect::<Vec<_>>()
    };
    let progress = took.progress.unwrap();
    assert_eq!(spans(&progress), [(from, START - 1900), (START - 11 * DAY, START - 5 * DAY)]);
    assert_eq!(progress.cursor, Some(at(START - 10 * DAY)));
    asked(&mut reader, START + 1);
    let took = reader.answered(&last(), moment(START + 1));
    assert_eq!(spans(&took.progress.unwrap()), [(START - 11 * DAY, START - 5 * DAY)]);
    assert_eq!(asked(&mut reader, START + 2), (START - 11 * DAY, START - 5 * DAY, None));
    assert_eq!(reader.answered(&last(), moment(START + 2)).progress.unwrap().cursor, Some(at(START)));
}

#[test]
fn a_poll_that_takes_long_leaves_the_background_one_request_in_five() {
    let mut state = known(START - 30);
    state.unread = vec![Span { from: at(START - 9 * DAY), to: at(START - 8 * DAY) }];
    state.recent = Some(at(START - 30));
    let mut reader = Reader::new(&state, polling(1.0));
    let mut old = Vec::new();
    for second in 0..20 {
        let (start, _, _) = asked(&mut reader, START + second);
        let is_old = start == START - 9 * DAY;
        let oldest = if is_old { START - 8 * DAY - second * 60 } else { START - second * 10 - 10 };
        reader.answered(&full(oldest, &format!("t{second}")), moment(START + second));
        if is_old {
            old.push(second);
        }
    }
    assert_eq!(old, [4, 9, 14, 19]);
}

#[test]
fn a_poll_that_is_always_due_gives_way_to_one_request_of_the_background() {
    let mut state = known(START - 30);
    state.unread = vec![Span { from: at(START - 9 * DAY), to: at(START - 8 * DAY) }];
    state.recent = Some(at(START - 30));
    let mut reader = Reader::new(&state, polling(0.01));
    let mut starts = Vec::new();
    for request in 0..6 {
        let second = START + request * 100;
        let (start, _, _) = asked(&mut reader, second);
        let is_old = start == START - 9 * DAY;
        starts.push(is_old);
        let page = if is_old { full(START - 8 * DAY - request, "a") } else { last() };
        reader.answered(&page, moment(second));
    }
    assert_eq!(starts, [false, true, false, true, false, true]);
}

#[test]
fn failures_are_paused_after_and_end_a_poll_but_lose_nothing() {
    let mut reader = Reader::new(&known(START - 30), polling(1.0));
    asked(&mut reader, START);
    reader.answered(&full(START - 100, "a"), moment(START));
    let mut second = START + 1;
    for pause in [1, 2, 4, 8] {
        let (_, _, with) = asked(&mut reader, second);
        assert_eq!(with, (pause == 1).then(|| "a".to_owned()), "after a failure it goes on by time");
        assert!(!reader.failed(Failure::Passing, moment(second)));
        assert_eq!(waits(&mut reader, second), second + pause);
        second += pause;
    }
    assert_eq!(asked(&mut reader, second), (START - 1830, START - 100, None));
    assert!(reader.failed(Failure::Passing, moment(second)), "the fifth in a row ends the poll");
    assert_eq!(waits(&mut reader, second), START + 30);
    // The next poll looks at the newest; then the sweep goes on from where it was.
    assert_eq!(asked(&mut reader, START + 30), (START + 30 - 900, START + 30, None));
    assert!(reader.answered(&last(), moment(START + 30)).polled);
    assert_eq!(asked(&mut reader, START + 31), (START - 1830, START - 100, None));
}

#[test]
fn what_somebody_has_to_mend_is_asked_once_a_poll() {
    let mut reader = Reader::new(&known(START - 3 * DAY), polling(1.0));
    for poll in 0..3 {
        let second = START + poll * 30;
        assert_eq!(asked(&mut reader, second).1, second, "up to now, for nothing was read before");
        assert!(reader.failed(Failure::Lasting, moment(second)));
        assert_eq!(waits(&mut reader, second), second + 30);
    }
}

#[test]
fn a_failure_in_the_background_holds_up_no_poll() {
    let mut state = known(START - 30);
    state.unread = vec![Span { from: at(START - 9 * DAY), to: at(START - 8 * DAY) }];
    state.recent = Some(at(START - 30));
    let mut reader = Reader::new(&state, polling(1.0));
    asked(&mut reader, START);
    reader.answered(&last(), moment(START));
    for (second, next) in [(1, 2), (2, 4), (4, 8), (8, 16)] {
        let (start, _, _) = asked(&mut reader, START + second);
        assert_eq!(start, START - 9 * DAY);
        assert!(!reader.failed(Failure::Passing, moment(START + second)));
        assert_eq!(waits(&mut reader, START + second), START + next);
    }
    asked(&mut reader, START + 16);
    reader.failed(Failure::Passing, moment(START + 16));
    assert_eq!(asked(&mut reader, START + 30).1, START + 30, "the poll");
}

#[test]
fn a_stale_token_costs_one_request_and_a_time_out_asks_for_less() {
    let mut reader = Reader::new(&known(START - 30), polling(1.0));
    asked(&mut reader, START);
    reader.answered(&full(START - 100, "a"), moment(START));
    assert_eq!(asked(&mut reader, START + 1).2, token("a"));
    assert!(!reader.failed(Failure::StaleToken, moment(START + 1)));
    assert_eq!(asked(&mut reader, START + 1), (START - 1830, START - 100, None), "at once, by time");
    assert!(!reader.failed(Failure::TimedOut, moment(START + 16)));
    let Next::Ask(request) = reader.next(moment(START + 17)) else { panic!("it waits") };
    assert_eq!((request.limit, request.window.end), (PAGE / 2, at(START - 100)));
    // Such a token leads nowhere, and neither may the poll.
    reader.answered(&full(START - 200, "b"), moment(START + 17));
    asked(&mut reader, START + 18);
    assert!(reader.answered(&full(START - 200, "b"), moment(START + 18)).circles);
    assert!(!reader.failed(Failure::Passing, moment(START + 18)));
    assert_eq!(asked(&mut reader, START + 19), (START - 1830, START - 200, None));
}

#[test]
fn one_poll_of_a_command_reads_everything_since_the_cursor_and_nothing_else() {
    let mut state = known(START - 3 * DAY);
    state.recent = Some(at(START - DAY));
    state.unread = vec![Span { from: at(START - 4 * DAY), to: at(START - 2 * DAY) }];
    let mut reader = Reader::once(&state, polling(1.0));
    let from = START - 3 * DAY - 1800;
    assert_eq!(asked(&mut reader, START), (from, START, None));
    for second in 1..20 {
        let took = reader.answered(&full(START - second * 5000, &format!("t{second}")), moment(START + second - 1));
        assert_eq!((took.polled, took.progress), (false, None));
        assert_eq!(asked(&mut reader, START + second).0, from);
    }
    let took = reader.answered(&last(), moment(START + 20));
    let progress = took.progress.unwrap();
    assert!(took.polled);
    assert_eq!((progress.cursor, progress.recent, progress.unread), (Some(at(START)), None, Vec::new()));
}

#[test]
fn a_window_begins_no_earlier_than_anything_of_use() {
    // (cursor, baseline, start of the first window): nothing before the overlap of the first start, nor before what CloudTrail remembers,
    // nor from the future of a clock that was ahead.
    for (cursor, baseline, start) in [
        (None, START, START - 1800),
        (None, START - 600, START - 2400),
        (Some(START - 60), 0, START - 60 - 1800),
        (Some(START + DAY), 0, START - 1800),
        (Some(START - 2 * HOUR), START - 3 * HOUR, START - 3 * HOUR - 1800),
        (Some(START - 200 * DAY), 0, START - 90 * DAY + HOUR),
    ] {
        let mut state = ContextState::new(at(baseline));
        state.cursor = cursor.map(at);
        let mut reader = Reader::new(&state, polling(1.0));
        assert_eq!(asked(&mut reader, START).0, start, "{cursor:?} {baseline}");
    }
}

#[test]
fn the_rate_of_pushes_is_measured_at_polls_and_tells_what_they_take() {
    let mut reader = Reader::new(&known(START - 30), polling(1.0));
    asked(&mut reader, START);
    reader.answered(&last(), moment(START));
    let demand = reader.demand().unwrap();
    assert!((demand.pushes_a_day - 3.0 / 1830.0 * 86_400.0).abs() < 1.0 && !demand.exceeds(reader.polling()));
    // Fifty in the last fifty seconds.
    asked(&mut reader, START + 30);
    for second in 0..20 {
        let page = full(START + 30 - 50 * (second + 1), &format!("t{second}"));
        if reader.answered(&page, moment(START + 30 + second)).polled {
            break;
        }
        asked(&mut reader, START + 31 + second);
    }
    let demand = reader.demand().unwrap();
    assert!((demand.pushes_a_day - 86_400.0).abs() < 1.0 && demand.exceeds(reader.polling()), "{demand:?}");
}

#[test]
fn a_sweep_that_began_while_the_clock_was_ahead_ends_no_later_than_now() {
    let ahead = |second: i64, by: i64| Moment { now: at(second + by), ..moment(second) };
    let mut reader = Reader::new(&known(START - 30), polling(1.0));
    reader.next(ahead(START, 7200));
    assert!(reader.failed(Failure::Lasting, ahead(START, 7200)));
    // Nothing of it was read: the next poll begins another one.
    assert_eq!(asked(&mut reader, START + 30), (START - 1830, START + 30, None));
    reader.answered(&last(), moment(START + 30));
    reader.next(ahead(START + 60, 240));
    reader.answered(&full(START, "a"), ahead(START + 60, 240));
    asked(&mut reader, START + 61);
    let took = reader.answered(&last(), moment(START + 61));
    assert_eq!(took.progress.unwrap().cursor, Some(at(START + 61)));
}

/// A clock that was ahead by so many seconds, and is found to be at a second.
fn was_ahead(by: i64, second: i64) -> Correction {
    Correction { by: SignedDuration::from_secs(-by), started_at: at(START + by), now: at(second) }
}

#[test]
fn a_poll_by_a_clock_that_was_ahead_begins_anew_with_its_start() {
    let by = 8 * HOUR;
    let mut reader = Reader::new(&ContextState::new(at(START + by)), polling(1.0));
    let ahead = Moment { now: at(START + by), ..moment(START) };
    assert!(matches!(reader.next(ahead), Next::Ask(_)));
    assert!(reader.clock_corrected(was_ahead(by, START + 1)));
    assert_eq!(
        asked(&mut reader, START + 1),
        (START - 1800, START + 1, None),
        "at once, from the start by the right clock"
    );
    let took = reader.answered(&last(), moment(START + 1));
    assert!(took.polled);
    assert_eq!(took.progress.unwrap().cursor, Some(at(START + 1)));
    // Late events are looked for from the start, too, and an hour after it.
    for second in (31..HOUR).step_by(30) {
        assert_eq!(asked(&mut reader, START + second).0, (START + second - 30 - 1800).max(START - 1800));
        reader.answered(&last(), moment(START + second));
    }
    assert_eq!(asked(&mut reader, START + HOUR + 1).0, START - 1800);
}

#[test]
fn a_clock_that_is_corrected_again_and_again_holds_up_no_poll() {
    let mut reader = Reader::new(&known(START - 60), polling(1.0));
    for second in [START, START + 30, START + 60] {
        asked(&mut reader, second);
        assert!(reader.clock_corrected(was_ahead(10, second)));
        asked(&mut reader, second);
        assert!(!reader.clock_corrected(was_ahead(-10, second)));
        assert!(reader.answered(&last(), moment(second)).polled);
        assert!(!reader.clock_corrected(was_ahead(10, second)), "no poll is under way");
    }
}

#[test]
fn a_poll_of_which_a_part_is_read_goes_on_when_the_clock_is_corrected() {
    let mut reader = Reader::once(&known(START - 2 * DAY), polling(1.0));
    asked(&mut reader, START);
    assert!(!reader.answered(&full(START - DAY, "a"), moment(START)).polled);
    asked(&mut reader, START + 1);
    assert!(!reader.clock_corrected(was_ahead(10, START + 1)));
    let took = reader.answered(&last(), moment(START + 1));
    assert!(took.polled && took.progress.is_some());
}
