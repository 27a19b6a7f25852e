//! 10,000 callers at once, where no token is held and an exchange takes 50 ms: how many exchanges there are, and how long it takes
//! until the last caller has its answer, by how long one exchange takes.
//!
//! ```sh
//! cargo bench -p benches --bench stampede
//! ```
//!
//! Each caller is a task on a runtime of two workers, with a clone of the service, over a service that answers at once. The
//! time runs from before the first task is spawned to the moment at which the last one has its answer. An exchange is a sleep, which
//! takes up to a millisecond longer than it is told to; that counts against us. So does what tokio takes to spawn, to wake and to
//! end 10,000 tasks; the allocator is mimalloc, as that of most systems takes as long again to free what they held.
//!
//! Three times: where all goes well; where the provider answers with a 500; and where the caller who set off the exchange is
//! dropped 20 ms later.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use mimalloc::MiMalloc;
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{sleep, sleep_until},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{ClientCredentials, TokenCache, TokenSource, token_fn},
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::Provider,
    token::{AccessToken, TokenSet},
};

use benches::{
    API, Nothing,
    report::{Goal, Report, median},
    request,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const CALLERS: usize = 10_000;
const EXCHANGE: Duration = Duration::from_millis(50);
const DROPPED_AFTER: Duration = Duration::from_millis(20);
const ROUNDS: usize = 41;

type Service = BearerAuth<Nothing, Empty<Bytes>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let rounds = |scene: Scene| {
        let rounds = || runtime.block_on(runtime.spawn(round(scene))).unwrap();
        rounds();
        let rounds: Vec<_> = (0..ROUNDS).map(|_| rounds()).collect();
        Figures::of(scene, &rounds)
    };
    println!(
        "{CALLERS} callers at once, an exchange takes {} ms; {ROUNDS} rounds each",
        EXCHANGE.as_millis()
    );
    let [served, refused, dropped] = [Scene::Served, Scene::Refused, Scene::Dropped].map(rounds);
    let mut report = Report::new("stampede");
    served.tell(&mut report, "10,000 callers, no token", "served");
    refused.tell(
        &mut report,
        "10,000 callers, a provider that refuses",
        "told",
    );
    dropped.tell(
        &mut report,
        "10,000 callers, the first one dropped",
        "served",
    );
    report.end();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Served,
    Refused,
    Dropped,
}

/// What came of one stampede.
struct Round {
    exchanges: usize,
    answers: usize,
    took: Duration,
}

async fn round(scene: Scene) -> Round {
    let exchanges = Arc::new(AtomicUsize::new(0));
    let tokens = match scene {
        Scene::Served | Scene::Dropped => cache(issuer(&exchanges)),
        Scene::Refused => cache(refused(&exchanges)),
    };
    let service = BearerAuthLayer::new(tokens).layer(Nothing);
    let callers = if scene == Scene::Dropped {
        CALLERS - 1
    } else {
        CALLERS
    };
    let crowd = Arc::new(Crowd {
        left: AtomicUsize::new(callers),
        is_through: Notify::new(),
    });

    let begun = SystemClock.monotonic();
    let first = (scene == Scene::Dropped).then(|| tokio::spawn(service.clone().oneshot(request())));
    if first.is_some() {
        while exchanges.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    }
    let tasks: Vec<_> = (0..callers)
        .map(|_| tokio::spawn(call(service.clone(), Arc::clone(&crowd))))
        .collect();
    if let Some(first) = first {
        sleep_until((begun + DROPPED_AFTER).into()).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
    }
    crowd.is_through.notified().await;

    let mut last = begun;
    let mut answers = 0;
    for task in tasks {
        let (at, is_served) = task.await.unwrap();
        last = last.max(at);
        answers += usize::from(is_served == (scene != Scene::Refused));
    }
    Round {
        exchanges: exchanges.load(Ordering::Relaxed),
        answers,
        took: last - begun,
    }
}

/// Those who have no answer yet. Nobody looks after them one by one while the time runs.
struct Crowd {
    left: AtomicUsize,
    is_through: Notify,
}

/// When it was answered, and whether with a token.
async fn call(service: Service, crowd: Arc<Crowd>) -> (Instant, bool) {
    let answer = service.oneshot(request()).await;
    let at = SystemClock.monotonic();
    if crowd.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        crowd.is_through.notify_one();
    }
    (at, answer.is_ok())
}

fn cache(source: impl TokenSource) -> TokenCache {
    TokenCache::builder(source).origin(API).build().unwrap()
}

fn issuer(exchanges: &Arc<AtomicUsize>) -> impl TokenSource {
    let exchanges = Arc::clone(exchanges);
    token_fn(move || {
        exchanges.fetch_add(1, Ordering::Relaxed);
        async {
            let sent = SystemClock.wall();
            sleep(EXCHANGE).await;
            let token = AccessToken::new("t".repeat(1_024))?;
            Ok::<_, Error>(TokenSet::new(token, Duration::from_secs(86_400), sent))
        }
    })
}

/// A real client, over a provider that is in trouble.
fn refused(exchanges: &Arc<AtomicUsize>) -> impl TokenSource {
    let exchanges = Arc::clone(exchanges);
    let http = service_fn(move |_: Request<Full<Bytes>>| {
        exchanges.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(EXCHANGE).await;
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok::<_, Infallible>(answer)
        }
    });
    let provider = Provider::builder("https://id.example.com/token")
        .build()
        .unwrap();
    let client = OAuthClient::builder(provider, "client-id").client_secret("client-secret");
    ClientCredentials::new(client.build(http).unwrap())
}

/// What came of all rounds of one scene.
struct Figures {
    exchanges: usize,
    times: Vec<f64>,
}

impl Figures {
    fn of(scene: Scene, rounds: &[Round]) -> Self {
        let callers = if scene == Scene::Dropped {
            CALLERS - 1
        } else {
            CALLERS
        };
        for round in rounds {
            assert_eq!(round.answers, callers, "not all had the same answer");
        }
        let mut times: Vec<_> = rounds
            .iter()
            .map(|round| round.took.as_secs_f64() * 1_000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let exchanges = rounds.iter().map(|round| round.exchanges).max().unwrap();
        println!(
            "{scene:?}: {exchanges} exchange at most; the last of {callers} after {:.1} ms ({:.1} to {:.1})",
            median(times.clone()),
            times[0],
            times[times.len() - 1],
        );
        Self { exchanges, times }
    }

    fn tell(self, report: &mut Report, scene: &str, word: &str) {
        let exchanges = f64::from(u32::try_from(self.exchanges).unwrap());
        let how = format!("the most in any of {ROUNDS} rounds");
        report.goal(
            &format!("{scene}: exchanges"),
            Goal::Exactly(1.0),
            exchanges,
            &how,
        );
        let took = median(self.times);
        let exchange = EXCHANGE.as_secs_f64() * 1_000.0;
        let how = format!("{took:.1} of {exchange} ms, median of {ROUNDS} rounds");
        report.goal(
            &format!("{scene}: all {word}, by the exchange"),
            Goal::AtMost(1.2),
            took / exchange,
            &how,
        );
    }
}
