//! The daemon's metrics in the text form of Prometheus, as far as one wants to see them move.

use std::collections::{BTreeMap, HashSet};

const PREFIX: &str = "ecs_deployd_";

/// The daemon's counters and gauges, by name with labels.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Sample(BTreeMap<String, f64>);

impl Sample {
    pub(crate) fn parse(text: &str) -> Self {
        let simple: HashSet<&str> = text.lines().filter_map(simple_metric).collect();
        let series = text
            .lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series, value.parse().ok()?))
            })
            .filter(|(series, _)| series.starts_with(PREFIX) && simple.contains(name(series)))
            .map(|(series, value)| (series.to_owned(), value))
            .collect();
        Self(series)
    }

    /// The sum of the series of a metric (without the prefix) that have the given label value.
    pub(crate) fn sum(&self, metric: &str, label: &str) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| name(series).strip_prefix(PREFIX) == Some(metric))
            .filter(|(series, _)| series.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// One line for each series that is not as it was.
    pub(crate) fn moved_since(&self, before: &Self) -> Vec<String> {
        self.0
            .iter()
            .filter(|(series, value)| before.0.get(*series) != Some(value))
            .map(|(series, value)| match before.0.get(series) {
                Some(old) => format!("{series}  {old} -> {value}"),
                None => format!("{series}  {value} (new)"),
            })
            .collect()
    }
}

/// The name of a counter or gauge, in the line that declares it.
fn simple_metric(line: &str) -> Option<&str> {
    match line.strip_prefix("# TYPE ")?.split_once(' ')? {
        (name, "counter" | "gauge") => Some(name),
        _ => None,
    }
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# HELP ecs_deployd_pushes_total x
# TYPE ecs_deployd_pushes_total counter
ecs_deployd_pushes_total{outcome=\"duplicate\"} 1
# TYPE ecs_deployd_held gauge
ecs_deployd_held 0
# TYPE ecs_deployd_seconds histogram
ecs_deployd_seconds_bucket{le=\"1\"} 1
ecs_deployd_seconds_count 1
# TYPE process_open_fds gauge
process_open_fds 9
";

    fn after() -> Sample {
        Sample::parse(&BEFORE.replace("} 1", "} 3").replace("fds 9", "fds 10").replace(
            "# TYPE ecs_deployd_held",
            "ecs_deployd_pushes_total{outcome=\"deployed\"} 1\n# TYPE ecs_deployd_held",
        ))
    }

    #[test]
    fn only_what_moved_shows() {
        assert_eq!(
            after().moved_since(&Sample::parse(BEFORE)),
            [
                "ecs_deployd_pushes_total{outcome=\"deployed\"}  1 (new)",
                "ecs_deployd_pushes_total{outcome=\"duplicate\"}  1 -> 3",
            ]
        );
        assert!(after().moved_since(&after()).is_empty());
    }

    #[test]
    fn sums_the_series_with_a_label() {
        assert_eq!(after().sum("pushes_total", "outcome=\"deployed\""), 1.0);
        assert_eq!(after().sum("pushes_total", "outcome="), 4.0);
        assert_eq!(after().sum("pushes", ""), 0.0);
    }
}
