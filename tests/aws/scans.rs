//! The gates `scan` and `signed_by`: the real ECR client against what ECR answers about scans and signatures of images.

use local_aws::{ECR, image_manifest};
use serde_json::{Value, json};

use crate::commands::run;
use crate::daemon::{Daemon, Home, wait_for};
use crate::scene::{Scene, name};

const PROFILE: &str = "arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci";

/// A scene whose service has a gate, its home, and the daemon.
struct Gated {
    scene: Scene,
    home: Home,
    daemon: Daemon,
}

impl Gated {
    fn new(lines: &str) -> Self {
        let scene = Scene::new(1);
        let home = scene.home(&scene.config(1).replace("[deploy]\n", &format!("[deploy]\n{lines}\n")));
        let daemon = home.start();
        daemon.wait_until_ready();
        Self { scene, home, daemon }
    }

    fn scanned_on_push(self) -> Self {
        let on_push = json!({"repositoryName": "hello", "imageScanningConfiguration": {"scanOnPush": true}});
        self.scene.client.call(ECR, "PutImageScanningConfiguration", &on_push).unwrap();
        self
    }

    /// Has ECR know an image that no tag points to yet, and gives its digest.
    fn untagged(&self, content: &str) -> String {
        self.scene.client.put_image("hello", None, &image_manifest(content)).unwrap()
    }

    /// What waits, once it does.
    fn waiting(&self) -> Value {
        wait_for("what waits", || {
            let (code, text, errors) = run(&self.home, &["status", "--json"]);
            assert_eq!(code, 0, "{errors}");
            let status: Value = serde_json::from_str(&text).unwrap();
            let waiting = status["services"][0]["waiting"].clone();
            (!waiting.is_null()).then_some(waiting)
        })
    }

    fn pushes(&self, outcome: &str) -> Option<f64> {
        self.daemon.metric(&format!(r#"ecs_deployd_pushes_total{{outcome="{outcome}",repository="hello"}}"#))
    }

    /// The line of the log about the push that was skipped for this reason.
    fn skipped(&self, reason: &str) -> String {
        self.daemon.wait_for_log(&format!("reason={reason}"));
        assert_eq!(self.pushes(reason), Some(1.0));
        assert!(self.scene.image(&name(0)).ends_with(":latest"), "what ran before still runs");
        let log = self.daemon.log();
        log.lines().find(|line| line.contains(&format!("reason={reason}"))).unwrap().to_owned()
    }
}

/// What DescribeImageScanFindings gives of a scan (Amazon ECR API Reference).
fn scan(status: &str, findings: Option<Value>) -> Value {
    let mut scan =
        json!({"imageScanStatus": {"status": status, "description": "The scan was completed successfully."}});
    if let Some(findings) = findings {
        scan["imageScanFindings"] = findings;
        scan["imageScanFindings"]["imageScanCompletedAt"] = json!(1_790_000_000.0);
        scan["imageScanFindings"]["vulnerabilitySourceUpdatedAt"] = json!(1_790_000_000.0);
    }
    scan
}

fn basic(findings: &[(&str, &str)]) -> Value {
    let finding = |(severity, name): &(&str, &str)| {
        json!({
            "name": name, "severity": severity, "uri": format!("https://example.com/{name}"), "description": "A flaw.",
            "attributes": [{"key": "package_name", "value": "openssl"}, {"key": "package_version", "value": "3.0.1"}],
        })
    };
    let found: Vec<Value> = findings.iter().map(finding).collect();
    json!({"findingSeverityCounts": counts(findings), "findings": found})
}

/// The same as Amazon Inspector tells it.
fn enhanced(findings: &[(&str, &str)]) -> Value {
    let finding = |(severity, name): &(&str, &str)| {
        json!({
            "awsAccountId": "111111111111", "findingArn": format!("arn:aws:inspector2:eu-west-1:111111111111:finding/{name}"),
            "severity": severity, "status": "ACTIVE", "type": "PACKAGE_VULNERABILITY", "score": 7.5,
            "title": format!("{name} - openssl"), "description": "A flaw.", "fixAvailable": "YES", "exploitAvailable": "NO",
            "firstObservedAt": 1_790_000_000.0, "lastObservedAt": 1_790_000_000.0, "updatedAt": 1_790_000_000.0,
            "packageVulnerabilityDetails": {
                "vulnerabilityId": name, "source": "NVD", "sourceUrl": format!("https://example.com/{name}"),
                "vulnerablePackages": [{"name": "openssl", "version": "3.0.1", "fixedInVersion": "3.0.2"}],
            },
            "remediation": {"recommendation": {"text": "None Provided"}},
            "resources": [{"type": "AWS_ECR_CONTAINER_IMAGE", "id": "arn:aws:ecr:eu-west-1:111111111111:repository/hello"}],
        })
    };
    let found: Vec<Value> = findings.iter().map(finding).collect();
    json!({"findingSeverityCounts": counts(findings), "enhancedFindings": found})
}

fn counts(findings: &[(&str, &str)]) -> Value {
    let mut counts = json!({});
    for (severity, _) in findings {
        counts[severity] = json!(counts[severity].as_u64().unwrap_or(0) + 1);
    }
    counts
}

#[test]
fn findings_of_the_severity_or_worse_skip_the_push_and_are_told_by_name() {
    let gated = Gated::new("scan = \"high\"").scanned_on_push();
    let digest = gated.untagged("bad");
    // More than one page of what is not severe enough comes first.
    let low: Vec<String> = (0..1200).map(|number| format!("CVE-2025-{number:04}")).collect();
    let mut findings: Vec<(&str, &str)> = low.iter().map(|name| ("LOW", name.as_str())).collect();
    findings.extend([("HIGH", "CVE-2026-0002"), ("CRITICAL", "CVE-2026-0001"), ("HIGH", "CVE-2026-0003")]);
    let bad = scan("COMPLETE", Some(basic(&findings)));
    gated.scene.aws.settings().set_scans(&json!({&digest: bad})).unwrap();
    assert_eq!(gated.scene.push("bad"), digest);
    let line = gated.skipped("scan_findings");
    let told = "ECR's scan found 1 CRITICAL, 2 HIGH: CVE-2026-0001, CVE-2026-0002, CVE-2026-0003";
    assert!(line.contains(told), "{line}");
    // The image is mended, and another one is pushed.
    let good = gated.untagged("good");
    let clean = scan("COMPLETE", Some(basic(&findings[..2])));
    gated.scene.aws.settings().set_scans(&json!({&good: clean})).unwrap();
    gated.scene.push("good");
    gated.scene.wait_for_image(&name(0), &good);
    gated.daemon.stop();
}

#[test]
fn a_scan_that_is_not_done_is_waited_for() {
    let gated = Gated::new("scan = \"high\"").scanned_on_push();
    let digest = gated.scene.push("v1");
    let waiting = gated.waiting();
    assert_eq!((&waiting["gate"], &waiting["digest"]), (&json!("scan"), &json!(digest)));
    assert_eq!(waiting["reason"], "ECR has not begun to scan the image");
    gated.daemon.wait_for_metric(r#"ecs_deployd_waiting{cluster="web",gate="scan",service="hello-0"}"#, 1.0);
    let settings = gated.scene.aws.settings();
    settings.set_scans(&json!({&digest: scan("IN_PROGRESS", None)})).unwrap();
    wait_for("the scan under way", || (gated.waiting()["reason"] == "ECR scans the image (IN_PROGRESS)").then_some(()));
    settings.set_scans(&json!({&digest: scan("COMPLETE", Some(basic(&[])))})).unwrap();
    gated.scene.wait_for_image(&name(0), &digest);
    gated.daemon.wait_for_log("outcome=\"completed\"");
    assert_eq!(gated.pushes("scan_missing"), None);
    gated.daemon.stop();
}

#[test]
fn a_repository_that_is_not_scanned_is_told_by_check_and_skips_the_push() {
    let gated = Gated::new("scan = \"critical\"");
    let (_, text, _) = run(&gated.home, &["check", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    let codes: Vec<&str> =
        found["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes[0], "not_scanned", "{found:#}");
    gated.scene.push("v1");
    let line = gated.skipped("scan_missing");
    assert!(line.contains("not scanned on push: turn that on (ecr put-registry-scanning-configuration)"), "{line}");
    gated.daemon.stop();
}

#[test]
fn an_image_that_cannot_be_scanned_skips_the_push_at_once() {
    let gated = Gated::new("scan = \"critical\"").scanned_on_push();
    let digest = gated.untagged("v1");
    let unsupported = json!({"imageScanStatus": {"status": "UNSUPPORTED_IMAGE", "description": "The operating system is not supported."}});
    gated.scene.aws.settings().set_scans(&json!({&digest: unsupported})).unwrap();
    gated.scene.push("v1");
    let line = gated.skipped("scan_missing");
    assert!(line.contains("UNSUPPORTED_IMAGE (The operating system is not supported.)"), "{line}");
    gated.daemon.stop();
}

#[test]
fn findings_of_enhanced_scanning_count_by_their_vulnerability() {
    let gated = Gated::new("scan = \"high\"").scanned_on_push();
    let (bad, good) = (gated.untagged("bad"), gated.untagged("good"));
    let found = enhanced(&[("MEDIUM", "CVE-2026-0101"), ("HIGH", "CVE-2026-0102"), ("UNTRIAGED", "CVE-2026-0103")]);
    let clean = enhanced(&[("MEDIUM", "CVE-2026-0101")]);
    let scans = json!({&bad: scan("ACTIVE", Some(found)), &good: scan("ACTIVE", Some(clean))});
    gated.scene.aws.settings().set_scans(&scans).unwrap();
    gated.scene.push("bad");
    let line = gated.skipped("scan_findings");
    assert!(line.contains("ECR's scan found 1 HIGH: CVE-2026-0102"), "{line}");
    gated.scene.push("good");
    gated.scene.wait_for_image(&name(0), &good);
    gated.daemon.stop();
}

fn signature(status: &str) -> Value {
    let mut signature = json!({"signingProfileArn": PROFILE, "status": status});
    if status == "FAILED" {
        signature["failureCode"] = json!("AccessDeniedException");
        signature["failureReason"] = json!("The signing profile cannot be used by this registry.");
    }
    signature
}

#[test]
fn a_signature_that_failed_skips_the_push_with_the_reason() {
    let gated = Gated::new(&format!("signed_by = [\"{PROFILE}\"]"));
    let digest = gated.untagged("v1");
    gated.scene.aws.settings().set_signatures(&json!({&digest: [signature("FAILED")]})).unwrap();
    gated.scene.push("v1");
    let line = gated.skipped("unsigned");
    let told = "could not sign the image: AccessDeniedException: The signing profile cannot be used by this registry.";
    assert!(line.contains(&format!("{PROFILE} {told}")), "{line}");
    gated.daemon.stop();
}

#[test]
fn a_signature_is_waited_for() {
    let gated = Gated::new(&format!("signed_by = [\"{PROFILE}\"]"));
    let digest = gated.untagged("v1");
    let settings = gated.scene.aws.settings();
    settings.set_signatures(&json!({&digest: [signature("IN_PROGRESS")]})).unwrap();
    gated.scene.push("v1");
    let waiting = gated.waiting();
    assert_eq!((&waiting["gate"], &waiting["digest"]), (&json!("signature"), &json!(digest)));
    assert_eq!(waiting["reason"], format!("{PROFILE} is signing the image"));
    settings.set_signatures(&json!({&digest: [signature("COMPLETE")]})).unwrap();
    gated.scene.wait_for_image(&name(0), &digest);
    gated.daemon.stop();
}
