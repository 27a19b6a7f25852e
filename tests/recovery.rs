//! How soon each grant is refreshed once the token endpoint is back after an outage.

#[path = "support/mod.rs"]
mod support;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower_oauth2_client::{
    clock::Clock,
    oauth::OAuthClient,
    provider,
    store::{MemoryStore, TokenStore},
    tenants::Tenants,
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use crate::support::ManualClock;

const SECOND: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(100);

/// How the token endpoint fails during the outage.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Refused,
    Status(u16),
}

/// A token endpoint that is out of service until a test says so.
#[derive(Clone)]
struct Endpoint {
    outage: Outage,
    is_back: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn respond(self) -> Result<Response<Full<Bytes>>, io::Error> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        sleep(LATENCY).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let tokens = r#"{"access_token":"a2","refresh_token":"r2","expires_in":86400}"#;
        match self.outage {
            _ if self.is_back.load(Ordering::SeqCst) => {
                Ok(Response::new(Full::from(tokens.as_bytes().to_vec())))
            }
            Outage::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            Outage::Status(status) => {
                let response = Response::builder().status(status);
                Ok(response.body(Full::default()).unwrap())
            }
        }
    }
}

fn expired(clock: &ManualClock) -> Grant {
    let issued = clock.wall() - 7_200 * SECOND;
    let tokens = TokenSet::new(AccessToken::new("a1").unwrap(), 3_600 * SECOND, issued)
        .with_refresh_token(RefreshToken::new("r1"), issued);
    Grant::new(Generation::FIRST, GrantState::Active(tokens))
}

/// The time from the return of the endpoint to the first success of each grant, in ascending order.
async fn recover(grants: u64, outage: Outage, length: Duration) -> Vec<Duration> {
    let clock = ManualClock::new();
    let store = MemoryStore::new();
    let endpoint = Endpoint {
        outage,
        is_back: Arc::default(),
        in_flight: Arc::default(),
        most_in_flight: Arc::default(),
    };
    let http = tower::service_fn({
        let endpoint = endpoint.clone();
        move |_: Request<Full<Bytes>>| endpoint.clone().respond()
    });
    let oauth = OAuthClient::builder(provider::justworks(), "the-client")
        .client_secret("the-secret")
        .redirect_uri("https://partner.example.com/callback")
        .clock(clock.clone())
        .jitter_seed(7)
        .build(http)
        .unwrap();
    let tenants = Tenants::builder(oauth)
        .store(store.clone())
        .clock(clock.clone())
        .jitter_seed(7)
        .build()
        .unwrap();
    let recovered = Arc::new(Mutex::new(Vec::new()));
    let returned_at = Instant::now() + length;
    let mut callers = JoinSet::new();
    for number in 0..grants {
        let tenant = TenantId::new(format!("tenant-{number}")).unwrap();
        store.save(&tenant, None, &expired(&clock)).await.unwrap();
        let (tenants, recovered) = (tenants.clone(), Arc::clone(&recovered));
        callers.spawn(async move {
            // Each tenant sends a request a second.
            while tenants.token(&tenant).await.is_err() {
                sleep(SECOND).await;
            }
            let after = Instant::now().saturating_duration_since(returned_at);
            recovered.lock().unwrap().push(after);
        });
    }
    sleep(length).await;
    endpoint.is_back.store(true, Ordering::SeqCst);
    let all = timeout(600 * SECOND, callers.join_all());
    all.await.expect("every grant recovers");
    assert!(endpoint.most_in_flight.load(Ordering::SeqCst) <= 4);
    let mut recovered = std::mem::take(&mut *recovered.lock().unwrap());
    recovered.sort();
    recovered
}

#[tokio::test(start_paused = true)]
async fn p16_grants_recover_when_the_circuit_breaker_closes() {
    println!("outage | grants | first | median | last");
    for outage in [Outage::Refused, Outage::Status(503)] {
        // The time to refresh them, at three requests of 100 ms at a time.
        for (grants, spread) in [(1, 0), (10, 2), (100, 8)] {
            let mut worst = [Duration::ZERO; 4];
            for length in [60, 71, 82] {
                let recovered = recover(grants, outage, length * SECOND).await;
                let (first, last) = (recovered[0], recovered[recovered.len() - 1]);
                let median = recovered[recovered.len() / 2];
                for (worst, time) in
                    worst
                        .iter_mut()
                        .zip([first, median, last, last.saturating_sub(first)])
                {
                    *worst = time.max(*worst);
                }
            }
            let [first, median, last, after_first] = worst;
            println!("{outage:?} | {grants} | {first:?} | {median:?} | {last:?}");
            // The pause of the breaker, and the next request.
            assert!(first <= 32 * SECOND, "{outage:?} {grants}: {first:?}");
            assert!(
                after_first <= spread * SECOND,
                "{outage:?} {grants}: {after_first:?}"
            );
        }
    }
}
