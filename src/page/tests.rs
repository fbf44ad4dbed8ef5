use super::*;
use crate::domain::rollout::Counts;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::status::test_support::{at, plain};
use crate::status::{ChangeStatus, DaemonStatus, Origin, Running};
use crate::status::{ContainerStatus, HoldStatus, ImageStatus, OutcomeStatus, RolloutStatus, RunsStatus, Step, Way};

/// What an attacker may try to get into a page.
const NASTY: &str = "<script>alert(1)</script>\"'&";

fn image(tag: &str) -> ImageStatus {
    ImageStatus {
        repository: "team/app".to_owned(),
        tag: Some(tag.to_owned()),
        digest: format!("sha256:{}", "ab".repeat(32)),
        pushed_at: at(0),
        event: "e1".to_owned(),
        seen: Some(FirstSeen { at: at(2), by: PushSource::Queue }),
    }
}

fn outcome(result: OutcomeKind, ended: i64) -> OutcomeStatus {
    OutcomeStatus {
        result,
        decided_at: at(ended - 60),
        ended_at: at(ended),
        revision: None,
        images: vec![image("v1")],
        detail: NASTY.to_owned(),
    }
}

fn full() -> Status {
    let rolling = ServiceStatus {
        deployed: Some(Running {
            unproven: false,
            revision: "arn:aws:ecs:eu-west-1:1:task-definition/app:7".to_owned(),
            since: at(100),
            images: vec![image(NASTY)],
            containers: Vec::new(),
        }),
        rollout: Some(RolloutStatus {
            direction: Way::Forward,
            because: None,
            phase: Step::Rolling,
            revision: None,
            deployment: None,
            decided_at: at(3500),
            images: vec![image("v2")],
            tasks: Some(Counts { desired: 4, running: 1, pending: 2, failed: 1 }),
            stage: Some("POST_SCALE_UP".to_owned()),
            traffic: Some(10.0),
            task: None,
        }),
        history: vec![outcome(OutcomeKind::Completed, 3000), outcome(OutcomeKind::Failed, 2000)],
        ..plain("rolls")
    };
    let held = HoldStatus {
        repository: "team/app".to_owned(),
        digest: format!("sha256:{}", "cd".repeat(32)),
        since: at(2000),
        reason: NASTY.to_owned(),
    };
    Status {
        version: 1,
        at: at(3600),
        source: Origin::Daemon,
        table: None,
        daemon: Some(DaemonStatus {
            program_version: "1.2.3".to_owned(),
            commit: "abc".to_owned(),
            started_at: at(0),
            state_error: None,
            audit_errors: std::collections::BTreeMap::new(),
        }),
        contexts: vec![ContextStatus {
            aws: "default".to_owned(),
            since: at(0),
            read_to: Some(at(3590)),
            polled_at: Some(at(3590)),
            last_error: None,
            delivery: Some(DeliveryStatus {
                pushes: 3,
                last_seconds: 9.0,
                median_seconds: 130.2,
                longest_seconds: 700.0,
            }),
            queue: Some(QueueStatus {
                url: format!("https://sqs.eu-west-1.amazonaws.com/111111111111/{NASTY}"),
                received_at: Some(at(3599)),
                last_error: Some(NASTY.to_owned()),
                delivery: None,
            }),
        }],
        services: vec![plain("quiet"), rolling, ServiceStatus { held: vec![held], ..plain("waits") }],
        changes: vec![ChangeStatus {
            aws: "default".to_owned(),
            event: "c1".to_owned(),
            at: at(3000),
            call: "UpdateService".to_owned(),
            target: NASTY.to_owned(),
            who: NASTY.to_owned(),
            from: "192.0.2.7".to_owned(),
            agent: "aws-cli/2.0".to_owned(),
            concern: Concern::Watched,
            error: None,
        }],
        pushes: vec![PushStatus {
            aws: "default".to_owned(),
            repository: Some("team/app".to_owned()),
            tag: Some(NASTY.to_owned()),
            event: "e1".to_owned(),
            pushed_at: at(10),
            decided_at: at(20),
            service: Some("web/rolls".to_owned()),
            decision: PushDecision::Skipped(SkipReason::TagMismatch),
            detail: NASTY.to_owned(),
            seen: Some(FirstSeen { at: at(12), by: PushSource::Queue }),
        }],
    }
}

#[test]
fn everything_that_others_wrote_is_escaped() {
    let page = render(&full(), &View { q: NASTY.to_owned(), refresh: String::new() });
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains(NASTY));
    let page = render(&full(), &View::default());
    assert!(!page.contains("<script"), "{page}");
    assert_eq!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count(), 10);
}

#[test]
fn it_says_how_soon_and_by_whom_a_push_was_seen() {
    let page = render(&full(), &View::default());
    assert_eq!(
        page.matches("seen 2 s after the push, by the queue").count(),
        2,
        "with its rollout and in the list: {page}"
    );
    assert!(page.contains("The queue cannot be read in the AWS context default."), "{page}");
}

#[test]
fn what_needs_attention_comes_first() {
    let status = full();
    let (shown, matching) = chosen(&status, &View::default());
    let names: Vec<&str> = shown.iter().map(|one| one.service.as_str()).collect();
    assert_eq!((names, matching), (vec!["waits", "rolls", "quiet"], 3));
    let (shown, matching) = chosen(&status, &View { q: "B/QUI".to_owned(), refresh: String::new() });
    assert_eq!((shown[0].service.as_str(), matching), ("quiet", 1));
    let many = Status { services: (0..500).map(|n| plain(&format!("s{n}"))).collect(), ..full() };
    let page = render(&many, &View::default());
    assert!(page.contains("Shown: 200 of 500"));
}

#[test]
fn the_page_says_what_goes_on() {
    let page = render(&full(), &View::default());
    for text in [
        "<title>1 rolling, 1 held - ecs-deployd</title>",
        "1 of 4 new tasks run, 2 starting",
        "<progress max=\"4\" value=\"1\"",
        "2m 10s (median of 3), longest 11m 40s",
        "Timeline since an hour ago: 2 deployments, 1 completed",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(text), "no {text} in\n{page}");
    }
    let still = render(&full(), &View { refresh: "off".to_owned(), q: String::new() });
    assert!(!still.contains("http-equiv"));
}

#[test]
fn an_empty_installation_says_what_to_do() {
    let empty = Status { services: Vec::new(), contexts: Vec::new(), pushes: Vec::new(), ..full() };
    let page = render(&empty, &View::default());
    assert!(page.contains("names no service") && page.contains("No AWS context is polled"), "{page}");
}

#[test]
fn nothing_is_loaded_or_run_from_anywhere() {
    let policy = content_security_policy();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = render(&full(), &View::default());
    // An attribute of style would be refused by that policy, and so would any asset.
    for forbidden in [" style=", " src=", "<link", "<script", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn what_runs_is_what_ecs_says_and_who_set_it_shows() {
    let runs = |revision: u32| RunsStatus {
        seen_at: at(3600),
        revision: Some(format!("arn:aws:ecs:eu-west-1:1:task-definition/app:{revision}")),
        since: Some(at(3000)),
        desired: 1,
        running: 1,
        containers: vec![ContainerStatus {
            name: "app".to_owned(),
            image: format!("1.dkr.ecr.eu-west-1.amazonaws.com/team/app@sha256:{}", "ef".repeat(32)),
        }],
        last_error: None,
    };
    let deployed = full().services[1].deployed.clone();
    for (deployed, seen, word, text) in [
        (deployed.clone(), 7, "steady", "1 of 1 task"),
        (deployed, 8, "changed by somebody else", "title=\"1.dkr.ecr.eu-west-1.amazonaws.com/team/app@sha256:efef"),
        (None, 8, "nothing deployed yet", ">team/app<"),
    ] {
        let one = ServiceStatus { deployed, runs: Some(runs(seen)), ..plain("shop") };
        let page = render(&Status { services: vec![one], ..full() }, &View::default());
        assert!(page.contains(&format!(">{word}<")) && page.contains(text), "{word}, {text}: {page}");
    }
    let gone = RunsStatus::unseen(at(3600), "there is no such service in ECS".to_owned());
    let one = ServiceStatus { runs: Some(gone), ..plain("shop") };
    let page = render(&Status { services: vec![one], ..full() }, &View::default());
    assert!(page.contains("there is no such service in ECS"), "{page}");
}

#[test]
fn what_is_wrong_with_several_services_is_said_once_with_their_names() {
    let denied = |number| {
        Some(format!("AccessDenied {NASTY} on resource: arn:aws:ecs:eu-west-1:111111111111:service/web/s{number}"))
    };
    let mut status = full();
    status.services =
        (1..=8).map(|number| ServiceStatus { last_error: denied(number), ..plain(&format!("s{number}")) }).collect();
    status.services.push(ServiceStatus { last_error: Some("another thing".to_owned()), ..plain("alone") });
    let page = render(&status, &View::default());
    assert_eq!(page.matches("AccessDenied").count(), 1, "{page}");
    assert!(page.contains("<strong>8 services: </strong>AccessDenied &lt;script&gt;"), "{page}");
    assert!(page.contains(":service/CLUSTER/SERVICE<div"), "AWS names the service in each message: {page}");
    assert!(page.contains(
        "web/s1, web/s2, web/s3, web/s4, web/s5<details><summary>and 3 more</summary>web/s6, web/s7, web/s8"
    ));
    assert_eq!(page.matches("<a href=\"#shared-0\">the same as 7 other services</a>").count(), 8);
    assert!(page.contains("Last error: another thing"), "what is one service's own is said there");
    // What is short is said at each of them, too.
    let missing = || Some(RunsStatus::unseen(at(3600), "there is no such service in ECS".to_owned()));
    status.services = ["a", "b"].map(|name| ServiceStatus { runs: missing(), ..plain(name) }).into();
    let page = render(&status, &View::default());
    assert_eq!(page.matches("there is no such service in ECS").count(), 3, "{page}");
    assert!(page.contains("<b class=\"bad\">2</b> with errors"), "{page}");
}
