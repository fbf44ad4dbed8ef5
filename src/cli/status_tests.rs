use super::*;
use crate::domain::state::ServiceHold;
use crate::domain::test_support::{digest, repository_key, tag};
use crate::domain::waiting::{Gate, Waiting};
use crate::status::test_support::{at, plain};
use crate::status::{HoldStatus, OutcomeStatus, RunsStatus};

fn shown(services: Vec<ServiceStatus>) -> String {
    let config = Config::parse("test", "").unwrap();
    let status = Status { services, ..Status::of(&config, &Default::default(), at(3600)) };
    status_text(&status, at(3600), false)
}

#[test]
fn a_service_that_is_not_there_is_not_ok() {
    let missing = RunsStatus::unseen(at(3600), "there is no such service in ECS".to_owned());
    let text = shown(vec![ServiceStatus { runs: Some(missing), ..plain("gone") }, plain("unknown")]);
    assert!(text.contains("not seen in ECS\n"), "{text}");
    assert!(text.contains("web/gone  there is no such service in ECS\n"), "{text}");
    assert!(text.contains("not looked at\n"), "nobody asked ECS: {text}");
    assert!(!text.contains("ok\n"), "{text}");
}

#[test]
fn a_service_that_was_rolled_back_shows_which_digest_it_runs() {
    let digest = "ab".repeat(32);
    let container = |image: String| ContainerStatus { name: "app".to_owned(), image };
    let arn = "arn:aws:ecs:eu-west-1:1:task-definition/hello:1";
    let ours = |containers| Running {
        revision: arn.to_owned(),
        since: at(0),
        images: Vec::new(),
        unproven: false,
        containers,
    };
    let seen = |image: &str| RunsStatus {
        revision: Some(arn.to_owned()),
        last_error: None,
        containers: vec![container(image.to_owned())],
        ..RunsStatus::unseen(at(3600), String::new())
    };
    let by_tag = ServiceStatus {
        deployed: Some(ours(vec![container(format!("1.dkr.ecr.eu-west-1.amazonaws.com/team/hello@sha256:{digest}"))])),
        runs: Some(seen("1.dkr.ecr.eu-west-1.amazonaws.com/team/hello:latest")),
        ..plain("by-tag")
    };
    let by_digest = ServiceStatus {
        deployed: Some(ours(Vec::new())),
        runs: Some(seen(&format!("1.dkr.ecr.eu-west-1.amazonaws.com/team/hello@sha256:{digest}"))),
        ..plain("by-digest")
    };
    for service in [ServiceStatus { runs: None, ..by_tag.clone() }, by_tag, by_digest] {
        let text = shown(vec![service]);
        assert!(text.contains("hello abababababab  hello:1"), "{text}");
    }
}

#[test]
fn a_note_that_holds_for_many_services_is_said_once_with_their_names() {
    // AWS names the service in each message.
    let denied = |service: &str| format!("ecs:UpdateService: AccessDeniedException: not on service/{service}");
    let last_error = |n: usize| {
        let (name, last_error) = (format!("s{n}"), Some(denied(&format!("web/s{n}"))));
        ServiceStatus { last_error, ..plain(&name) }
    };
    let text = shown((0..30).map(last_error).collect());
    assert_eq!(text.matches("AccessDenied").count(), 1, "{text}");
    let general = denied("CLUSTER/SERVICE");
    assert!(text.contains(&format!("30 services  {general}\n    web/s0, web/s1,")), "{text}");
    let text = shown(vec![last_error(7)]);
    assert!(text.contains(&format!("web/s7  {}\n", denied("web/s7"))), "one alone is told as it is: {text}");
}

#[test]
fn what_waits_is_said_with_its_stage_and_what_to_do() {
    let waiting = Waiting {
        gate: Gate::Pause,
        since: at(0),
        repository: repository_key("team/app").name,
        tag: Some(tag("1.4")),
        digest: digest('a'),
        reason: "ECS pauses at POST_SCALE_UP; continue with: ecs-deployd approve web/a".to_owned(),
        until: Some(at(600)),
        stage: Some("POST_SCALE_UP".to_owned()),
        hook: None,
        reported: false,
    };
    let text = shown(vec![ServiceStatus { waiting: Some(waiting), ..plain("a") }]);
    assert!(text.contains("team/app:1.4 waits since 2027-01-15T08:00:00Z: ECS pauses at POST_SCALE_UP"), "{text}");
    assert!(text.contains("the waiting ends by itself at 2027-01-15T08:10:00Z"), "{text}");
}

#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_it_is() {
    let nasty = "x\u{1b}[2J\u{1b}]0;owned\u{7}\nweb/a  forged \u{202e}";
    let service_hold = ServiceHold { since: at(0), by: nasty.to_owned(), reason: nasty.to_owned() };
    let hold = HoldStatus {
        repository: "team/app".to_owned(),
        digest: format!("sha256:{}", "cd".repeat(32)),
        since: at(0),
        reason: nasty.to_owned(),
    };
    let failed = OutcomeStatus {
        result: OutcomeKind::Failed,
        decided_at: at(0),
        ended_at: at(9),
        revision: None,
        images: Vec::new(),
        detail: nasty.to_owned(),
    };
    let text = shown(vec![
        ServiceStatus {
            service_hold: Some(service_hold),
            held: vec![hold],
            last_error: Some(nasty.to_owned()),
            ..plain("a")
        },
        ServiceStatus { history: vec![failed], ..plain("b") },
    ]);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("web/a  forged")), "{text}");
}

#[test]
fn how_long_ago_something_was_is_told_by_the_clock_of_the_daemon() {
    let config = Config::parse("test", "").unwrap();
    let (at, wrong) = (Timestamp::from_second(1_000).unwrap(), Timestamp::from_second(1_600).unwrap());
    let status = Status::of(&config, &Default::default(), at);
    assert_eq!(time_of(&status, wrong), at);
    let of_file = Status { source: Origin::StateFile, ..status };
    assert_eq!(time_of(&of_file, wrong), wrong, "nobody else tells the time");
}
