//! The reading of busy accounts: the real scheduler and the real state against an event history of up to a million pushes.
//!
//! `LOOKUP_TABLE=1 cargo test --test it polling::table -- --nocapture` prints by how much pushes are seen later than CloudTrail delivers
//! them, for accounts of different sizes.

mod account;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::scheduler::Polling;

use account::{Account, DAY, HOUR, Pushed};
use reading::{POLLING, Reading};

fn worst(delays: &[i64]) -> i64 {
    *delays.last().unwrap()
}

#[tokio::test(start_paused = true)]
async fn in_an_account_with_five_thousand_pushes_a_day_every_push_is_seen_by_the_next_poll() {
    let account = Account::new(-2 * DAY, 4 * HOUR, 5_000, 5, 50);
    let mut reading = Reading::start(&account, Some(60), POLLING);
    reading.until(3 * HOUR).await;
    let delays = reading.delays(60, 3 * HOUR - 60);
    assert!(delays.len() > 100 && worst(&delays) <= 34, "{delays:?}");
    // What comes later than the overlap is found within the hour.
    reading.assert_each_once(0, 2 * HOUR - 600);
    let calls = account.calls.lock().unwrap();
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_millis(999)), "the budget");
    drop(calls);
    // A poll takes two pages for the fresh part and two for the rest of the overlap; once an hour a day is read again: 105 pages.
    let an_hour = account.lookups() / 3;
    assert!(an_hour < 120 * 5 + 120, "{an_hour}");
    assert!(reading.gauge("reread_lag_seconds") < 120.0);
}

#[tokio::test(start_paused = true)]
async fn after_three_days_the_time_is_read_once_and_new_pushes_come_first() {
    let account = Account::new(-5 * DAY, 2 * HOUR, 5_000, 5, 200);
    let mut reading = Reading::start(&account, Some(3 * DAY), POLLING);
    reading.until(120).await;
    assert!(
        reading.gauge("reread_lag_seconds") >= 3.0 * 86_400.0 && reading.gauge("unread_history_seconds") > 86_400.0
    );
    let took = reading.catch_up(HOUR).await;
    // Three days and the one before, for late events: 20,000 pushes, 400 pages, beside five for every poll.
    let lookups = i64::try_from(account.lookups()).unwrap();
    assert!(lookups < 400 * 105 / 100 + took / 30 * 6 + 10, "{lookups} lookups in {took} s");
    assert!(took < 700, "{took} s");
    reading.until(2 * HOUR - 60).await;
    let delays = reading.delays(60, 2 * HOUR - 120);
    assert!(delays.len() > 20 && worst(&delays) <= 36, "{delays:?}");
    reading.assert_each_once(-3 * DAY, 0);
    assert_eq!(reading.gauge("unread_history_seconds"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn with_every_second_lookup_throttled_a_catch_up_ends_and_so_do_polls() {
    let mut account = Account::new(-4 * DAY, 3 * HOUR, 5_000, 5, 200);
    account.faults.every_second_is_throttled = true;
    let mut reading = Reading::start(&account, Some(3 * DAY), POLLING);
    let took = reading.catch_up(2 * HOUR).await;
    assert!(took < 3600, "{took} s");
    reading.until(3 * HOUR - 60).await;
    let delays = reading.delays(60, 3 * HOUR - 200);
    assert!(worst(&delays) <= 60, "{delays:?}");
    reading.assert_each_once(-3 * DAY, 0);
}

#[tokio::test(start_paused = true)]
async fn page_tokens_that_live_for_seconds_hold_nothing_up() {
    for life in [20, 5] {
        let mut account = Account::new(-4 * DAY, HOUR, 5_000, 5, 200);
        account.faults.token_life = Some(life);
        let polling = Polling { rate: 0.1, interval: Duration::from_secs(60), ..POLLING };
        let mut reading = Reading::start(&account, Some(2 * DAY), polling);
        reading.catch_up(6 * HOUR).await;
        reading.assert_each_once(-2 * DAY, 0);
        let refused = account.calls.lock().unwrap().iter().filter(|call| call.refused).count();
        assert!(life < 10 || refused == 0, "a token that may have expired is not tried: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_too_large_to_come_in_time_are_made_smaller() {
    let mut account = Account::new(-DAY, HOUR, 5_000, 5, 200);
    account.faults.in_time = Some(20);
    let mut reading = Reading::start(&account, Some(6 * HOUR), POLLING);
    reading.catch_up(HOUR).await;
    reading.assert_each_once(-6 * HOUR, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_with_hundreds_of_pushes_is_read_to_its_end() {
    let mut account = Account::new(-DAY, HOUR, 5_000, 5, 200);
    let crowd = (0..400).map(|_| Pushed { time: -5 * HOUR, visible: -4 * HOUR, ours: true });
    let mut events: Vec<Pushed> = account.events.iter().copied().chain(crowd).collect();
    events.sort_by_key(|event| event.time);
    account.events = Arc::new(events);
    account.faults.every_second_is_throttled = true;
    let mut reading = Reading::start(&account, Some(6 * HOUR), POLLING);
    reading.catch_up(HOUR).await;
    reading.assert_each_once(-6 * HOUR, 0);
}

#[tokio::test(start_paused = true)]
async fn restarts_in_the_middle_of_a_catch_up_cost_a_page_each() {
    let account = Account::new(-11 * DAY, 3 * HOUR, 5_000, 5, 200);
    let mut reading = Reading::start(&account, Some(10 * DAY), POLLING);
    for restart in 1..20 {
        reading.until(restart * 60).await;
        reading.restart();
    }
    let took = 19 * 60 + reading.catch_up(HOUR).await;
    assert!(took < 2400, "{took} s");
    let ours = account.events.iter().enumerate().filter(|(_, event)| event.ours && event.time >= -10 * DAY);
    for (place, event) in ours.filter(|(_, event)| event.visible <= 0) {
        assert_eq!(reading.decided[&place].1, 1, "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_twenty_thousand_pushes_a_day_to_our_repositories_none_is_decided_twice() {
    let account = Account::new(-2 * DAY, 27 * HOUR, 26_000, 1, 50);
    let polling = Polling { interval: Duration::from_secs(300), ..POLLING };
    let mut reading = Reading::start(&account, None, polling);
    reading.until(27 * HOUR).await;
    // What comes up to ten hours late is found, too, though not by the next poll.
    reading.assert_each_once(0, 25 * HOUR);
    assert!(reading.most_held.0 > 20_000);
}

/// 90 days and as many pushes as `CATCH_UP_EVENTS` says, 100,000 if nothing.
#[tokio::test(start_paused = true)]
async fn a_catch_up_of_ninety_days_holds_no_more_than_a_day_and_new_pushes_are_seen_meanwhile() {
    let events = std::env::var("CATCH_UP_EVENTS").map_or(100_000, |text| text.parse::<i64>().unwrap());
    let account = Account::new(-91 * DAY, 9 * HOUR, events / 90, 10, 200);
    let mut reading = Reading::start(&account, Some(90 * DAY - 2 * HOUR), POLLING);
    let took = reading.catch_up(9 * HOUR).await;
    let delays = reading.delays(60, took - 120);
    eprintln!(
        "{events} pushes in 90 days: caught up after {took} s and {} lookups; held at most {:?}; new pushes seen after {} s, at worst {} s",
        account.lookups(),
        reading.most_held,
        delays[delays.len() / 2],
        worst(&delays)
    );
    assert!(worst(&delays) <= 40, "{delays:?}");
    // A day and some hours of it, and what is read from one commit to the next.
    let a_day = usize::try_from(events / 90).unwrap();
    assert!(
        reading.most_held.0 + reading.most_held.1 < a_day * 2 + 3_000 && reading.most_held.2 <= 1,
        "{:?}",
        reading.most_held
    );
    reading.assert_each_once(-89 * DAY, 0);
}

#[tokio::test(start_paused = true)]
async fn table() {
    if std::env::var_os("LOOKUP_TABLE").is_none() {
        return;
    }
    eprintln!(
        "| pushes an hour | requests/s | delay: median | 95 of 100 | worst | overlap read every | a day read again in |"
    );
    eprintln!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for rate in [1.0, 2.0] {
        for an_hour in [10, 200, 1_000, 2_000, 4_000, 8_000, 16_000, 40_000] {
            let account = Account::new(-2 * DAY, 8 * HOUR, an_hour * 24, 10, 1_000_000_000);
            let mut reading = Reading::start(&account, Some(60), Polling { rate, ..POLLING });
            let (mut cursors, mut last) = (0, None);
            let mut rereads = Vec::new();
            for second in (0..8 * HOUR).step_by(30) {
                reading.until(second).await;
                let known = reading.known();
                if second >= 2 * HOUR && last != known.cursor {
                    cursors += 1;
                }
                last = known.cursor;
                if known.reread.is_none()
                    != rereads.last().is_none_or(|(_, ended): &(i64, Option<i64>)| ended.is_some())
                {
                    match known.reread {
                        Some(_) => rereads.push((second, None)),
                        None => rereads.last_mut().unwrap().1 = Some(second),
                    }
                }
            }
            let delays = reading.delays(2 * HOUR, 7 * HOUR);
            let every = if cursors == 0 { "never".to_owned() } else { format!("{} s", 6 * HOUR / cursors) };
            let took = match rereads.first() {
                None => "a page".to_owned(),
                Some((begun, Some(ended))) => format!("{} s", ended - begun),
                Some((_, None)) => "more than 7 h".to_owned(),
            };
            let part = |hundredths: usize| delays.get(delays.len() * hundredths / 100).copied().unwrap_or_default();
            eprintln!(
                "| {an_hour} | {rate} | {} s | {} s | {} s | {every} | {took} |",
                part(50),
                part(95),
                worst(&delays)
            );
        }
    }
}
