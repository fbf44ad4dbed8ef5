//! `init`: a configuration for what there is.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::table::show;
use super::{Exit, block_on, fail};
use crate::domain::proposal::Proposal;
use crate::domain::types::{EcsName, Region};
use crate::survey::{self, SurveyRequest};
use crate::wording::counted;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The Region to look in [default: the ambient one]
    #[arg(long, value_name = "R", value_parser = Region::parse)]
    aws_region: Option<Region>,

    /// A cluster to look in; may be repeated [default: every cluster]
    #[arg(long, value_name = "C", value_parser = EcsName::parse)]
    cluster: Vec<EcsName>,
}

pub(super) fn execute(options: &Options) -> ExitCode {
    let of_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let request = SurveyRequest {
        region: options.aws_region.clone(),
        clusters: options.cluster.clone(),
        endpoint_url: of_environment("AWS_ENDPOINT_URL"),
        profile: of_environment("AWS_PROFILE"),
    };
    let progress = Progress::new();
    let taken = block_on(survey::take(&request, &|what| progress.say(what)));
    progress.end();
    match taken {
        Err(code) => code,
        Ok(Err(error)) => fail(&error, Exit::Failure),
        Ok(Ok(snapshot)) => {
            let found = snapshot.services.len();
            let proposal = Proposal::of(snapshot);
            show(&proposal.to_string());
            progress.sum_up(&format!(
                "{} of {} followed, {} left to you: look for DECIDE",
                proposal.followed(),
                counted(found, "service", "services"),
                counted(proposal.decisions(), "decision", "decisions")
            ));
            ExitCode::SUCCESS
        }
    }
}

/// One line on a terminal that says what is being done. Elsewhere there is none: the output is for a file.
#[derive(Debug)]
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { is_shown: std::io::stderr().is_terminal() && !is_dumb }
    }

    fn say(&self, what: &str) {
        self.write(&format!("\r\u{1b}[K{what} ..."));
    }

    fn end(&self) {
        self.write("\r\u{1b}[K");
    }

    fn sum_up(&self, what: &str) {
        self.write(&format!("ecs-deployd: {what}\n"));
    }

    /// Whoever closed standard error does not want to know.
    fn write(&self, text: &str) {
        if self.is_shown {
            let mut terminal = std::io::stderr().lock();
            let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
        }
    }
}
