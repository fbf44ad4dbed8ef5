//! `check`: whether the configuration is valid, and whether it fits what is there.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::table::{Cell, Table, Tone, colour, listed, paint, show};
use super::{Exit, block_on, fail, summary};
use crate::check::{self, CheckError, Placed};
use crate::config::{Config, Places, Source};
use crate::domain::finding::{Finding, Severity};
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

pub(super) fn execute(source: &Source, config: &Arc<Config>, options: &Options) -> ExitCode {
    let name = source.name();
    let found = if options.offline {
        Vec::new()
    } else {
        let places = source.text().map(|text| Places::of(&text)).unwrap_or_default();
        match block_on(check::run(config, &places)) {
            Err(code) => return code,
            Ok(Ok(found)) => found,
            Ok(Err(error @ CheckError::Connect(_))) => return fail(&error, Exit::BadConfiguration),
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

/// The findings as `--json` writes them.
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

/// A finding, and all that it holds for.
struct Group<'a> {
    finding: &'a Finding,
    /// The lines and the subjects that have this finding.
    places: Vec<(Option<usize>, &'a str)>,
}

/// What holds for many is said once. The order is that of the first mention.
fn groups(found: &[Placed]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known = BTreeMap::new();
    for Placed { line, finding } in found {
        let same = (finding.severity, finding.code, finding.message.as_str(), finding.remedy.as_str());
        let index = *known.entry(same).or_insert_with(|| {
            groups.push(Group { finding, places: Vec::new() });
            groups.len() - 1
        });
        groups[index].places.push((*line, &finding.subject));
    }
    groups
}

fn named(line: Option<usize>, subject: &str) -> String {
    match line {
        Some(line) => format!("{subject} (line {line})"),
        None => subject.to_owned(),
    }
}

fn text(name: &str, config: &Config, found: &[Placed], offline: bool, colour: bool) -> String {
    let mut text = format!("{name} is valid: {}\n", summary(config));
    if offline {
        return text;
    }
    let mut table = Table::new(&["SEVERITY", "LINE", "ABOUT", "FINDING"]);
    for Group { finding, places } in groups(found) {
        let tone = match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warning,
            Severity::Note => Tone::Faint,
        };
        let line = places.iter().find_map(|(line, _)| *line).map_or_else(|| "-".to_owned(), |line| line.to_string());
        let about = match places[..] {
            [(_, subject)] => subject.to_owned(),
            _ => format!("{} of them", places.len()),
        };
        table.row(vec![
            Cell::new(finding.severity.as_str(), tone),
            line.into(),
            about.into(),
            (&finding.message).into(),
        ]);
        if places.len() > 1 {
            let names: Vec<String> = places.iter().map(|(line, subject)| named(*line, subject)).collect();
            for line in listed(&names).lines() {
                table.row(vec!["".into(), "".into(), "".into(), line.into()]);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(line: usize, severity: Severity, subject: &str, message: &str) -> Placed {
        Placed { line: Some(line), finding: Finding::new(severity, "code", subject, message, "mend it") }
    }

    #[test]
    fn what_holds_for_many_is_said_once_with_their_names() {
        let mut found = vec![placed(3, Severity::Error, "web/bad", "it has no container app")];
        found.extend(
            (0..40).map(|n| placed(10 + n, Severity::Note, &format!("web/s{n}"), "nothing examines its tasks")),
        );
        let config = Config::parse("test", "").unwrap();
        let shown = text("c.toml", &config, &found, false, false);
        assert_eq!(shown.matches("nothing examines its tasks").count(), 1, "{shown}");
        assert_eq!(shown.matches("-> mend it").count(), 2, "{shown}");
        for n in 0..40 {
            assert_eq!(shown.matches(&format!("web/s{n} (line {})", 10 + n)).count(), 1, "{shown}");
        }
        assert!(shown.contains("error     3     web/bad     it has no container app\n"), "{shown}");
        assert!(shown.contains("note      10    40 of them  nothing examines its tasks\n"), "{shown}");
        assert!(shown.lines().all(|line| line.len() < 160), "{shown}");
        assert!(shown.ends_with("1 error, 0 warnings, 40 notes\n"), "each is counted: {shown}");
        assert_eq!(json("c.toml", &found)["findings"].as_array().unwrap().len(), 41, "programs get an entry for each");
    }
}
