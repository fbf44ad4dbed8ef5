//! `run`: the daemon, on one thread (decision 35).

use std::process::ExitCode;

use super::{Exit, fail};
use crate::config::{Config, Source};
use crate::daemon::{self, RunError};

pub(super) fn execute(source: Source, config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Failure),
    };
    let result = runtime.block_on(daemon::run(source, config));
    // A job on a blocking thread (a write to a disk that hangs) must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ RunError::StateStore(_)) => fail(&error, Exit::BadState),
        Err(error @ (RunError::Connect(_) | RunError::Contradiction(_))) => fail(&error, Exit::BadConfiguration),
        Err(error) => fail(&error, Exit::Failure),
    }
}
