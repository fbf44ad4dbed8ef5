//! What the daemon serves: the status page, the same as JSON, metrics and health. Read-only.
//!
//! Nobody who reaches the port is asked who they are, so what they can cost is bounded: connections in number and in time, and the deployer
//! is asked how things are once a second at most, however many ask here.

mod bounded;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::clock;
use crate::deployer;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::page::{self, View};

use bounded::{Bounded, Visit};
use snapshot::Snapshots;

/// The content type of Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a stop waits for answers under way.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
struct Served {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    snapshots: Arc<Snapshots>,
}

/// Serves until told to stop. `asks` is where the deployer is asked how things are.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    asks: mpsc::Sender<deployer::Request>,
    mut stop: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/", get(status_page))
        .route("/api/v1/status", get(status_json))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(read_only)
        .layer(middleware::from_fn(note_request))
        .with_state(Served { metrics, health, snapshots: Arc::new(Snapshots::new(asks)) });
    let mut stopping = stop.clone();
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let serving = axum::serve(Bounded::new(listener), router.into_make_service_with_connect_info::<Visit>())
        .with_graceful_shutdown(stopped);
    let too_late = async {
        let _ = stopping.wait_for(|stop| *stop).await;
        clock::sleep(LAST_ANSWERS_WITHIN).await;
    };
    tokio::select! {
        biased;
        served = serving => if let Err(error) = served {
            error!(%error, "the HTTP server ended");
        },
        () = too_late => warn!("stopped before the last HTTP connections were closed"),
    }
}

/// Whoever has sent a complete request does not give way to others before it is answered.
async fn note_request(ConnectInfo(visit): ConnectInfo<Visit>, request: Request, next: Next) -> Response {
    visit.has_asked();
    next.run(request).await
}

async fn status_page(State(served): State<Served>, view: Result<Query<View>, QueryRejection>) -> Response {
    let Some(snapshot) = served.snapshots.get().await else {
        let mut response = unanswered();
        // A page that somebody left open goes on by itself.
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("10"));
        return response;
    };
    let view = view.map(|Query(view)| view).unwrap_or_default();
    let page = page::render(snapshot.status(), &view);
    let policy = HeaderValue::try_from(page::content_security_policy())
        .unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let mut response = Html(page).into_response();
    response.headers_mut().extend(protective());
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

async fn status_json(State(served): State<Served>) -> Response {
    let Some(snapshot) = served.snapshots.get().await else { return unanswered() };
    let mut response = ([(header::CONTENT_TYPE, "application/json")], snapshot.json()).into_response();
    response.headers_mut().extend(protective());
    response
}

fn unanswered() -> Response {
    plain(StatusCode::SERVICE_UNAVAILABLE, "the deployer does not answer; see /healthz and the log\n".to_owned())
}

async fn metrics_page(State(served): State<Served>) -> Response {
    match served.snapshots.metrics(&served.metrics).await {
        Ok(text) => {
            let mut response = ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response();
            response.headers_mut().extend(protective());
            response
        }
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
        Ok(()) => plain(StatusCode::OK, lines(["ready".to_owned()].into_iter().chain(served.health.remarks()))),
        Err(late) => plain(StatusCode::SERVICE_UNAVAILABLE, lines(late.into_iter().chain(served.health.remarks()))),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

async fn not_found() -> Response {
    let text = "not found; there are /, /api/v1/status, /metrics, /healthz and /readyz\n";
    plain(StatusCode::NOT_FOUND, text.to_owned())
}

async fn read_only() -> Response {
    let text = "nothing can be changed here; `ecs-deployd deploy`, `hold`, `release` and `rollback` do that\n";
    plain(StatusCode::METHOD_NOT_ALLOWED, text.to_owned())
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().extend(protective());
    response
}

/// The headers of every answer, which restrict what browsers do with it.
fn protective() -> HeaderMap {
    HeaderMap::from_iter([
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
