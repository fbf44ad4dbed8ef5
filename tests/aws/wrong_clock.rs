//! A machine whose clock is wrong, which here is an AWS whose clock is.

use crate::daemon::{Daemon, Home, wait_for};
use crate::fake::Fake;

fn home(fake: &Fake) -> Home {
    fake.home(&format!(
        "[aws.default]\nregion = \"eu-west-1\"\nendpoint_url = \"{}\"\nmax_lookups_per_second = 2\n[poll]\ninterval = \"1s\"\noverlap = \"1m\"\n\
         [[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n",
        fake.endpoint()
    ))
}

/// It is said once, however many answers show it, and is a gauge.
fn assert_told(daemon: &Daemon, text: &str, seconds: f64) {
    daemon.wait_until_ready();
    let lookups = daemon.metric("ecs_deployd_lookup_requests_total{aws=\"default\"}").unwrap();
    wait_for("more polls", || {
        (daemon.metric("ecs_deployd_lookup_requests_total{aws=\"default\"}")? >= lookups + 3.0).then_some(())
    });
    let log = daemon.log();
    assert_eq!(log.matches("AWS's time is used from here on").count(), 1, "{log}");
    assert!(log.contains(text), "{log}");
    let offset = daemon.metric("ecs_deployd_clock_offset_seconds").unwrap();
    assert!((offset - seconds).abs() < 5.0, "{offset}");
}

#[test]
fn by_a_clock_that_is_ahead_the_first_pushes_are_not_lost() {
    let fake = Fake::start();
    fake.is_ahead_by(-600);
    // CloudTrail tells late: the push comes after the start, by AWS's time, and before it by the machine's.
    let home = home(&fake);
    let daemon = home.start();
    assert_told(&daemon, "ahead of AWS's time", -600.0);
    fake.tell_of_push("hello", fake.now());
    daemon.wait_for_log("push seen");
    assert!(!daemon.log().contains("before_start"), "{}", daemon.log());
}

#[test]
fn by_a_clock_that_is_behind_the_newest_events_are_read() {
    let fake = Fake::start();
    fake.is_ahead_by(600);
    let home = home(&fake);
    let daemon = home.start();
    assert_told(&daemon, "behind AWS's time", 600.0);
    let (_, body) = fake.asked("LookupEvents").pop().unwrap();
    let asked: serde_json::Value = serde_json::from_str(&body).unwrap();
    let end = asked["EndTime"].as_f64().unwrap();
    let now = fake.now();
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
    let now = now.as_second() as f64;
    assert!((end - now).abs() < 10.0, "the window ends at {end}, AWS's time is {now}");
}

#[test]
fn a_clock_that_is_right_is_said_nothing_of() {
    let fake = Fake::start();
    let home = home(&fake);
    let daemon = home.start();
    daemon.wait_until_ready();
    assert_eq!(daemon.metric("ecs_deployd_clock_offset_seconds"), Some(0.0));
    assert!(!daemon.log().contains("AWS's time"), "{}", daemon.log());
}
