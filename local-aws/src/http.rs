//! Plain HTTP to loopback.

use std::time::Duration;

/// A GET that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("GET {url} got no answer")]
pub struct GetError {
    url: String,
    source: Box<ureq::Error>,
}

/// What `url` answers: the status, whichever it is, and the body.
///
/// It gives up after `deadline`.
pub fn get(url: &str, deadline: Duration) -> Result<(u16, String), GetError> {
    let attempt = || {
        let mut answer = agent(deadline).get(url).call()?;
        let status = answer.status().as_u16();
        Ok((status, answer.body_mut().read_to_string()?))
    };
    attempt().map_err(|source: ureq::Error| GetError { url: url.to_owned(), source: Box::new(source) })
}

/// An agent for loopback: an error status is an answer too, and a proxy that the environment names
/// is for the world outside.
pub(crate) fn agent(deadline: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(deadline)).build().into()
}
