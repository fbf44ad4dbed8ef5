//! The wait for what the clients need, before there is anything else to supervise.

use std::collections::BTreeMap;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::notify;
use crate::aws::{self, Common, ConnectError, Contexts, RegionWait};
use crate::clock;
use crate::config::AwsSettings;
use crate::domain::types::ContextName;
use crate::signals::Wish;

/// systemd hears from a daemon that waits this often, or three times within its watchdog's span.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Makes the clients, however long the Region of a context takes. Nothing if the daemon is asked to stop meanwhile.
///
/// systemd's start time-out must not end a daemon that waits for the network, so it counts as started.
pub(super) async fn until_connected(
    settings: &BTreeMap<ContextName, AwsSettings>,
    common: &Common,
    wishes: &mut mpsc::UnboundedReceiver<Wish>,
) -> Result<Option<Contexts>, ConnectError> {
    let connected = aws::connect(settings, common, RegionWait::Endless);
    tokio::pin!(connected);
    let tell_every = sd_notify::watchdog_enabled().map_or(TOLD_EVERY, |within| within / 3);
    loop {
        tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                Some(Wish::Reload) => warn!("the configuration is not reloaded while the Region is awaited: restart to change it"),
                Some(Wish::Stop) | None => {
                    notify(&[NotifyState::Stopping]);
                    info!("asked to stop");
                    return Ok(None);
                }
            },
            contexts = &mut connected => return contexts.map(Some),
            () = clock::sleep(tell_every) => {
                notify(&[NotifyState::Ready, NotifyState::Status("waiting for the Region from the EC2 instance metadata"), NotifyState::Watchdog]);
            }
        }
    }
}
