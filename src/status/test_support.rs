//! What the tests of the page and of the command line have in common.

use jiff::Timestamp;

use super::ServiceStatus;

/// A time, so many seconds after a fixed one.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A service of the cluster `web` with which nothing has happened yet.
pub(crate) fn plain(service: &str) -> ServiceStatus {
    ServiceStatus {
        waiting: None,
        discovered: None,
        aws: "default".to_owned(),
        cluster: "web".to_owned(),
        service: service.to_owned(),
        name: format!("web/{service}"),
        deployed: None,
        runs: None,
        rollout: None,
        service_hold: None,
        held: Vec::new(),
        undecided: 0,
        last_error: None,
        history: Vec::new(),
        commands: Vec::new(),
    }
}
