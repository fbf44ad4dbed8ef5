//! `state export` and `state import`: the state between a file and a table.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::table::show;
use super::{Exit, block_on, fail};
use crate::aws::{Common, ConnectError};
use crate::clock::{Clock, CorrectedClock};
use crate::config::{Config, TableSettings};
use crate::domain::state::State;
use crate::metrics::Metrics;
use crate::place::{self, PlaceError};
use crate::state_store::table::{self, TableError, TableStore};
use crate::state_store::{self, Loaded, StateStore, StateStoreError, Store as _};
use crate::wording::counted;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Writes the state of the table into a file that is not there yet
    Export {
        /// The file to read or to write
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Writes the state of a file into a table that holds none yet, while no replica is active
    Import {
        /// The file, as a daemon or `state export` wrote it; no daemon may be using it
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("the configuration has no [state] table: there is nothing to move the state to or from")]
    NoTable,
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("the DynamoDB table {0} holds no state")]
    Empty(String),
    #[error("there is no state file {}", .0.display())]
    NoFile(PathBuf),
    #[error("{} is there already, and is not overwritten: name another file", .0.display())]
    FileTaken(PathBuf),
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

impl From<PlaceError> for MoveError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::StateStore(error) => Self::StateStore(error),
            PlaceError::Connect(error) => Self::Connect(error),
        }
    }
}

impl From<TableError> for MoveError {
    fn from(error: TableError) -> Self {
        Self::StateStore(error.into())
    }
}

pub(super) fn execute(config: &Config, options: &Options) -> ExitCode {
    let moved = match &options.direction {
        Direction::Export { file } => block_on(export(config, file)),
        Direction::Import { file } => block_on(import(config, file)),
    };
    match moved {
        Err(code) => code,
        Ok(Ok(text)) => {
            show(&format!("{text}\n"));
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            let exit = exit_of(&error);
            fail(&error, exit)
        }
    }
}

fn exit_of(error: &MoveError) -> Exit {
    match error {
        MoveError::NoTable | MoveError::Connect(_) => Exit::BadConfiguration,
        MoveError::StateStore(StateStoreError::Table(TableError::Taken { .. } | TableError::Held { .. }))
        | MoveError::Metrics(_)
        | MoveError::Empty(_)
        | MoveError::NoFile(_)
        | MoveError::FileTaken(_)
        | MoveError::Unwritable { .. } => Exit::Failure,
        MoveError::StateStore(_) => Exit::BadState,
    }
}

fn common() -> Result<(Common, Arc<dyn Clock>), MoveError> {
    let corrected = Arc::new(CorrectedClock::default());
    let clock: Arc<dyn Clock> = Arc::<CorrectedClock>::clone(&corrected);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), clock.now())?);
    Ok((Common::new(metrics, Arc::default(), corrected), clock))
}

fn settings(config: &Config) -> Result<&TableSettings, MoveError> {
    config.state.place.table().ok_or(MoveError::NoTable)
}

async fn export(config: &Config, file: &Path) -> Result<String, MoveError> {
    let settings = settings(config)?;
    let (common, _) = common()?;
    let table = place::table(config, settings, &common).await?;
    let contents = table::read(table.as_ref()).await?;
    if !contents.whole {
        return Err(MoveError::Empty(settings.name.clone()));
    }
    let unwritable = |source| MoveError::Unwritable { path: file.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut written =
        options.write(true).create_new(true).mode(0o600).open(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => MoveError::FileTaken(file.to_owned()),
            _ => unwritable(error),
        })?;
    written.write_all(&state_store::render(&contents.state)).map_err(unwritable)?;
    written.sync_all().map_err(unwritable)?;
    Ok(format!("{}: {}", file.display(), what(&contents.state)))
}

async fn import(config: &Config, file: &Path) -> Result<String, MoveError> {
    let settings = settings(config)?;
    if !file.exists() {
        return Err(MoveError::NoFile(file.to_owned()));
    }
    // It stays locked until the state is in the table: no daemon may go on with it meanwhile.
    let (_lock, found) = StateStore::open(file)?;
    let Loaded::State(state) = found else { return Err(MoveError::NoFile(file.to_owned())) };
    let (common, clock) = common()?;
    let table = place::table(config, settings, &common).await?;
    let (keeper, tenure) = place::lease(&table, settings.lease, Arc::clone(&clock)).await?;
    let imported = async {
        if !table::read(table.as_ref()).await?.is_empty() {
            return Err(TableError::Taken { table: settings.name.clone() }.into());
        }
        let fence = tenure.fence().clone();
        let (store, _) = TableStore::open(Arc::clone(&table), fence, Some(keeper.doubts()), clock).await?;
        Arc::new(store).commit((*state).clone()).await?;
        Ok(format!("table {}: {}", settings.name, what(&state)))
    };
    let imported: Result<String, MoveError> = imported.await;
    keeper.give_back().await;
    imported
}

fn what(state: &State) -> String {
    format!(
        "{}, {}",
        counted(state.services.keys().count(), "service", "services"),
        counted(state.contexts.len(), "AWS context", "AWS contexts")
    )
}
