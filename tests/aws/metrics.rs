//! The documented metrics are the ones that are exposed.

use std::collections::BTreeSet;
use std::fs;

use crate::exposed::exposed;

/// A row of the reference: a metric, its type and its labels.
fn documented() -> Vec<(String, String, BTreeSet<String>)> {
    let reference = fs::read_to_string("docs/reference/metrics.md").unwrap();
    let rows = reference.lines().filter(|line| line.starts_with("| `ecs_deployd_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].trim_matches('`').to_owned(), cells[1].to_owned(), labels)
    })
    .collect()
}

#[test]
fn the_metrics_are_those_of_the_table_by_name_type_and_labels() {
    let (_home, text) = exposed();

    // Nothing waits at a hook here, as the emulator has none, no task runs, no schedule follows, and no service is looked for by its tag. The
    // series are looked at where they count.
    let idle = ["waiting", "tasks_total", "schedule_updates_total", "discovered_services"];
    let is_idle = |name: &str| name.strip_prefix("ecs_deployd_").is_some_and(|name| idle.contains(&name));
    let table: Vec<_> = documented().into_iter().filter(|(name, ..)| !is_idle(name)).collect();
    let listed: BTreeSet<&str> = table.iter().map(|(name, _, _)| name.as_str()).collect();
    let typed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ecs_deployd_").map(|_| line.split(' ').nth(2).unwrap()))
        .collect();
    assert_eq!(listed, typed, "the reference and what is exposed");
    for (name, kind, labels) in &table {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        assert!(text.lines().any(|line| line.starts_with(&format!("# HELP {name} "))), "{name} has no help");
        let samples = text.lines().filter(|line| {
            let of = line.split(['{', ' ']).next().unwrap();
            of == name || ["_bucket", "_sum", "_count"].iter().any(|end| of == format!("{name}{end}"))
        });
        let mut seen = 0;
        for sample in samples {
            seen += 1;
            let inside =
                sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
            let own: BTreeSet<String> = inside
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(label, _)| label.to_owned()))
                .filter(|label| label != "le")
                .collect();
            assert_eq!(&own, labels, "{sample}");
        }
        assert!(seen > 0, "{name} has no sample");
    }
}
