//! A small picture of the last deployments of a service, on an axis of time.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::tone;
use crate::domain::state::OutcomeKind;
use crate::status::OutcomeStatus;
use crate::wording::{counted, span};

/// The picture's own units.
const WIDTH: f64 = 320.0;
/// The shortest deployment is still seen.
const NARROWEST: f64 = 3.0;
/// The axis is one of these, in hours.
const AXES: [(i64, &str); 6] = [
    (1, "an hour ago"),
    (6, "6 hours ago"),
    (24, "a day ago"),
    (168, "a week ago"),
    (720, "30 days ago"),
    (2160, "90 days ago"),
];

/// Draws it. A service without history has none.
pub(super) fn draw(history: &[OutcomeStatus], now: Timestamp) -> Markup {
    let Some(oldest) = history.iter().map(|outcome| outcome.decided_at).min() else { return html! {} };
    let reaches = now.duration_since(oldest);
    let (hours, label) =
        AXES.into_iter().find(|(hours, _)| SignedDuration::from_hours(*hours) >= reaches).unwrap_or(AXES[5]);
    let axis = SignedDuration::from_hours(hours).as_secs_f64();
    let x = |at: Timestamp| (1.0 - now.duration_since(at).as_secs_f64() / axis).clamp(0.0, 1.0) * WIDTH;
    let good = history.iter().filter(|outcome| outcome.result == OutcomeKind::Completed).count();
    html! {
        svg viewBox="0 0 320 24" preserveAspectRatio="none" role="img"
            aria-label=(format!("Timeline since {label}: {}, {good} completed", counted(history.len(), "deployment", "deployments"))) {
            line .axis x1="0" y1="22.5" x2="320" y2="22.5" {}
            @for outcome in history {
                @let from = x(outcome.decided_at);
                @let width = (x(outcome.ended_at) - from).max(NARROWEST);
                // Not by its colour alone: what went wrong is taller.
                @let height = if outcome.result == OutcomeKind::Completed { 10 } else { 18 };
                rect .(tone(outcome.result)) x=(format!("{:.1}", from.min(WIDTH - width))) y=(22 - height) width=(format!("{width:.1}")) height=(height) rx="1" {
                    title { (outcome.result.as_str()) ", " (span(now.duration_since(outcome.ended_at))) " ago" }
                }
            }
        }
        // Beside the picture, which is stretched.
        div .axis-labels aria-hidden="true" { span { (label) } span { "now" } }
    }
}
