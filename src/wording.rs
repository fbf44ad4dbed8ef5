//! How people are shown times, digests, revisions and errors, wherever they read it.

use std::error::Error;

use jiff::{SignedDuration, Timestamp};

/// A time, and how long ago it was.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let past = now.duration_since(time);
    format!("{} ({} ago)", time.strftime("%Y-%m-%d %H:%M:%SZ"), span(past))
}

/// A span in its two largest units.
pub(crate) fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A number of things: `1 repository`, `2 repositories`.
pub(crate) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// The first digits of a digest: enough for people.
pub(crate) fn short_digest(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}

/// A text about one service, without its name: AWS names in each message the service that it is about.
pub(crate) fn in_general(text: &str, cluster: &str, service: &str) -> String {
    text.replace(&format!("{cluster}/{service}"), "CLUSTER/SERVICE")
}

/// `family:revision` of a task definition's ARN.
pub(crate) fn short_revision(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// An error with its causes. A cause that the text before it quotes is not repeated.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let of_cause = cause.to_string();
        if !text.contains(&of_cause) {
            text = format!("{text}: {of_cause}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        assert_eq!(counted(1, "repository", "repositories"), "1 repository");
        assert_eq!(counted(0, "repository", "repositories"), "0 repositories");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [(-5, "0s"), (59, "59s"), (61, "1m 1s"), (3700, "1h 1m"), (200_000, "2d 7h")] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn causes_follow_their_error_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Failed(&'static str, #[source] Option<Box<Failed>>);

        let of = |outer, inner| Failed(outer, Some(Box::new(Failed(inner, None))));
        assert_eq!(chain(&Failed("no answer", None)), "no answer");
        assert_eq!(chain(&of("no answer", "connection reset")), "no answer: connection reset");
        assert_eq!(chain(&of("no answer: connection reset", "connection reset")), "no answer: connection reset");
    }
}
