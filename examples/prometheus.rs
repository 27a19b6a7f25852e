//! Metrics for Prometheus and a readiness probe, over a simulated day of 40 customers.
//!
//! The day takes a few seconds, because the time is tokio's paused time. It has an outage of the
//! provider, revoked tokens, customers that disconnect, a failing store, a stuck grant and a wrong
//! client secret. At its end the program requests its own two pages, prints them and exits.
//!
//! ```sh
//! cargo run --example prometheus --features metrics,sandbox
//! ```
//!
//! With `--serve` it continues in real time on `127.0.0.1:9464`. With `--record FILE` it writes the
//! metrics of each minute of the day to a file, in the format of `promtool tsdb
//! create-blocks-from openmetrics`.

use std::{env, error::Error, fs, time::Duration};

use axum::{Router, extract::State, routing::get};
use bytes::Bytes;
use day::Day;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, signal, time};
use tower_oauth2_client::{telemetry, tenants::Tenants};

#[path = "prometheus/day.rs"]
mod day;
#[path = "prometheus/failing_store.rs"]
mod failing_store;
#[path = "prometheus/slow_provider.rs"]
mod slow_provider;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// In seconds. A token request takes 60 seconds at most, and usually a fraction of one.
const BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let serves = arguments.iter().any(|argument| argument == "--serve");
    let record = arguments
        .iter()
        .position(|argument| argument == "--record")
        .map(|at| arguments.get(at + 1).ok_or("--record needs a file"))
        .transpose()?;

    let metrics = install_recorder()?;
    let mut day = Day::start()?;
    let mut scrapes = String::new();
    while day.minute().await? {
        if record.is_some() {
            add_samples(&mut scrapes, &metrics.render(), day.unix_seconds()?);
        }
    }
    if let Some(file) = record {
        fs::write(file, scrapes + "# EOF\n")?;
    }
    let tenants = day.tenants();

    // The rest is in real time.
    time::resume();
    let port = if serves { 9464 } else { 0 };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = axum::serve(listener, router(metrics, tenants.clone()));
    if serves {
        println!("serves {url}/metrics and {url}/ready");
        let interrupted = async { signal::ctrl_c().await.unwrap_or_default() };
        server.with_graceful_shutdown(interrupted).await?;
    } else {
        tokio::spawn(async move { server.await });
        print!("{}", page(&format!("{url}/metrics")).await?);
        println!("{}", page(&format!("{url}/ready")).await?);
    }
    Ok(tenants.shutdown(Duration::from_secs(90)).await?)
}

/// Installs the recorder for the whole program, before anything is measured.
fn install_recorder() -> Outcome<PrometheusHandle> {
    let duration = "tower_oauth2_client_refresh_duration_seconds".to_owned();
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(duration), &BUCKETS)?
        .install_recorder()?;
    telemetry::describe_metrics();
    // Without it, memory grows while nothing scrapes the program.
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(metrics)
}

/// The two pages. Serve them on an address that only the operator reaches.
fn router(metrics: PrometheusHandle, tenants: Tenants) -> Router {
    let metrics = get(move || {
        let page = metrics.render();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page) }
    });
    Router::new()
        .route("/metrics", metrics)
        .route("/ready", get(ready))
        .with_state(tenants)
}

/// Responds with 503 until this process can serve requests, and says what it knows either way.
async fn ready(
    State(tenants): State<Tenants>,
) -> (StatusCode, [(http::HeaderName, &'static str); 1], String) {
    let health = tenants.health().await;
    let status = if health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let report = serde_json::to_string(&health).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], report)
}

/// Adds the samples of a page of metrics, each with the time.
fn add_samples(scrapes: &mut String, page: &str, unix_seconds: u64) {
    let is_sample = |line: &&str| !line.is_empty() && !line.starts_with('#');
    for sample in page.lines().filter(is_sample) {
        scrapes.extend([sample, " ", &unix_seconds.to_string(), "\n"]);
    }
}

async fn page(url: &str) -> Outcome<String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).body(Full::<Bytes>::default())?;
    let response = client.request(request).await?;
    let is_success = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    if is_success {
        Ok(body)
    } else {
        Err(body.into())
    }
}
