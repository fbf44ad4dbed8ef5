//! What the daemon serves: metrics and health. Read-only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::error;

use crate::health::Health;
use crate::metrics::Metrics;

/// The content type of Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone)]
struct Served {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, health: Arc<Health>, mut stop: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .with_state(Served { metrics, health });
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        error!(%error, "the HTTP server ended");
    }
}

async fn metrics_page(State(served): State<Served>) -> Response {
    match served.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

async fn healthz(State(served): State<Served>) -> Response {
    match served.health.alive() {
        Ok(()) => plain(StatusCode::OK, "ok\n".to_owned()),
        Err(text) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")),
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    match served.health.ready() {
        Ok(()) => plain(StatusCode::OK, "ready\n".to_owned()),
        Err(lines) => plain(StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n"),
    }
}

async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n".to_owned())
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
