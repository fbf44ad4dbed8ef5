//! Structured logs to stderr: text for people, JSON for programs.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::domain::printable::printable;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// A message, and the value of a field, have at most this many characters in the log of text.
const LONGEST_VALUE: usize = 8 * 1024;

/// Logs an event at a level that the domain names.
macro_rules! log_at {
    ($level:expr, $($event:tt)+) => {
        match $level {
            $crate::domain::level::Level::Debug => ::tracing::debug!($($event)+),
            $crate::domain::level::Level::Info => ::tracing::info!($($event)+),
            $crate::domain::level::Level::Warn => ::tracing::warn!($($event)+),
            $crate::domain::level::Level::Error => ::tracing::error!($($event)+),
        }
    };
}

pub(crate) use log_at;

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
        (Format::Text, false) => {
            registry.with(lines.with_ansi(ansi).fmt_fields(fields()).event_format(text)).init();
        }
        // The journal has times of its own.
        (Format::Text, true) => {
            let lines = lines.with_ansi(false).fmt_fields(fields());
            registry.with(lines.event_format(WithPriority(text.without_time()))).init();
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

/// Writes the message and the fields of an event on one line, whatever is in them: an error of several lines, or a text of somebody else's
/// that came in by a way that nobody thought of, is no line of its own.
fn fields() -> impl for<'a> FormatFields<'a> + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let value = printable(&format!("{value:?}"), LONGEST_VALUE);
        match field.name() {
            "message" => writer.write_str(&value),
            name if writer.has_ansi_escapes() => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
            name => write!(writer, "{name}={value}"),
        }
    };
    format::debug_fn(field).delimited(" ")
}

/// Whether standard error goes to systemd's journal, by what systemd says of it (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let same = |file: std::fs::Metadata| stream == format!("{}:{}", file.dev(), file.ino());
    std::fs::metadata("/proc/self/fd/2").is_ok_and(same)
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// The bytes that a log has written.
    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let text = format::format().with_target(false).with_ansi(ansi).without_time();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(ansi);
        let lines = lines.fmt_fields(fields()).event_format(text);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_that_steers_nothing() {
        let nasty = "web/a\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{202e}";
        let line =
            logged(false, || tracing::warn!(service = nasty, refused = %nasty, error = %"a\nb", "it is {nasty}"));
        assert_eq!(line.lines().count(), 1, "{line:?}");
        assert!(line.ends_with('\n') && !line.trim_end().contains(char::is_control), "{line:?}");
        assert!(!line.contains('\u{202e}') && line.contains("error=a b"), "{line:?}");
    }

    #[test]
    fn a_line_has_the_form_that_people_and_their_scripts_know() {
        let log = || tracing::info!(number = 7, text = "a b", shown = %"c d", absent = None::<u8>, "what happened");
        assert_eq!(logged(false, log), " INFO what happened number=7 text=\"a b\" shown=c d\n");
        let coloured = logged(true, log);
        assert!(coloured.contains("what happened \u{1b}[3mnumber\u{1b}[0m\u{1b}[2m=\u{1b}[0m7 "), "{coloured:?}");
    }
}
