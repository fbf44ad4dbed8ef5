//! The state for commands: read, or taken over for as long as they run, wherever the configuration says that it is.

use std::sync::Arc;
use std::time::Duration;

use crate::aws::table::Table;
use crate::aws::{self, Common, ConnectError, RegionWait};
use crate::clock::{self, Clock};
use crate::config::{Config, StatePlace, TableSettings};
use crate::lease::{Keeper, Tenure, Watch, holder_now, seen_alive, this_process};
use crate::state_store::table::{self, Contents, TableError, TableStore};
use crate::state_store::{self, Loaded, StateStore, StateStoreError, Store};

/// Beyond a lease: how long a command waits for it.
const SLACK: Duration = Duration::from_secs(3);

/// Why the state cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be used.
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    /// The context of the table cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<TableError> for PlaceError {
    fn from(error: TableError) -> Self {
        Self::StateStore(error.into())
    }
}

/// The table of a configuration, once it is known that it can hold the state.
///
/// # Errors
/// It cannot be used.
pub async fn table(config: &Config, settings: &TableSettings, common: &Common) -> Result<Arc<dyn Table>, PlaceError> {
    let aws = config.aws.get(&settings.aws).ok_or_else(|| ConnectError::NoRegion(settings.aws.clone()))?;
    let table = aws::connect_table(&settings.aws, aws, &settings.name, common, RegionWait::Short).await?;
    table::inspect(table.as_ref()).await?;
    Ok(table)
}

/// Reads the state and changes nothing.
///
/// # Errors
/// It cannot be used.
pub async fn read(config: &Config, common: &Common) -> Result<Loaded, PlaceError> {
    match &config.state.place {
        StatePlace::File(path) => Ok(state_store::read(path)?),
        StatePlace::Table(settings) => {
            let table = table(config, settings, common).await?;
            let Contents { state, whole, .. } = table::read(table.as_ref()).await?;
            Ok(if whole { Loaded::State(Box::new(state)) } else { Loaded::Missing })
        }
    }
}

/// What a table says, and who is active.
///
/// # Errors
/// It cannot be used.
pub async fn look(
    config: &Config,
    settings: &TableSettings,
    common: &Common,
) -> Result<(Contents, Option<String>), PlaceError> {
    let table = table(config, settings, common).await?;
    let contents = table::read(table.as_ref()).await?;
    let holder = holder_now(table.as_ref()).await.map_err(|error| TableError::of(table.as_ref(), error))?;
    Ok((contents, holder))
}

/// The state while it is this process's alone.
#[derive(Debug)]
pub struct Held {
    /// Where it is made durable.
    pub store: Arc<dyn Store>,
    /// What was found there.
    pub found: Loaded,
    /// The lease, where it is in a table.
    pub lease: Option<(Keeper, Arc<Tenure>)>,
}

/// Takes the state over.
///
/// # Errors
/// It cannot be used, or somebody else has it.
pub async fn take(config: &Config, common: &Common, clock: Arc<dyn Clock>) -> Result<Held, PlaceError> {
    match &config.state.place {
        StatePlace::File(path) => {
            let (store, found) = StateStore::open(path)?;
            Ok(Held { store: Arc::new(store), found, lease: None })
        }
        StatePlace::Table(settings) => {
            let table = table(config, settings, common).await?;
            let (keeper, tenure) = lease(&table, settings.lease, Arc::clone(&clock)).await?;
            let doubts = Some(keeper.doubts());
            match TableStore::open(table, tenure.fence().clone(), doubts, clock).await {
                Ok((store, found)) => Ok(Held { store: Arc::new(store), found, lease: Some((keeper, tenure)) }),
                Err(error) => {
                    keeper.give_back().await;
                    Err(error.into())
                }
            }
        }
    }
}

/// Takes the lease of a table that nobody holds, or whose holder has died.
///
/// # Errors
/// Somebody holds it.
pub async fn lease(
    table: &Arc<dyn Table>,
    length: Duration,
    clock: Arc<dyn Clock>,
) -> Result<(Keeper, Arc<Tenure>), TableError> {
    let me = this_process(clock.as_ref());
    let keeper = Keeper::start(Arc::clone(table), me.clone(), length, clock);
    let mut standing = keeper.standing();
    let is_active = |now: &Watch| matches!(now, Watch::Active(_));
    let waiting = async {
        let _ = clock::within(length + SLACK, standing.wait_for(is_active)).await;
        None
    };
    let alive = tokio::select! {
        biased;
        held = waiting => held,
        // Whoever renews it will not give it up within a lease.
        other = seen_alive(table.as_ref()) => Some(other).filter(|other| *other != me),
    };
    if let Some(holder) = alive {
        keeper.give_back().await;
        return Err(TableError::Held { table: table.name().to_owned(), holder });
    }
    let last = standing.borrow().clone();
    if let Watch::Active(tenure) = &last {
        return Ok((keeper, Arc::clone(tenure)));
    }
    keeper.give_back().await;
    Err(match last {
        Watch::Standby { last_error: Some(error), .. } => TableError::of(table.as_ref(), error),
        Watch::Standby { holder, .. } => TableError::Held {
            table: table.name().to_owned(),
            holder: holder.unwrap_or_else(|| "another process".to_owned()),
        },
        Watch::Active(_) | Watch::Over => TableError::Fenced { table: table.name().to_owned() },
    })
}
