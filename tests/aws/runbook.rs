//! Alerts and the runbook belong together.

use std::fs;

const RULES: &str = "config/prometheus/alerts.yml";

#[test]
fn each_alert_is_tested_and_has_a_section_in_the_runbook() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (rules, tests, runbook) = (read(RULES), read("config/prometheus/alerts.test.yml"), read("docs/runbook.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.lines().any(|line| line == format!("### {alert}")), "no section for {alert} in the runbook");
        assert!(rules.contains(&format!("runbook: docs/runbook.md#{}\n", alert.to_lowercase())), "{alert}");
        let cases = tests.matches(&format!("alertname: {alert}\n")).count();
        assert!(cases >= 2, "{alert} is not tested to fire and to clear");
    }
}
