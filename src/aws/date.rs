//! AWS's time, from the `Date` header of its answers.

use std::sync::{Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::date_time::{DateTime, Format};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::Common;
use super::call::timestamp;
use crate::clock::{self, Clock as _, Instant, SystemClock};
use crate::domain::clock_offset::{ClockOffset, Reading};
use crate::wording::span;

/// Reads the time of every answer, and corrects the clock where the machine's is wrong.
#[derive(Debug, Clone)]
pub(super) struct AwsDate {
    common: Common,
}

/// What has been read by the process so far. There is one machine, hence one offset for all contexts.
#[derive(Debug, Default)]
pub struct AwsTime(Mutex<ClockOffset>);

/// When a request was sent.
#[derive(Debug, Clone, Copy)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl AwsDate {
    pub(super) fn new(common: Common) -> Self {
        Self { common }
    }

    fn read(&self, sent: Instant, headers: &Headers) {
        let Some(date) = date(headers) else { return };
        let reading = Reading { date, received: SystemClock.now(), took: sent.elapsed() };
        let believed = self.common.time.0.lock().unwrap_or_else(PoisonError::into_inner).read(reading);
        if let Some(offset) = believed {
            self.common.clock.correct(offset);
            self.common.metrics.clock_offset(offset);
            say(offset);
        }
    }
}

fn say(offset: SignedDuration) {
    if offset.is_zero() {
        info!("the machine's clock agrees with AWS's time again");
        return;
    }
    let side = if offset.is_negative() { "ahead of" } else { "behind" };
    warn!(
        offset_seconds = offset.as_secs(),
        remedy = "set the clock, and keep it set by NTP (chrony or systemd-timesyncd)",
        "the machine's clock is {} {side} AWS's time: AWS's time is used from here on",
        span(offset.abs())
    );
}

/// The time of an answer that AWS itself gave just now: a proxy's has no request id, and a cached one has an age.
fn date(headers: &Headers) -> Option<Timestamp> {
    let of_aws = ["x-amzn-requestid", "x-amz-request-id", "x-amz-requestid"];
    if headers.get("age").is_some() || !of_aws.iter().any(|name| headers.get(*name).is_some()) {
        return None;
    }
    timestamp(&DateTime::from_str(headers.get("date")?, Format::HttpDate).ok()?)
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for AwsDate {
    fn name(&self) -> &'static str {
        "AwsDate"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Sent(clock::instant()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Sent(sent)) = config.load::<Sent>() {
            self.read(*sent, context.response().headers());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_aws_itself_says_now_is_its_time() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = Headers::new();
            for (name, value) in pairs {
                headers.insert(*name, *value);
            }
            date(&headers).map(|date| date.to_string())
        };
        let (day, id) = (("date", "Fri, 27 Nov 2026 14:40:53 GMT"), ("x-amzn-requestid", "1"));
        assert_eq!(of(&[day, id]).as_deref(), Some("2026-11-27T14:40:53Z"));
        assert_eq!(of(&[day]), None, "a proxy's");
        assert_eq!(of(&[day, id, ("age", "600")]), None, "a cached one");
        assert_eq!(of(&[("date", "yesterday"), id]), None);
        assert_eq!(of(&[id]), None);
    }
}
