//! The gates one by one, and the order in which a push goes through them.

use super::scan::{Progress, Report, Severity};
use super::signature::Signature;
use super::*;
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::state::{CommandRecord, Deployed, Direction, OperatorCommand, Phase, Rollout, ServiceHold};
use crate::domain::test_support::{arn, at, deployment, digest, push_ref, repository_key, rollout, service};

const HOUR: Duration = Duration::from_secs(3600);

/// A service that has run digest `b` since second 10.
fn runs_b() -> ServiceState {
    let forward = rollout(Phase::Intended);
    let deployed = Deployed {
        revision: arn(2),
        targets: forward.targets,
        since: at(10),
        names_tags: false,
        rollback_target: None,
        unproven: None,
        pinned: BTreeMap::new(),
    };
    ServiceState { deployed: Some(deployed), ..ServiceState::default() }
}

fn staging(known: &ServiceState) -> Other<'_> {
    Other { name: "staging/web", known: Some(known), seen: None }
}

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Wait(wait) => &wait.why,
        Verdict::Refuse(refusal) => &refusal.why,
        Verdict::Open => "open",
        Verdict::Ask(_) => "ask",
    }
}

#[test]
fn a_digest_goes_on_once_it_has_run_before_for_long_enough_without_a_break() {
    let known = runs_b();
    let told = |letter, bake, second| {
        let verdict = after::judge(&[staging(&known)], bake, &digest(letter), at(second));
        why(&verdict).to_owned()
    };
    assert_eq!(told('b', Duration::ZERO, 10), "open");
    assert_eq!(told('c', Duration::ZERO, 10), "staging/web does not run it");
    assert!(told('b', HOUR, 3609).starts_with("staging/web has run it since 2027-01-15T08:00:10Z, and has to for 1h"));
    assert_eq!(told('b', HOUR, 3610), "open");
    let verdict = after::judge(&[staging(&known)], HOUR, &digest('b'), at(20));
    assert!(matches!(verdict, Verdict::Wait(Wait { until: Some(until), .. }) if until == at(3610)));
    // A release breaks what bakes.
    let release =
        CommandRecord { at: at(100), by: "alice".to_owned(), command: OperatorCommand::Release, answer: String::new() };
    let released = ServiceState { commands: [release].into(), ..runs_b() };
    let judged = |second| after::judge(&[staging(&released)], HOUR, &digest('b'), at(second));
    assert_ne!(judged(3699), Verdict::Open);
    assert_eq!(judged(3700), Verdict::Open);
}

#[test]
fn what_is_rolled_held_or_unproven_before_does_not_go_on() {
    let held = crate::domain::state::DigestHold::new(
        &rollout(Phase::Intended).targets[&repository_key("hello")],
        jiff::SignedDuration::ZERO,
        "it failed".to_owned(),
        at(50),
    );
    let unproven = {
        let mut known = runs_b();
        known.deployed.as_mut().unwrap().unproven = Some(Box::new(rollout(Phase::Intended)));
        known
    };
    let back = Rollout { direction: Direction::Back { because: "x".to_owned() }, ..rollout(Phase::Intended) };
    let hold = ServiceHold { since: at(5), by: "alice".to_owned(), reason: String::new() };
    for (known, expected) in [
        (ServiceState::default(), "staging/web does not run it: nothing was deployed to it yet"),
        (ServiceState { rollout: Some(rollout(Phase::Intended)), ..runs_b() }, "staging/web is being rolled to it"),
        (ServiceState { rollout: Some(back), ..runs_b() }, "staging/web is being rolled back"),
        (
            ServiceState { held: [(repository_key("hello"), held)].into(), ..runs_b() },
            "staging/web holds it: it failed",
        ),
        (
            ServiceState { service_hold: Some(hold), ..runs_b() },
            "staging/web is held by alice since 2027-01-15T08:00:05Z",
        ),
        (unproven, "no task of staging/web has run it yet, as its desired count is 0"),
    ] {
        let verdict = after::judge(&[staging(&known)], Duration::ZERO, &digest('b'), at(60));
        assert_eq!(why(&verdict), expected);
    }
    let verdict = after::judge(&[Other { known: None, ..staging(&runs_b()) }], HOUR, &digest('b'), at(60));
    assert_eq!(why(&verdict), "staging/web does not run it: nothing was deployed to it yet");
}

#[test]
fn what_ecs_says_of_the_service_before_counts() {
    let known = runs_b();
    let seen =
        |view| after::judge(&[Other { seen: Some(view), ..staging(&known) }], Duration::ZERO, &digest('b'), at(60));
    let view = |revision| service(revision, vec![deployment("d", true, revision, None)]);
    let (ours, theirs) = (view(2), view(7));
    assert_eq!(seen(Some(&ours)), Verdict::Open);
    let changed = seen(Some(&theirs));
    assert_eq!(why(&changed), "staging/web was set to hello:7 by somebody else");
    assert!(matches!(changed, Verdict::Wait(Wait { ask_again: true, .. })), "nobody tells when that changes");
    assert_eq!(why(&seen(None)), "ECS does not know staging/web any more");
}

#[test]
fn every_service_before_has_to_have_proven_it() {
    let (one, two) = (runs_b(), ServiceState::default());
    let others = [staging(&one), Other { name: "canary/web", ..staging(&two) }];
    assert_eq!(
        why(&after::judge(&others, HOUR, &digest('b'), at(9999))),
        "canary/web does not run it: nothing was deployed to it yet"
    );
    assert!(after::proven(&others, HOUR, at(9999)).is_empty());
    assert_eq!(after::proven(&others[..1], HOUR, at(9999)).len(), 1);
}

fn report(progress: Progress, counts: &[(Severity, u64)], names: &[(Severity, &str)]) -> Report {
    let names = names.iter().map(|(severity, name)| (*severity, (*name).to_owned())).collect();
    Report { progress, counts: counts.iter().copied().collect(), names }
}

fn scanned(level: ScanLevel, reports: &[Report], second: i64) -> Verdict {
    scan::judge(level, HOUR, at(0), reports, at(second))
}

#[test]
fn an_image_is_refused_for_findings_of_the_level_or_worse() {
    use Severity::{Critical, High, Low, Medium};
    let findings = [
        (ScanLevel::Off, Critical, false),
        (ScanLevel::Critical, Critical, true),
        (ScanLevel::Critical, High, false),
        (ScanLevel::High, Critical, true),
        (ScanLevel::High, High, true),
        (ScanLevel::High, Medium, false),
        (ScanLevel::Medium, Medium, true),
        (ScanLevel::Low, Low, true),
    ];
    for (level, severity, refused) in findings {
        let verdict = scanned(level, &[report(Progress::Done, &[(severity, 1)], &[])], 1);
        assert_eq!(verdict != Verdict::Open, refused, "{level:?} {severity:?}");
        if let Verdict::Refuse(refusal) = verdict {
            assert_eq!(refusal.reason, SkipReason::ScanFindings);
        }
    }
    let many = [
        (High, "CVE-3"),
        (Critical, "CVE-9"),
        (High, "CVE-1"),
        (High, "CVE-2"),
        (High, "CVE-4"),
        (High, "CVE-5"),
        (Low, "CVE-0"),
    ];
    let verdict = scanned(ScanLevel::High, &[report(Progress::Done, &[(Critical, 1), (High, 5), (Low, 1)], &many)], 1);
    assert_eq!(
        why(&verdict),
        "ECR's scan found 1 CRITICAL, 5 HIGH: CVE-9, CVE-1, CVE-2, CVE-3, CVE-4",
        "five by name, the worst first"
    );
    assert_eq!(scanned(ScanLevel::High, &[report(Progress::Done, &[(High, 0)], &[])], 1), Verdict::Open);
}

#[test]
fn a_scan_is_waited_for_and_its_absence_refused_with_the_remedy() {
    let of = |progress| [report(progress, &[], &[])];
    let pending = scanned(ScanLevel::High, &of(Progress::UnderWay("IN_PROGRESS".to_owned())), 3599);
    assert!(matches!(&pending, Verdict::Wait(Wait { gate: Gate::Scan, ask_again: true, .. })), "{pending:?}");
    assert_eq!(why(&pending), "ECR scans the image (IN_PROGRESS)");
    assert_eq!(why(&scanned(ScanLevel::High, &of(Progress::NotBegun), 1)), "ECR has not begun to scan the image");
    for (progress, second, part) in [
        (Progress::NotBegun, 3600, "did not end that within 1h; when it has, release the service"),
        (Progress::UnderWay("PENDING".to_owned()), 3600, "did not end that within 1h"),
        (Progress::Off, 0, "turn that on (ecr put-registry-scanning-configuration)"),
        (Progress::Impossible("UNSUPPORTED_IMAGE".to_owned()), 0, "UNSUPPORTED_IMAGE; build it from a supported image"),
        (Progress::Impossible("FAILED (why)".to_owned()), 0, "FAILED (why)"),
    ] {
        match scanned(ScanLevel::High, &of(progress), second) {
            Verdict::Refuse(refusal) => {
                assert_eq!(refusal.reason, SkipReason::ScanMissing);
                assert!(refusal.why.contains(part), "{}", refusal.why);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_scan_that_has_not_begun_never_will_where_pushes_are_surely_not_scanned() {
    let failed =
        |fault| Err(AwsError { fault, ..AwsError::timed_out("ecr", "BatchGetRepositoryScanningConfiguration") });
    let after = |is_scanned| {
        let reports = vec![report(Progress::Done, &[], &[]), report(Progress::NotBegun, &[], &[])];
        let reports = scan::with_scanning(reports, is_scanned).map_err(|error| error.fault)?;
        Ok(reports.into_iter().map(|report| report.progress).collect::<Vec<_>>())
    };
    let waits = || Ok(vec![Progress::Done, Progress::NotBegun]);
    assert_eq!(after(Ok(Some(false))), Ok(vec![Progress::Done, Progress::Off]));
    for is_scanned in [Ok(Some(true)), Ok(None), failed(Fault::Denied), failed(Fault::Refused), failed(Fault::NotFound)]
    {
        assert_eq!(after(is_scanned), waits());
    }
    for fault in [Fault::Throttled, Fault::Credentials, Fault::Unavailable] {
        assert_eq!(after(failed(fault)), Err(fault));
    }
}

#[test]
fn of_an_index_every_image_counts() {
    let done = |counts: &[(Severity, u64)]| report(Progress::Done, counts, &[]);
    let pending = report(Progress::NotBegun, &[], &[]);
    assert_eq!(scanned(ScanLevel::High, &[done(&[]), done(&[])], 1), Verdict::Open);
    assert!(matches!(scanned(ScanLevel::High, &[done(&[]), pending.clone()], 1), Verdict::Wait(_)));
    let verdict = scanned(ScanLevel::High, &[done(&[(Severity::High, 2)]), done(&[(Severity::High, 1)])], 1);
    assert_eq!(why(&verdict), "ECR's scan found 3 HIGH");
    // What was found in one is enough, whatever the scans of the others say.
    let verdict = scanned(ScanLevel::High, &[pending, done(&[(Severity::High, 1)])], 1);
    assert!(matches!(verdict, Verdict::Refuse(Refusal { reason: SkipReason::ScanFindings, .. })));
    assert!(matches!(scanned(ScanLevel::High, &[], 1), Verdict::Wait(_)), "an index without images");
}

#[test]
fn each_profile_has_to_have_signed() {
    let wanted = ["arn:a".to_owned(), "arn:b".to_owned()];
    let by = |profile: &str, progress| Signature { profile: profile.to_owned(), progress };
    let judged = |signatures: &[Signature], second| signature::judge(&wanted, HOUR, at(0), signatures, at(second));
    let complete = |profile| by(profile, signature::Progress::Complete);
    assert_eq!(judged(&[complete("arn:a"), complete("arn:b"), complete("arn:c")], 1), Verdict::Open);
    let pending = judged(&[complete("arn:a"), by("arn:b", signature::Progress::UnderWay)], 1);
    assert_eq!(why(&pending), "arn:b is signing the image");
    assert!(matches!(pending, Verdict::Wait(Wait { gate: Gate::Signature, ask_again: true, .. })));
    assert_eq!(why(&judged(&[complete("arn:a")], 1)), "arn:b has not signed the image");
    let failed = signature::Progress::Failed("AccessDenied: no".to_owned());
    for (signatures, second, part) in [
        (vec![complete("arn:a")], 3600, "arn:b has not signed the image, and 1h are over"),
        (vec![complete("arn:a"), by("arn:b", failed)], 0, "arn:b could not sign the image: AccessDenied: no"),
    ] {
        match judged(&signatures, second) {
            Verdict::Refuse(refusal) => {
                assert_eq!(refusal.reason, SkipReason::Unsigned);
                assert!(refusal.why.contains(part), "{}", refusal.why);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_approval_is_of_one_digest_and_the_command_is_told() {
    let (repository, push, b) = (repository_key("hello"), push_ref("e1", "v1", 5), digest('b'));
    let subject = Subject { service: "web/shop", repository: &repository, digest: &b, push: &push, image: None };
    let approval = |letter| Approval { digest: digest(letter), by: "alice".to_owned(), at: at(1) };
    assert_eq!(approval::judge(Approvals::None, &subject, None), Verdict::Open);
    assert_eq!(approval::judge(Approvals::Required, &subject, Some(&approval('b'))), Verdict::Open);
    let verdict = approval::judge(Approvals::Required, &subject, Some(&approval('a')));
    let command = format!(
        "approve it with: ecs-deployd approve web/shop --image {b}, or hold it with: ecs-deployd reject web/shop"
    );
    assert_eq!(why(&verdict), command);
}

#[test]
fn a_push_goes_through_the_gates_in_their_order() {
    let known = runs_b();
    let (repository, push, b) = (repository_key("hello"), push_ref("e1", "v1", 5), digest('b'));
    let subject = Subject { service: "web/shop", repository: &repository, digest: &b, push: &push, image: None };
    let gates = Gates {
        after: vec![crate::domain::test_support::service_key("staging")],
        bake: HOUR,
        windows: vec![Window::parse("Mon 09:00-10:00").unwrap()],
        approval: Approvals::Required,
        scan: ScanLevel::High,
        signed_by: vec!["arn:a".to_owned()],
        ..Gates::default()
    };
    // Friday 2027-01-15, 09:20 UTC.
    let now = at(4800);
    let mut evidence = Evidence { others: vec![staging(&known)], ..Evidence::default() };
    let gate = |evidence: &Evidence<'_>, now| match judge(&gates, &subject, evidence, now) {
        Verdict::Wait(wait) => wait.gate.as_str(),
        Verdict::Ask(request) => {
            assert!(request.scan && request.signatures && !request.index);
            "ask"
        }
        Verdict::Open => "open",
        Verdict::Refuse(refusal) => refusal.reason.as_str(),
    };
    assert_eq!(gate(&evidence, at(100)), "after");
    assert_eq!(gate(&evidence, now), "ask");
    let of = (repository.clone(), b.clone());
    let found = |scan: Progress, signatures| ImageReport { scans: vec![Report::of(scan)], signatures };
    evidence.found.insert(of.clone(), found(Progress::NotBegun, Vec::new()));
    assert_eq!(gate(&evidence, now), "scan");
    evidence.found.insert(of.clone(), found(Progress::Done, Vec::new()));
    assert_eq!(gate(&evidence, now), "signature");
    let signed = Signature { profile: "arn:a".to_owned(), progress: signature::Progress::Complete };
    evidence.found.insert(of, found(Progress::Done, vec![signed]));
    assert_eq!(gate(&evidence, now), "approval");
    let approved =
        BTreeMap::from([(repository.clone(), Approval { digest: b.clone(), by: "alice".to_owned(), at: now })]);
    evidence.approved = Some(&approved);
    assert_eq!(gate(&evidence, now), "window", "an approval opens no window");
    // An operator's command passes windows, for what was pushed until then.
    let (before, later) =
        (WindowPass { by: "alice".to_owned(), at: at(4) }, WindowPass { by: "alice".to_owned(), at: at(5) });
    evidence.passes_windows = Some(&before);
    assert_eq!(gate(&evidence, now), "window");
    evidence.passes_windows = Some(&later);
    assert_eq!(gate(&evidence, now), "open");
    evidence.approved = None;
    assert_eq!(gate(&evidence, now), "approval", "and passes nothing else");
}

#[test]
fn a_timeout_runs_from_when_the_digest_began_to_wait_there() {
    let (repository, push, b) = (repository_key("hello"), push_ref("e1", "v1", 5), digest('b'));
    let subject = Subject { service: "web/shop", repository: &repository, digest: &b, push: &push, image: None };
    let gates = Gates { scan: ScanLevel::Low, scan_timeout: HOUR, ..Gates::default() };
    let found = ImageReport { scans: vec![Report::of(Progress::NotBegun)], signatures: Vec::new() };
    let waiting = |letter, gate| Waiting {
        gate,
        since: at(0),
        repository: repository.name.clone(),
        tag: None,
        digest: digest(letter),
        reason: String::new(),
        until: None,
        stage: None,
        hook: None,
        reported: false,
    };
    for (waits, refused) in [
        (None, false),
        (Some(waiting('b', Gate::Scan)), true),
        (Some(waiting('a', Gate::Scan)), false),
        (Some(waiting('b', Gate::After)), false),
    ] {
        let evidence = Evidence {
            waiting: waits.as_ref(),
            found: BTreeMap::from([((repository.clone(), b.clone()), found.clone())]),
            ..Evidence::default()
        };
        let verdict = judge(&gates, &subject, &evidence, at(3600));
        assert_eq!(matches!(verdict, Verdict::Refuse(_)), refused, "{waits:?}");
    }
}
