//! `plan`: what one poll would do, without doing it.

use std::process::ExitCode;

use clap::Args;

use super::table::{Cell, Table, Tone, colour, paint, show};
use super::{BAD_CONFIGURATION, BAD_STATE, FAILURE, block_on, fail};
use crate::config::Config;
use crate::preview::{self, Preview, PreviewError};
use crate::wording::{ago, short_digest, short_revision};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// JSON for programs; docs/reference/json.md describes its shape
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(config: Config, options: &Options) -> ExitCode {
    let preview = match block_on(preview::preview(config)) {
        Err(code) => return code,
        Ok(Ok(preview)) => preview,
        Ok(Err(error @ PreviewError::Ledger(_))) => return fail(&error, BAD_STATE),
        Ok(Err(error @ PreviewError::Connect(_))) => return fail(&error, BAD_CONFIGURATION),
        Ok(Err(error)) => return fail(&error, FAILURE),
    };
    if options.json {
        match serde_json::to_string_pretty(&preview) {
            Ok(text) => show(&format!("{text}\n")),
            Err(error) => return fail(&error, FAILURE),
        }
    } else {
        show(&text_of(&preview, colour()));
    }
    for error in &preview.errors {
        eprintln!("ecs-deployd: {error}");
    }
    if preview.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) }
}

fn text_of(preview: &Preview, colour: bool) -> String {
    let mut pushes = Table::new(&["PUSHED", "IMAGE", "SERVICE", "DECISION", "WHY"]);
    for push in &preview.pushes {
        let tag = push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let image = format!("{}{tag}", push.repository.as_deref().unwrap_or("?"));
        let tone = match push.decision.as_str() {
            "deploy" => Tone::Good,
            "unknown" | "malformed" | "downtime" | "service_missing" | "no_container" => Tone::Bad,
            "held" => Tone::Warning,
            _ => Tone::Faint,
        };
        let service = push.service.as_deref().unwrap_or("-");
        pushes.row(vec![
            ago(push.pushed_at, preview.at).into(),
            image.into(),
            service.into(),
            Cell::new(&push.decision, tone),
            (&push.detail).into(),
        ]);
    }
    let mut text = match pushes.is_empty() {
        true => "no push in the window of the next poll\n".to_owned(),
        false => pushes.render(colour),
    };
    text.push('\n');
    let mut services = Table::new(&["SERVICE", "REVISION", "AND ECR", "DETAIL"]);
    for one in &preview.services {
        let tone = match one.state.as_str() {
            "same" => Tone::Good,
            "differs" => Tone::Warning,
            _ => Tone::Bad,
        };
        let revision = one.revision.as_deref().map_or("-", short_revision);
        let detail = match one.state.as_str() {
            "differs" => String::new(),
            _ => one.detail.clone(),
        };
        services.row(vec![(&one.name).into(), revision.into(), Cell::new(&one.state, tone), detail.into()]);
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
    let differing = preview.services.iter().filter(|one| one.state == "differs" && !one.detail.is_empty());
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
