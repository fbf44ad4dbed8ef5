//! `plan`: what one poll would do, without doing it.

use std::process::ExitCode;

use clap::Args;

use super::table::{Cell, Table, Tone, colour, paint, show};
use super::{Exit, block_on, fail};
use crate::config::Config;
use crate::domain::finding::Severity;
use crate::plan::{self, PlanError, PlanReport};
use crate::status::{Comparison, PushForecast};
use crate::wording::{ago, short_digest, short_revision};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// JSON for programs; docs/reference/json.md describes its members
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(config: Config, options: &Options) -> ExitCode {
    let report = match block_on(plan::make(config)) {
        Err(code) => return code,
        Ok(Ok(report)) => report,
        Ok(Err(error @ PlanError::StateStore(_))) => return fail(&error, Exit::BadState),
        Ok(Err(error @ PlanError::Connect(_))) => return fail(&error, Exit::BadConfiguration),
        Ok(Err(error)) => return fail(&error, Exit::Failure),
    };
    if options.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => show(&format!("{text}\n")),
            Err(error) => return fail(&error, Exit::Failure),
        }
    } else {
        show(&text_of(&report, colour()));
    }
    for error in &report.errors {
        eprintln!("ecs-deployd: {error}");
    }
    if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failure) }
}

fn text_of(report: &PlanReport, colour: bool) -> String {
    let mut pushes = Table::new(&["PUSHED", "IMAGE", "SERVICE", "DECISION", "WHY"]);
    for push in &report.pushes {
        let tag = push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let image = format!("{}{tag}", push.repository.as_deref().unwrap_or("?"));
        let tone = match push.decision {
            PushForecast::Deploy => Tone::Good,
            PushForecast::Waits => Tone::Warning,
            PushForecast::Unknown => Tone::Bad,
            PushForecast::Skipped(reason) => match reason.severity() {
                Severity::Error => Tone::Bad,
                Severity::Warning => Tone::Warning,
                Severity::Note => Tone::Faint,
            },
        };
        let service = push.service.as_deref().unwrap_or("-");
        pushes.row(vec![
            ago(push.pushed_at, report.at).into(),
            image.into(),
            service.into(),
            Cell::new(push.decision.as_str(), tone),
            (&push.detail).into(),
        ]);
    }
    let mut text = match pushes.is_empty() {
        true => "no push in the window of the next poll\n".to_owned(),
        false => pushes.render(colour),
    };
    text.push('\n');
    let mut services = Table::new(&["SERVICE", "REVISION", "AND ECR", "DETAIL"]);
    for one in &report.services {
        let (tone, detail) = match one.state {
            Comparison::Same => (Tone::Good, one.detail.as_str()),
            // The images follow, and the detail stands below the table.
            Comparison::Differs => (Tone::Warning, ""),
            Comparison::Unknown | Comparison::Skipped(_) => (Tone::Bad, one.detail.as_str()),
        };
        let revision = one.revision.as_deref().map_or("-", short_revision);
        services.row(vec![(&one.name).into(), revision.into(), Cell::new(one.state.as_str(), tone), detail.into()]);
        for change in &one.images {
            let from = paint(&format!("- {}", brief(&change.from)), Tone::Bad, false);
            services.row(vec![
                Cell::new(format!("  {}", change.container), Tone::Faint),
                "".into(),
                "".into(),
                Cell::new(from, Tone::Bad),
            ]);
            let to = Cell::new(format!("+ {}", brief(&change.to)), Tone::Good);
            services.row(vec!["".into(), "".into(), "".into(), to]);
        }
    }
    text.push_str(&match services.is_empty() {
        true => "there is no service in the configuration\n".to_owned(),
        false => services.render(colour),
    });
    let differing = report.services.iter().filter(|one| one.state == Comparison::Differs && !one.detail.is_empty());
    for (index, one) in differing.enumerate() {
        text.push_str(if index == 0 { "\n" } else { "" });
        let name = paint(&one.name, Tone::Warning, colour);
        text.push_str(&format!("{name}  {}\n", one.detail));
    }
    text
}

/// A reference with its digest shortened.
fn brief(reference: &str) -> String {
    match reference.split_once("sha256:") {
        Some((name, digest)) => {
            let (digest, rest) = digest.split_at_checked(64).unwrap_or((digest, ""));
            format!("{name}sha256:{}...{rest}", short_digest(digest))
        }
        None => reference.to_owned(),
    }
}
