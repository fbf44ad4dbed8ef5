//! Structured logs to stderr: text for people, JSON for programs.

use std::error::Error;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
    let directives = format!("warn,ecs_deployd={level}");
    let filter = EnvFilter::new(directives);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => {
            builder.with_ansi(std::io::stderr().is_terminal() && !no_colour).with_target(false).init();
        }
        Format::Json => {
            builder.json().flatten_event(true).with_target(false).with_current_span(false).with_span_list(false).init();
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
