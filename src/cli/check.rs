//! `check`: whether the configuration is valid, and whether it fits what is there.

use std::process::ExitCode;

use clap::Args;

use super::table::{Cell, Table, Tone, colour, paint, show};
use super::{Exit, block_on, fail, summary};
use crate::config::{Config, Places, Source};
use crate::domain::finding::Severity;
use crate::inspection::{self, InspectionError, Placed};
use crate::wording::counted;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only validate the file, without asking AWS
    #[arg(long)]
    offline: bool,

    /// JSON for programs; docs/reference/json.md describes its members
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(source: &Source, config: &Config, options: &Options) -> ExitCode {
    let name = source.name();
    let found = if options.offline {
        Vec::new()
    } else {
        let places = source.text().map(|text| Places::of(&text)).unwrap_or_default();
        match block_on(inspection::inspect(config, &places)) {
            Err(code) => return code,
            Ok(Ok(found)) => found,
            Ok(Err(error @ InspectionError::Connect(_))) => return fail(&error, Exit::BadConfiguration),
            Ok(Err(error)) => return fail(&error, Exit::Failure),
        }
    };
    if options.json {
        show(&format!("{:#}\n", json(&name, &found)));
    } else {
        show(&text(&name, config, &found, options.offline, colour()));
    }
    if count(&found, Severity::Error) + count(&found, Severity::Warning) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Failure)
    }
}

fn count(found: &[Placed], severity: Severity) -> usize {
    found.iter().filter(|one| one.finding.severity == severity).count()
}

/// What `--json` writes.
pub(crate) fn json(name: &str, found: &[Placed]) -> serde_json::Value {
    serde_json::json!({
        "version": 1,
        "file": name,
        "findings": found,
        "summary": {
            "errors": count(found, Severity::Error),
            "warnings": count(found, Severity::Warning),
            "notes": count(found, Severity::Note),
        },
    })
}

fn text(name: &str, config: &Config, found: &[Placed], offline: bool, colour: bool) -> String {
    let mut text = format!("{name} is valid: {}\n", summary(config));
    if offline {
        return text;
    }
    let mut table = Table::new(&["SEVERITY", "LINE", "ABOUT", "FINDING"]);
    for Placed { line, finding } in found {
        let tone = match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warning,
            Severity::Note => Tone::Faint,
        };
        let line = line.map_or_else(|| "-".to_owned(), |line| line.to_string());
        table.row(vec![
            Cell::new(finding.severity.as_str(), tone),
            line.into(),
            (&finding.subject).into(),
            (&finding.message).into(),
        ]);
        if !finding.remedy.is_empty() {
            table.row(vec!["".into(), "".into(), "".into(), Cell::new(format!("-> {}", finding.remedy), Tone::Good)]);
        }
    }
    if !table.is_empty() {
        text.push('\n');
        text.push_str(&table.render(colour));
        text.push('\n');
    }
    let (errors, warnings, notes) =
        (count(found, Severity::Error), count(found, Severity::Warning), count(found, Severity::Note));
    let notes = counted(notes, "note", "notes");
    let total =
        format!("{}, {}, {notes}", counted(errors, "error", "errors"), counted(warnings, "warning", "warnings"));
    text.push_str(&match (errors, warnings) {
        (0, 0) => paint(&format!("all good ({notes})\n"), Tone::Good, colour),
        _ => paint(&format!("{total}\n"), if errors > 0 { Tone::Bad } else { Tone::Warning }, colour),
    });
    text
}
