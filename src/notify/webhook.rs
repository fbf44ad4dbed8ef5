//! HTTP POST to somebody else's address.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Undelivered;
use crate::clock;
use crate::config::WebhookUrl;
use crate::wording::chain;

/// A receiver has to have taken it within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

type Https = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The client, shared by all webhooks.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    inner: Arc<Result<Https, String>>,
}

impl HttpClient {
    pub(super) fn new() -> Self {
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| format!("the system's CA certificates cannot be used: {error}"));
        let inner = builder
            .map(|builder| builder.https_or_http().enable_http1().build())
            .map(|connector| legacy::Client::builder(TokioExecutor::new()).build(connector));
        Self { inner: Arc::new(inner) }
    }

    /// Sends a JSON text. Redirects are not followed: the address may be a secret.
    pub(super) async fn post(&self, url: &WebhookUrl, body: String) -> Result<(), Undelivered> {
        let client = self.inner.as_ref().as_ref().map_err(|why| Undelivered::ForGood(why.clone()))?;
        let url = url.read().map_err(Undelivered::ForNow)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("ecs-deployd/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Undelivered::ForGood("the address is none that can be posted to".to_owned()))?;
        match clock::within(ANSWER_WITHIN, client.request(request)).await {
            None => Err(Undelivered::ForNow(format!("no answer within {} seconds", ANSWER_WITHIN.as_secs()))),
            Some(Err(error)) => Err(Undelivered::ForNow(chain(&error))),
            Some(Ok(answer)) => judge(answer.status()),
        }
    }
}

fn judge(status: StatusCode) -> Result<(), Undelivered> {
    let later = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    match status {
        status if status.is_success() => Ok(()),
        status if later => Err(Undelivered::ForNow(format!("the receiver answered {status}"))),
        status if status.is_redirection() => {
            Err(Undelivered::ForGood(format!("the receiver answered {status}: redirects are not followed")))
        }
        status => Err(Undelivered::ForGood(format!("the receiver answered {status}"))),
    }
}
