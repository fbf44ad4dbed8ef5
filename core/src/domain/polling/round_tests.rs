use super::*;
use crate::domain::polling::PAGE;
use crate::domain::test_support::at;

const INTERVAL: Duration = Duration::from_secs(300);
const OVERLAP: Duration = Duration::from_secs(1800);

fn moment(second: u32) -> Moment {
    Moment { now: at(i64::from(second)), elapsed: Duration::from_secs(u64::from(second)) }
}

fn names(names: &[&str]) -> Vec<EventName> {
    names.iter().map(|name| EventName::parse(name).unwrap()).collect()
}

fn full(oldest: i64, token: &str) -> Page {
    Page { events: 50, oldest: Some(at(oldest)), next: Some(token.to_owned()) }
}

fn asked(auditing: &mut Auditing, second: u32) -> (String, i64, i64, Option<String>) {
    let (name, request) = auditing.next(moment(second)).unwrap();
    let seconds = |time: jiff::Timestamp| time.as_second() - at(0).as_second();
    (name.as_str().to_owned(), seconds(request.window.start), seconds(request.window.end), request.token)
}

#[test]
fn a_round_goes_through_all_names_and_moves_the_cursor_at_its_end() {
    let mut auditing = Auditing::new(names(&["RunTask", "StopTask"]), INTERVAL, OVERLAP, &AuditState::new(at(0)));
    assert_eq!(asked(&mut auditing, 100), ("RunTask".to_owned(), -1800, 100, None));
    let progress = auditing.answered(&Page::default(), moment(100));
    assert_eq!((progress.cursor, progress.round.unwrap().event.as_str()), (None, "StopTask"));
    assert_eq!(asked(&mut auditing, 101), ("StopTask".to_owned(), -1800, 100, None));
    let progress = auditing.answered(&Page::default(), moment(101));
    assert_eq!(progress, AuditProgress { cursor: Some(at(100)), round: None });
    assert_eq!(auditing.due(), Duration::from_secs(400));
    assert_eq!(asked(&mut auditing, 400), ("RunTask".to_owned(), 100 - 1800, 400, None));
}

#[test]
fn a_failure_costs_a_pause_and_nothing_that_was_read() {
    let mut auditing = Auditing::new(names(&["RunTask", "StopTask"]), INTERVAL, OVERLAP, &AuditState::new(at(0)));
    asked(&mut auditing, 100);
    auditing.answered(&Page::default(), moment(100));
    asked(&mut auditing, 101);
    auditing.answered(&full(50, "a"), moment(101));
    asked(&mut auditing, 102);
    auditing.failed(Failure::Passing, moment(102));
    assert_eq!(auditing.due(), Duration::from_secs(104));
    assert_eq!(asked(&mut auditing, 104), ("StopTask".to_owned(), -1800, 50, None), "the round goes on by time");
    auditing.answered(&full(40, "b"), moment(104));
    asked(&mut auditing, 105);
    auditing.failed(Failure::StaleToken, moment(105));
    assert_eq!((auditing.due(), asked(&mut auditing, 105).2), (Duration::from_secs(104), 40), "at once");
    auditing.failed(Failure::TimedOut, moment(120));
    assert_eq!(auditing.next(moment(122)).unwrap().1.limit, PAGE / 2);
    auditing.failed(Failure::Lasting, moment(122));
    assert_eq!(auditing.due(), Duration::from_secs(122) + INTERVAL);
}

#[test]
fn a_restart_goes_on_in_the_middle_of_a_round() {
    let events = names(&["RunTask", "StopTask", "UpdateService"]);
    let mut auditing = Auditing::new(events.clone(), INTERVAL, OVERLAP, &AuditState::new(at(0)));
    asked(&mut auditing, 9000);
    auditing.answered(&Page::default(), moment(9000));
    asked(&mut auditing, 9001);
    let mut state = AuditState::new(at(0));
    state.advance(auditing.answered(&full(5000, "a"), moment(9001)));
    let mut auditing = Auditing::new(events, INTERVAL, OVERLAP, &state);
    assert_eq!(asked(&mut auditing, 9999), ("StopTask".to_owned(), -1800, 5000, None));
    // A name that is not followed any more: the round begins anew.
    let mut auditing = Auditing::new(names(&["RunTask"]), INTERVAL, OVERLAP, &state);
    assert_eq!(asked(&mut auditing, 9999), ("RunTask".to_owned(), -1800, 9999, None));
}
