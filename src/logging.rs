//! Structured logs to stderr: text for people, JSON for programs.

use std::error::Error;
use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `colour` is wanted by the caller; it is used on a terminal only.
pub fn start(format: Format, level: LevelFilter, no_colour: bool) {
    // The SDK's own spans can hold requests: nothing of them below a warning.
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("ecs_deployd", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal() && !no_colour)).init(),
        Format::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).init();
        }
    }
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
