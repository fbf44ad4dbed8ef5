//! The page `metrics.md` of the reference.

use super::{code, table, title};
use crate::metrics::{Label, METRICS, Metric, OTHER_REPOSITORIES, Values};

pub(super) fn document() -> String {
    let mut text = title("Metrics");
    text.push_str(
        "\n`/metrics` of `[http] listen` exposes these in the text format of Prometheus. Names tell units as is usual there: `_total` is a \
         count since the start of the process, `_seconds` a time in seconds.\n",
    );
    text.push_str(&table(["metric", "type", "labels", "unit", "meaning"], METRICS.iter().map(row)));
    text.push_str(
        "\nBeside them stand those of the process, without the prefix: `process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`, \
         `process_virtual_memory_bytes`, `process_resident_memory_bytes`, `process_start_time_seconds` and `process_threads`.\n\n## Notes\n\n",
    );
    for metric in METRICS.iter().filter(|metric| !metric.note.is_empty()) {
        text.push_str(&format!("- `{}`: {}\n", metric.full_name(), metric.note));
    }
    text.push_str(&format!(
        "- The repository is `{OTHER_REPOSITORIES}` for pushes to repositories that are not in the configuration.\n\n## Buckets\n\n"
    ));
    for metric in METRICS.iter().filter(|metric| !metric.buckets.is_empty()) {
        let buckets: Vec<String> = metric.buckets.iter().map(f64::to_string).collect();
        text.push_str(&format!("- `{}`: {}\n", metric.full_name(), buckets.join(", ")));
    }
    text.push_str("\n## Labels\n");
    let mut bounded: Vec<(&str, &str)> = Vec::new();
    for label in METRICS.iter().flat_map(|metric| metric.labels) {
        match label.values {
            Values::Bounded(from) if !bounded.contains(&(label.name, from)) => bounded.push((label.name, from)),
            Values::Bounded(_) | Values::Words(_) => {}
        }
    }
    text.push_str(&table(["label", "values"], bounded.iter().map(|(name, from)| [code(name), (*from).to_owned()])));
    let mut told: Vec<Told> = Vec::new();
    for (metric, label) in METRICS.iter().flat_map(|metric| metric.labels.iter().map(move |label| (metric, label))) {
        let Values::Words(words) = label.values else { continue };
        let (words, metric) = (words(), code(&metric.full_name()));
        match told.iter_mut().find(|known| known.words == words && known.label == label.name) {
            Some(known) => known.metrics.push(metric),
            None => told.push(Told { words, label: label.name, metrics: vec![metric] }),
        }
    }
    for Told { words, label, metrics } in told {
        text.push_str(&format!("\n### `{label}` of {}\n", metrics.join(" and ")));
        let rows = words.into_iter().map(|(word, meaning)| [code(word), meaning.to_owned()]);
        text.push_str(&table(["value", "meaning"], rows));
    }
    text
}

/// A label with a closed set of values, and the metrics that have it.
struct Told {
    words: Vec<(&'static str, &'static str)>,
    label: &'static str,
    metrics: Vec<String>,
}

fn row(metric: &Metric) -> [String; 5] {
    let labels: Vec<String> = metric.labels.iter().map(|label: &Label| code(label.name)).collect();
    let (name, kind) = (code(&metric.full_name()), metric.kind.as_str().to_owned());
    [name, kind, labels.join(", "), metric.unit().to_owned(), metric.help.to_owned()]
}
