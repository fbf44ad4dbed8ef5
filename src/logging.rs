//! Structured logs to stderr: text for people, JSON for programs.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a report outside the log has to look.
static FORM: std::sync::OnceLock<(Format, bool)> = std::sync::OnceLock::new();

/// Tells of an error on standard error, in the form of whoever reads it: as a line of the log in JSON; with a priority, where it goes to the
/// journal; else as it is.
#[expect(clippy::print_stderr, reason = "the one report of an error that ends the program")]
pub fn report(text: &str) {
    match FORM.get() {
        Some((Format::Json, _)) => tracing::error!("{text}"),
        // sd-daemon(3): each line has a priority of its own.
        Some((Format::Text, true)) => {
            for line in text.lines() {
                eprintln!("<3>{line}");
            }
        }
        _ => eprintln!("ecs-deployd: {text}"),
    }
}

/// Starts logging. `colour` is wanted by the caller; it is used on a terminal only.
pub fn start(format: Format, level: LevelFilter, no_colour: bool) {
    // The SDK's own spans can hold requests: nothing of them below a warning.
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("ecs_deployd", level);
    let journal = is_journal();
    let _ = FORM.set((format, journal));
    let ansi = std::io::stderr().is_terminal() && !no_colour;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let text = format::format().with_target(false).with_ansi(ansi);
    match (format, journal) {
        (Format::Text, false) => registry.with(lines.with_ansi(ansi).event_format(OneLine(text))).init(),
        // The journal has times of its own.
        (Format::Text, true) => {
            registry.with(lines.with_ansi(false).event_format(WithPriority(OneLine(text.without_time())))).init();
        }
        (Format::Json, _) => {
            let json = format::format().json().flatten_event(true).with_current_span(false).with_span_list(false);
            let json = json.with_target(false);
            let lines = lines.fmt_fields(format::JsonFields::new());
            match journal {
                true => registry.with(lines.event_format(WithPriority(json))).init(),
                false => registry.with(lines.event_format(json)).init(),
            }
        }
    }
}

/// Whether standard error goes to systemd's journal, by what systemd says of it (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let same = |file: std::fs::Metadata| stream == format!("{}:{}", file.dev(), file.ino());
    std::fs::metadata("/proc/self/fd/2").is_ok_and(same)
}

/// Keeps an event on one line, whatever is in its fields: what AWS, a program or a library says may have several.
struct OneLine<F>(F);

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(ctx, Writer::new(&mut text), event)?;
        let line = text.trim_end_matches('\n').replace("\r\n", "\\n").replace(['\n', '\r'], "\\n");
        writeln!(writer, "{line}")
    }
}

/// Puts before each line what the journal takes its priority from (sd-daemon(3)).
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(ctx, writer, event)
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let log = Log::default();
        let text = format::format().with_target(false).with_ansi(false).without_time();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).event_format(OneLine(text));
        let _guard = tracing_subscriber::registry().with(lines).set_default();
        tracing::warn!(error = %"first\nsecond\r\nthird", "failed");
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, " WARN failed error=first\\nsecond\\nthird\n");
    }
}
