use super::*;

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(text: &str) -> Window {
    Window::parse(text).unwrap()
}

fn freeze(text: &str) -> Freeze {
    Freeze::parse(text).unwrap()
}

fn opens(windows: &[&str], freezes: &[&str], now: &str) -> Option<String> {
    let windows: Vec<Window> = windows.iter().map(|text| window(text)).collect();
    let freezes: Vec<Freeze> = freezes.iter().map(|text| freeze(text)).collect();
    match judge(&windows, &freezes, utc(now)) {
        Verdict::Open => None,
        Verdict::Wait(wait) => Some(wait.until.map_or("never".to_owned(), |until| until.to_string())),
        other => panic!("{other:?}"),
    }
}

/// When a window is open, minute by minute, from one moment to another.
fn openings(text: &str, from: &str, to: &str) -> Vec<(String, i64)> {
    let window = window(text);
    let (mut at, end) = (utc(from), utc(to));
    let mut found: Vec<(String, i64)> = Vec::new();
    let mut was_open = false;
    while at < end {
        let is_open = window.is_open(at);
        match (was_open, is_open) {
            (false, true) => found.push((at.to_string(), 1)),
            (true, true) => found.last_mut().unwrap().1 += 1,
            (_, false) => {}
        }
        was_open = is_open;
        at += jiff::SignedDuration::from_mins(1);
    }
    found
}

#[test]
fn a_window_is_open_from_its_first_minute_to_before_its_last() {
    let hours = ["Mon-Thu 09:00-17:00 Europe/Berlin"];
    // 2026-11-26 is a Thursday; Berlin is an hour ahead of UTC in winter.
    for (now, expected) in [
        ("2026-11-26T07:59:59Z", Some("2026-11-26T08:00:00Z")),
        ("2026-11-26T08:00:00Z", None),
        ("2026-11-26T15:59:59Z", None),
        ("2026-11-26T16:00:00Z", Some("2026-11-30T08:00:00Z")),
        ("2026-11-29T12:00:00Z", Some("2026-11-30T08:00:00Z")),
    ] {
        assert_eq!(opens(&hours, &[], now).as_deref(), expected, "{now}");
    }
    assert_eq!(opens(&[], &[], "2026-11-26T04:00:00Z"), None, "without a window at any time");
}

#[test]
fn days_are_lists_ranges_that_may_wrap_or_all() {
    let on = |text: &str| -> String {
        let window = window(&format!("{text} 12:00-13:00"));
        // 2026-11-23 is a Monday.
        (23..30).map(|day| if window.is_open(utc(&format!("2026-11-{day}T12:00:00Z"))) { 'x' } else { '.' }).collect()
    };
    for (text, expected) in [
        ("Mon", "x......"),
        ("Mon-Thu", "xxxx..."),
        ("Sat-Tue", "xx...xx"),
        ("Sun-Mon", "x.....x"),
        ("Mon,Wed,Fri-Sun", "x.x.xxx"),
        ("Mon, Wed, Fri", "x.x.x.."),
        ("daily", "xxxxxxx"),
        ("Mon-Sun", "xxxxxxx"),
        ("mon-fri", "xxxxx.."),
    ] {
        assert_eq!(on(text), expected, "{text}");
    }
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = ["Fri 22:00-04:00"];
    // 2026-11-27 is a Friday.
    for (now, is_open) in [
        ("2026-11-27T03:00:00Z", false),
        ("2026-11-27T22:00:00Z", true),
        ("2026-11-28T03:59:00Z", true),
        ("2026-11-28T04:00:00Z", false),
        ("2026-11-28T22:30:00Z", false),
    ] {
        assert_eq!(opens(&night, &[], now).is_none(), is_open, "{now}");
    }
    let to_midnight = ["Fri 20:00-24:00", "Sat 00:00-01:00"];
    for (now, is_open) in
        [("2026-11-27T23:59:59Z", true), ("2026-11-28T00:30:00Z", true), ("2026-11-28T01:00:00Z", false)]
    {
        assert_eq!(opens(&to_midnight, &[], now).is_none(), is_open, "{now}");
    }
    assert_eq!(opens(&["daily 00:00-24:00 Europe/Berlin"], &[], "2026-11-27T23:00:00Z"), None);
}

#[test]
fn a_window_opens_once_on_the_days_on_which_the_clock_changes() {
    // 2026-03-29: Berlin goes from 02:00 (01:00Z) to 03:00. 2026-10-25: from 03:00 (01:00Z) back to 02:00.
    let spring = ("2026-03-28T22:00:00Z", "2026-03-29T22:00:00Z");
    let autumn = ("2026-10-24T21:00:00Z", "2026-10-26T00:00:00Z");
    for (hours, (from, to), expected) in [
        ("01:00-01:30", spring, ("2026-03-29T00:00:00Z", 30)),
        ("01:30-03:30", spring, ("2026-03-29T00:30:00Z", 60)),
        ("02:15-02:45", spring, ("2026-03-29T01:15:00Z", 30)),
        ("02:30-05:00", spring, ("2026-03-29T01:30:00Z", 90)),
        ("00:00-24:00", spring, ("2026-03-28T23:00:00Z", 23 * 60)),
        ("01:30-02:30", autumn, ("2026-10-24T23:30:00Z", 60)),
        ("02:15-02:45", autumn, ("2026-10-25T00:15:00Z", 30)),
        ("02:30-05:00", autumn, ("2026-10-25T00:30:00Z", 210)),
        ("00:00-24:00", autumn, ("2026-10-24T22:00:00Z", 25 * 60)),
    ] {
        let sunday = format!("Sun {hours} Europe/Berlin");
        let (begin, minutes) = expected;
        assert_eq!(openings(&sunday, from, to), [(begin.to_owned(), minutes)], "{sunday}");
    }
    // Where midnight itself is left out, the day begins an hour later: Santiago, 2026-09-06.
    let santiago = openings("Sun 00:00-24:00 America/Santiago", "2026-09-06T00:00:00Z", "2026-09-07T12:00:00Z");
    assert_eq!(santiago, [("2026-09-06T04:00:00Z".to_owned(), 23 * 60)]);
}

#[test]
fn no_rollout_begins_on_the_days_of_a_freeze_both_included() {
    let holidays = ["2026-12-20/2027-01-03 Europe/Berlin"];
    for (now, expected) in [
        ("2026-12-19T22:59:59Z", None),
        ("2026-12-19T23:00:00Z", Some("2027-01-03T23:00:00Z")),
        ("2027-01-03T22:59:59Z", Some("2027-01-03T23:00:00Z")),
        ("2027-01-03T23:00:00Z", None),
    ] {
        assert_eq!(opens(&[], &holidays, now).as_deref(), expected, "{now}");
    }
    // The end of a freeze is no opening where a window is closed, or another freeze is on.
    let hours = ["Mon-Fri 09:00-17:00 Europe/Berlin"];
    let opening = opens(&hours, &holidays, "2026-12-21T10:00:00Z");
    assert_eq!(opening.as_deref(), Some("2027-01-04T08:00:00Z"));
    let both = ["2026-12-20/2027-01-03 Europe/Berlin", "2027-01-04 Europe/Berlin"];
    assert_eq!(opens(&hours, &both, "2026-12-21T10:00:00Z").as_deref(), Some("2027-01-05T08:00:00Z"));
    assert_eq!(opens(&hours, &["2020-01-01/9999-12-30"], "2026-12-21T10:00:00Z").as_deref(), Some("never"));
}

#[test]
fn an_operator_reads_which_window_is_closed_and_when_the_next_one_opens() {
    let windows = [window("Mon-Thu 09:00-17:00 Europe/Berlin"), window("Sat 10:00-12:00 UTC")];
    let told = |freezes: &[Freeze], now| match judge(&windows, freezes, utc(now)) {
        Verdict::Wait(wait) => wait.why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        told(&[], "2026-11-27T10:00:00Z"),
        "rollouts begin only within Mon-Thu 09:00-17:00 Europe/Berlin or Sat 10:00-12:00 UTC; the next one may at Sat 2026-11-28 11:00 \
         Europe/Berlin"
    );
    assert_eq!(
        told(&[freeze("2026-11-27/2026-11-29 Europe/Berlin")], "2026-11-27T10:00:00Z"),
        "no rollout begins during the freeze 2026-11-27/2026-11-29 Europe/Berlin; the next one may at Mon 2026-11-30 09:00 Europe/Berlin"
    );
}

#[test]
fn what_is_wrong_with_a_window_or_a_freeze_is_said() {
    for (text, part) in [
        ("", "expected days, hours and a time zone"),
        ("09:00-17:00", "expected days, hours and a time zone"),
        ("Mon-Thu", "expected days, hours and a time zone"),
        ("Mon-Thu 09:00-17:00 Europe/Berlin now", "expected days, hours and a time zone"),
        ("Mo 09:00-17:00", "found \"Mo\""),
        ("Mon- 09:00-17:00", "found \"\""),
        ("Mon 9-17", "expected hours and minutes like 09:00, found \"9\""),
        ("Mon 09:00-25:00", "found \"25:00\""),
        ("Mon 24:00-25:00", "found \"24:00\""),
        ("Mon 09:00-17:60", "found \"17:60\""),
        ("Mon 09:00-09:00", "begins and ends at the same time"),
        ("Mon 09:00-17:00 Europe/Berlín", "is no IANA time zone"),
        ("Mon 09:00-17:00 CEST", "is no IANA time zone"),
    ] {
        let message = Window::parse(text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
    for (text, part) in [
        ("", "expected two days"),
        ("2026-12-20/2027-13-03", "expected two days"),
        ("2026-12-20/2026-12-19", "2026-12-19 is before 2026-12-20"),
        ("2026-12-20 - 2027-01-03", "expected two days"),
        ("2026-12-20/2027-01-03 Mars", "is no IANA time zone"),
    ] {
        let message = Freeze::parse(text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}
