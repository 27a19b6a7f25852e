//! Settings and responses with the shortest and longest times: refused or limited, never a panic.

use std::time::{Duration, SystemTime};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenCacheBuilder},
    clock::Clock,
    tenants::TenantsBuilder,
    token::{AccessToken, RefreshToken, TenantId, TokenSet},
};

use crate::support::{DAY, HOUR, ManualClock, SECOND, Source, pass};

const TIMES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    SECOND,
    Duration::from_secs(100 * 366 * 86_400),
    Duration::from_secs(u64::MAX / 2),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];

type Set<B> = fn(B, Duration) -> B;

fn refused(error: &Error, name: &str, time: Duration) {
    assert_eq!(error.kind(), ErrorKind::Configuration, "{name}: {time:?}");
    assert!(error.to_string().starts_with(name), "{time:?}: {error}");
}

/// A panic in a task is an error of its waiters.
fn no_panic<T>(outcome: Result<T, Error>) {
    if let Err(error) = outcome {
        assert_ne!(error.kind(), ErrorKind::Interrupted, "{error}");
    }
}

/// Everything that a program does, with whatever result.
async fn live(tokens: &TokenCache, source: &Source) {
    for _ in 0..3 {
        no_panic(tokens.token().await);
        no_panic(tokens.refresh_now().await);
        drop(tokens.status());
        tokens.invalidate();
        no_panic(tokens.token().await);
        pass(HOUR).await;
    }
    no_panic(tokens.set_tokens(source.issue(DAY)).await);
    no_panic(tokens.revoke().await);
    drop(tokens.status());
    no_panic(tokens.shutdown(Duration::MAX).await);
}

#[tokio::test(start_paused = true)]
async fn p18_no_duration_of_a_cache_overflows() {
    let settings: [(&str, Set<TokenCacheBuilder>); 5] = [
        ("acquire timeout", TokenCacheBuilder::acquire_timeout),
        ("background delay", TokenCacheBuilder::background_delay),
        ("lease duration", TokenCacheBuilder::lease_duration),
        (
            "min refresh interval",
            TokenCacheBuilder::min_refresh_interval,
        ),
        (
            "refresh token lifetime",
            TokenCacheBuilder::refresh_token_lifetime,
        ),
    ];
    for (name, set) in settings {
        for time in TIMES {
            let source = Source::new(&ManualClock::new());
            match set(source.cache(), time).build() {
                Ok(tokens) => live(&tokens, &source).await,
                Err(error) => refused(&error, name, time),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p18_no_duration_of_tenants_overflows() {
    let settings: [(&str, Set<TenantsBuilder>); 3] = [
        ("idle after", TenantsBuilder::idle_after),
        ("sweep interval", TenantsBuilder::sweep_interval),
        ("lease duration", TenantsBuilder::lease_duration),
    ];
    let tenant = TenantId::new("acme").unwrap();
    for (name, set) in settings {
        for time in TIMES {
            let source = Source::new(&ManualClock::new());
            match set(source.tenants(), time).build() {
                Ok(tenants) => {
                    tenants
                        .set_tokens(&tenant, source.issue(DAY))
                        .await
                        .unwrap();
                    live(&tenants.cache(&tenant).await.unwrap(), &source).await;
                    no_panic(tenants.sweep().await);
                    no_panic(tenants.shutdown(Duration::MAX).await);
                }
                Err(error) => refused(&error, name, time),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p18_no_lifetime_or_date_of_a_token_set_overflows() {
    let clock = ManualClock::new();
    let now = clock.wall();
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60);
    for lifetime in TIMES {
        for issued_at in [now, SystemTime::UNIX_EPOCH, far] {
            let source = Source::new(&clock);
            source.set_lifetime(lifetime);
            let tokens = source
                .cache()
                .refresh_token_lifetime(30 * DAY)
                .build()
                .unwrap();
            let issued = TokenSet::new(AccessToken::new("a").unwrap(), lifetime, issued_at)
                .with_refresh_token(RefreshToken::new("r"), issued_at);
            no_panic(tokens.set_tokens(issued).await);
            live(&tokens, &source).await;
        }
    }
}
