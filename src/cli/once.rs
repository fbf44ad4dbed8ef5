//! `once`: one poll, and whatever follows from it, to its end; for cron and CI.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tracing::info;

use super::table::{Cell, Table, Tone, bar, colour, show};
use super::{Exit, block_on, fail};
use crate::config::{Config, ServiceNames};
use crate::domain::state::OutcomeKind;
use crate::once::{self, OnceError, Report};
use crate::status::{ServiceStatus, Status, Way};
use crate::wording::{short_revision, span};

pub(super) fn execute(config: Config) -> ExitCode {
    let mut progress = Progress::default();
    let names = config.names.clone();
    let report = block_on(once::once(config, |status| progress.show(status)));
    progress.clear();
    match report {
        Err(code) => code,
        Ok(Ok(report)) => tell(&report, &names),
        Ok(Err(error @ OnceError::StateStore(_))) => fail(&error, Exit::BadState),
        Ok(Err(error @ (OnceError::Connect(_) | OnceError::Contradiction(_)))) => fail(&error, Exit::BadConfiguration),
        Ok(Err(error)) => fail(&error, Exit::Failure),
    }
}

fn tell(report: &Report, names: &ServiceNames) -> ExitCode {
    show(&text(report, names, colour()));
    for error in &report.unread {
        eprintln!("ecs-deployd: CloudTrail cannot be read: {error}");
    }
    for error in &report.unlooked {
        eprintln!("ecs-deployd: services cannot be looked for by their tag: {error}");
    }
    if let Some(limit) = report.cut_off {
        eprintln!(
            "ecs-deployd: stopped after {}, which is the limit of `once`, before everything was read and decided; the next run goes on from there",
            humantime::format_duration(Duration::from_secs(limit.as_secs()))
        );
    }
    if let Some(why) = &report.rest.unwritten {
        eprintln!("ecs-deployd: {why}");
        return ExitCode::from(Exit::BadState);
    }
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failure) }
}

fn text(report: &Report, names: &ServiceNames, colour: bool) -> String {
    let mut table = Table::new(&["SERVICE", "RESULT", "REVISION", "TOOK", "DETAIL"]);
    for (key, outcome) in &report.rest.ended {
        let tone = match outcome.result {
            OutcomeKind::Completed => Tone::Good,
            OutcomeKind::Superseded => Tone::Warning,
            OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::RolledBack | OutcomeKind::Refused => Tone::Bad,
        };
        table.row(vec![
            names.of(key).into(),
            Cell::new(outcome.result.as_str(), tone),
            outcome.revision.as_ref().map_or("-", |revision| revision.short()).into(),
            span(outcome.ended_at.duration_since(outcome.decided_at)).into(),
            (&outcome.detail).into(),
        ]);
    }
    for (key, waiting) in &report.rest.waiting {
        let result = Cell::new("waits", Tone::Warning);
        table.row(vec![names.of(key).into(), result, "-".into(), "-".into(), waiting.to_string().into()]);
    }
    for (key, why) in &report.rest.unfinished {
        let result = Cell::new("unfinished", Tone::Bad);
        table.row(vec![names.of(key).into(), result, "-".into(), "-".into(), why.into()]);
    }
    match table.is_empty() {
        true if report.is_well() => "nothing to do\n".to_owned(),
        true => String::new(),
        false => table.render(colour),
    }
}

/// What is seen of the rollouts while they go on: lines that are written anew on a terminal, lines of the log elsewhere.
#[derive(Debug, Default)]
struct Progress {
    lines: usize,
    said: BTreeMap<String, String>,
}

impl Progress {
    fn show(&mut self, status: &Status) {
        let lines: Vec<(String, String)> = status.services.iter().filter_map(line).collect();
        if !std::io::stderr().is_terminal() {
            for (name, text) in lines {
                if self.said.get(&name) != Some(&text) {
                    info!(service = name, progress = text, "rolling");
                    self.said.insert(name, text);
                }
            }
            return;
        }
        self.clear();
        let mut out = std::io::stderr();
        for (name, text) in &lines {
            let _ = writeln!(out, "{name}  {text}");
        }
        self.lines = lines.len();
    }

    /// Takes the lines away again.
    fn clear(&mut self) {
        if self.lines > 0 {
            let _ = write!(std::io::stderr(), "\u{1b}[{}F\u{1b}[J", self.lines);
        }
        self.lines = 0;
    }
}

fn line(one: &ServiceStatus) -> Option<(String, String)> {
    let rollout = one.rollout.as_ref()?;
    let revision = rollout.revision.as_deref().map_or("registering", short_revision);
    let back = if rollout.direction == Way::Back { "going back to " } else { "" };
    let tasks = rollout.tasks.map_or_else(
        || rollout.phase.as_str().to_owned(),
        |tasks| {
            let failed = if tasks.failed > 0 { format!(", {} failed", tasks.failed) } else { String::new() };
            let bar = bar(tasks.running, tasks.desired);
            format!("{bar} {} of {} run, {} starting{failed}", tasks.running, tasks.desired, tasks.pending)
        },
    );
    Some((one.name.clone(), format!("{back}{revision} {tasks}{}", rollout.stage_and_traffic())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_do_is_said_only_where_everything_was_read() {
        let names = ServiceNames::default();
        let report = |cut_off| Report { rest: Default::default(), unread: Vec::new(), unlooked: Vec::new(), cut_off };
        assert_eq!(text(&report(None), &names, false), "nothing to do\n");
        assert_eq!(text(&report(Some(Duration::from_secs(2100))), &names, false), "");
        assert_eq!(tell(&report(Some(Duration::from_secs(2100))), &names), ExitCode::from(Exit::Failure));
        assert_eq!(tell(&report(None), &names), ExitCode::SUCCESS);
    }
}
