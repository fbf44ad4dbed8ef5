//! Days and times of day in a time zone, as moments.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// An IANA time zone, by the name that the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) name: Arc<str>,
    zone: TimeZone,
}

impl Zone {
    /// The zone of this name.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let zone = match name {
            "UTC" => TimeZone::UTC,
            _ => TimeZone::get(name).map_err(|_| format!("{name:?} is no IANA time zone like \"Europe/Berlin\""))?,
        };
        Ok(Self { name: name.into(), zone })
    }

    /// The day at this moment.
    pub(super) fn date(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// The moment of a time of day. One that the clock leaves out is as much later as the clock was set forward; of one that comes twice it
    /// is the first.
    pub(super) fn moment(&self, date: Date, time: Time) -> Option<Timestamp> {
        Some(self.zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().ok()?.timestamp())
    }

    /// The moment in the zone, for people.
    pub(super) fn show(&self, at: Timestamp) -> String {
        format!("{} {}", at.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M"), self.name)
    }
}
