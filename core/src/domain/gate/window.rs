//! The gates `windows` and `freeze`: when rollouts may begin.
//!
//! A window is a span between two moments, which begins on a day by the clock of its zone. Where that clock is set forward or back, the span
//! is as long as the clock says, and there is one of it: it opens once.

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::{Timestamp, ToSpan as _};

use super::zoned::Zone;
use super::{Verdict, Wait};
use crate::domain::waiting::Gate;

/// How far ahead the next opening is looked for, in steps from one window or freeze to the next.
const STEPS: usize = 4_000;

/// A time of the week in which rollouts may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// The days on which it begins, Monday first.
    days: [bool; 7],
    from: Time,
    /// The time of its end; `None` is the end of the day.
    to: Option<Time>,
    zone: Zone,
}

/// Days on which no rollout begins, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    text: String,
    first: Date,
    last: Date,
    zone: Zone,
}

impl Window {
    /// Reads `DAYS FROM-TO [ZONE]`: `Mon-Thu 09:00-17:00 Europe/Berlin`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!("expected days, hours and a time zone like \"Mon-Thu 09:00-17:00 Europe/Berlin\", found {text:?}")
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let hours = words.iter().position(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        let (days, rest) = words.split_at(hours.filter(|at| *at > 0).ok_or_else(expected)?);
        let (hours, zone) = match rest {
            [hours] => (*hours, "UTC"),
            [hours, zone] => (*hours, *zone),
            _ => return Err(expected()),
        };
        let (from, to) = hours.split_once('-').ok_or_else(expected)?;
        let from = time(from)?;
        let to = if to == "24:00" { None } else { Some(time(to)?) };
        if to == Some(from) {
            return Err(format!("{hours} begins and ends at the same time; the whole day is 00:00-24:00"));
        }
        Ok(Self { text: text.to_owned(), days: self::days(&days.concat())?, from, to, zone: Zone::parse(zone)? })
    }

    /// The span that begins on a day, if one does.
    fn span(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days[usize::try_from(date.weekday().to_monday_zero_offset()).ok()?] {
            return None;
        }
        let (end_date, end_time) = match self.to {
            Some(to) if to > self.from => (date, to),
            Some(to) => (date.checked_add(1.day()).ok()?, to),
            None => (date.checked_add(1.day()).ok()?, Time::midnight()),
        };
        let (begin, end) = (self.zone.moment(date, self.from)?, self.zone.moment(end_date, end_time)?);
        (begin < end).then_some((begin, end))
    }

    /// The spans around a moment and up to a week after it, in order.
    fn spans(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.date(at);
        (-2_i64..=8).filter_map(move |day| self.span(today.checked_add(day.days()).ok()?))
    }

    fn is_open(&self, at: Timestamp) -> bool {
        self.spans(at).any(|(begin, end)| begin <= at && at < end)
    }

    fn next(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at).map(|(begin, _)| begin).find(|begin| *begin > at)
    }
}

impl Freeze {
    /// Reads `FIRST/LAST [ZONE]`: `2026-12-20/2027-01-03 Europe/Berlin`. One day stands for itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!("expected two days and a time zone like \"2026-12-20/2027-01-03 Europe/Berlin\", found {text:?}")
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, zone) = match words[..] {
            [days] => (days, "UTC"),
            [days, zone] => (days, zone),
            _ => return Err(expected()),
        };
        let (first, last) = days.split_once('/').unwrap_or((days, days));
        let date = |text: &str| match text.len() == 10 {
            true => text.parse::<Date>().map_err(|_| expected()),
            false => Err(expected()),
        };
        let (first, last) = (date(first)?, date(last)?);
        if last < first {
            return Err(format!("{last} is before {first}: give the first day, then the last"));
        }
        Ok(Self { text: text.to_owned(), first, last, zone: Zone::parse(zone)? })
    }

    /// When it ends, if it is on.
    fn ends(&self, at: Timestamp) -> Option<Timestamp> {
        let begin = self.zone.moment(self.first, Time::midnight())?;
        let after = self.last.checked_add(1.day()).ok();
        let end = after.and_then(|after| self.zone.moment(after, Time::midnight())).unwrap_or(Timestamp::MAX);
        (begin <= at && at < end).then_some(end)
    }
}

/// Whether rollouts may begin now, by the windows and freezes of a service.
#[must_use]
pub fn judge(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Verdict {
    let why = match freezes.iter().find(|freeze| freeze.ends(now).is_some()) {
        Some(freeze) => format!("no rollout begins during the freeze {freeze}"),
        None if is_open(windows, now) => return Verdict::Open,
        None => {
            let named: Vec<&str> = windows.iter().map(|window| window.text.as_str()).collect();
            format!("rollouts begin only within {}", named.join(" or "))
        }
    };
    let until = next_opening(windows, freezes, now);
    let zone = windows.first().map(|window| &window.zone).or(freezes.first().map(|freeze| &freeze.zone));
    let when = match (until, zone) {
        (Some(until), Some(zone)) => format!("; the next one may at {}", zone.show(until)),
        _ => "; none may in the years to come".to_owned(),
    };
    Verdict::Wait(Wait { gate: Gate::Window, why: format!("{why}{when}"), until, ask_again: false })
}

fn is_open(windows: &[Window], at: Timestamp) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.is_open(at))
}

/// When rollouts may begin again; `None` if that is years away.
fn next_opening(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Option<Timestamp> {
    let mut at = now;
    for _ in 0..STEPS {
        at = match freezes.iter().filter_map(|freeze| freeze.ends(at)).max() {
            Some(end) if end == Timestamp::MAX => return None,
            Some(end) => end,
            None if is_open(windows, at) => return Some(at),
            None => windows.iter().filter_map(|window| window.next(at)).min()?,
        };
    }
    None
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time of day, to the minute.
fn time(text: &str) -> Result<Time, String> {
    let expected = || format!("expected hours and minutes like 09:00, found {text:?}");
    let (hour, minute) = text.split_once(':').ok_or_else(expected)?;
    let number = |part: &str, most: i8| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i8>().ok().filter(|number| digits && *number <= most).ok_or_else(expected)
    };
    if minute.len() != 2 {
        return Err(expected());
    }
    Time::new(number(hour, 23)?, number(minute, 59)?, 0, 0).map_err(|_| expected())
}

/// Days of the week: `daily`, or days and ranges of days with commas between them. A range may go over the end of the week.
fn days(text: &str) -> Result<[bool; 7], String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut next = first;
        loop {
            if let Some(known) = usize::try_from(next.to_monday_zero_offset()).ok().and_then(|at| days.get_mut(at)) {
                *known = true;
            }
            if next == last {
                break;
            }
            next = next.next();
        }
    }
    Ok(days)
}

fn day(text: &str) -> Result<Weekday, String> {
    const DAYS: [(&str, Weekday); 7] = [
        ("Mon", Weekday::Monday),
        ("Tue", Weekday::Tuesday),
        ("Wed", Weekday::Wednesday),
        ("Thu", Weekday::Thursday),
        ("Fri", Weekday::Friday),
        ("Sat", Weekday::Saturday),
        ("Sun", Weekday::Sunday),
    ];
    let found = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, day)| *day);
    found.ok_or_else(|| format!("expected Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily, found {text:?}"))
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
