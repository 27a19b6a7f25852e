//! Each spelling of an access token's expiry, and lifetimes that are shorter than any margin
//! (scenarios 15 and 17).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tower_oauth2_client::sandbox::{DateHeader, ExpiresAt, ExpiresIn, Fault, SandboxBuilder};

use crate::support::{DAY, HOUR, Partner, SECOND, connected_at, pass};

/// The spellings that state the expiry, and those that leave it out.
fn spellings() -> Vec<ExpiresAt> {
    vec![
        ExpiresAt::Utc,
        ExpiresAt::Fraction(3),
        ExpiresAt::Fraction(9),
        ExpiresAt::Offset(0),
        ExpiresAt::Offset(-300),
        ExpiresAt::Offset(330),
        ExpiresAt::UnknownOffset,
        ExpiresAt::LowerCase,
        ExpiresAt::Space,
        ExpiresAt::NoOffset,
        ExpiresAt::EpochNumber,
        ExpiresAt::EpochText,
        ExpiresAt::Early(HOUR),
        ExpiresAt::Empty,
        ExpiresAt::Null,
        ExpiresAt::Absent,
        ExpiresAt::Literal("tomorrow".into()),
    ]
}

fn dates() -> [DateHeader; 5] {
    [
        DateHeader::Clock,
        DateHeader::Absent,
        DateHeader::Ahead(2 * HOUR),
        DateHeader::Behind(2 * HOUR),
        DateHeader::Literal("today".into()),
    ]
}

/// A call every hour for three days, all of which succeed.
async fn three_days(partner: &Partner) {
    for _ in 0..(3 * 24) {
        pass(HOUR).await;
        partner.works().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s15_no_spelling_of_the_expiry_lets_a_token_serve_beyond_it() {
    for spelling in spellings() {
        for date in dates() {
            let partner = connected_at(|sandbox| {
                let sandbox = sandbox.behavior(|behavior| behavior.expires_at = spelling.clone());
                sandbox.behavior(|behavior| behavior.date = date.clone())
            });
            let partner = partner.await;
            // Unused until just after its expiry; otherwise it would be refreshed early.
            pass(DAY + HOUR / 2).await;
            for _ in 0..6 {
                partner.works().await;
                pass(HOUR / 2).await;
            }
            let name = format!("{spelling:?} with {date:?}");
            assert_eq!(partner.sandbox.counters().unauthorized, 0, "{name}");
            assert_eq!(partner.refreshes(), 1, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s15_expires_in_is_used_without_expires_at() {
    for expires_in in [ExpiresIn::Number, ExpiresIn::Text] {
        for date in dates() {
            let partner = connected_at(|sandbox| {
                let sandbox = sandbox.behavior(|behavior| {
                    behavior.expires_at = ExpiresAt::Absent;
                    behavior.date = date.clone();
                });
                let sandbox = sandbox.behavior(|behavior| behavior.access_token_lifetime = HOUR);
                sandbox.behavior(|behavior| behavior.expires_in = expires_in)
            });
            let partner = partner.await;
            for _ in 0..(24 * 6) {
                pass(HOUR / 6).await;
                partner.works().await;
            }
            assert_eq!(partner.sandbox.counters().unauthorized, 0, "{date:?}");
            assert!((24..=29).contains(&partner.refreshes()), "{date:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s15_expiry_in_the_past_causes_no_loop() {
    for date in dates() {
        let early = ExpiresAt::Early(25 * HOUR);
        let partner = connected_at(|sandbox| {
            sandbox.behavior(|behavior| {
                behavior.expires_at = early;
                behavior.date = date;
            })
        })
        .await;
        for _ in 0..100 {
            partner.works().await;
        }
        assert_eq!(partner.refreshes(), 0, "the usual lifetime is assumed");
        pass(DAY).await;
        assert!(partner.refreshes() <= 1, "none without a caller");
    }
}

/// Three days in which the first rejected call of each lifetime reveals its end.
async fn three_days_of_lifetimes(lives: u64, set: impl FnOnce(SandboxBuilder) -> SandboxBuilder) {
    let partner = connected_at(set).await;
    three_days(&partner).await;
    let counters = partner.sandbox.counters();
    assert!(
        (lives - 1..=lives).contains(&counters.unauthorized),
        "{counters:?}"
    );
    assert_eq!(counters.refreshes, counters.unauthorized);
}

#[tokio::test(start_paused = true)]
async fn s15_date_beyond_the_calendar_is_not_an_expiry() {
    let end = ExpiresAt::Literal("9999-12-31T23:59:59Z".into());
    let partner =
        connected_at(|sandbox| sandbox.behavior(|behavior| behavior.expires_at = end)).await;
    three_days(&partner).await;
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
    assert!((3..=4).contains(&partner.refreshes()));
}

#[tokio::test(start_paused = true)]
async fn s15_expiry_in_the_year_9999_is_not_an_expiry() {
    for end in ["9999-12-30T00:00:00Z", "253402300799"] {
        let end = ExpiresAt::Literal(end.into());
        let partner =
            connected_at(|sandbox| sandbox.behavior(|behavior| behavior.expires_at = end)).await;
        three_days(&partner).await;
        assert_eq!(partner.sandbox.counters().unauthorized, 0);
        assert!((3..=4).contains(&partner.refreshes()));
    }
}

/// Its clock is then assumed to agree with this machine's, as the guarantees say.
#[tokio::test(start_paused = true)]
async fn s15_server_clock_ahead_without_date_costs_one_rejected_call_per_lifetime() {
    three_days_of_lifetimes(18, |sandbox| {
        let ahead = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_007_200);
        let sandbox = sandbox
            .clock_starts_at(ahead)
            .behavior(|behavior| behavior.date = DateHeader::Absent);
        sandbox.behavior(|behavior| behavior.access_token_lifetime = 4 * HOUR)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s15_lifetime_above_25_days_is_used_in_full() {
    let partner = connected_at(|sandbox| {
        let sandbox = sandbox.behavior(|behavior| behavior.access_token_lifetime = 60 * DAY);
        sandbox.behavior(|behavior| behavior.refresh_token_lifetime = 90 * DAY)
    });
    let partner = partner.await;
    for _ in 0..59 {
        partner.works().await;
        pass(DAY).await;
    }
    assert!(
        (1..=2).contains(&partner.refreshes()),
        "one or two to keep it alive"
    );
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

/// A server whose `Date` differs from its own clock by more than a token's lifetime.
#[tokio::test(start_paused = true)]
async fn s15_date_off_by_more_than_a_lifetime_causes_no_loop() {
    for date in [DateHeader::Ahead(2 * HOUR), DateHeader::Behind(2 * HOUR)] {
        let partner = connected_at(|sandbox| {
            let sandbox = sandbox.behavior(|behavior| behavior.access_token_lifetime = HOUR);
            sandbox.behavior(|behavior| behavior.date = date.clone())
        });
        let partner = partner.await;
        for _ in 0..(6 * 60) {
            pass(HOUR / 60).await;
            partner.works().await;
        }
        let refreshes = partner.refreshes();
        assert!((5..=9).contains(&refreshes), "{date:?}: {refreshes}");
    }
}

#[tokio::test(start_paused = true)]
async fn s17_lifetimes_below_the_margins_do_not_cost_a_refresh_per_request() {
    for seconds in [5_u32, 30, 60] {
        let life = seconds * SECOND;
        let partner = connected_at(|sandbox| {
            sandbox.behavior(|behavior| behavior.access_token_lifetime = life)
        })
        .await;
        // A call every tenth of a second for five minutes.
        for _ in 0..3_000 {
            pass(SECOND / 10).await;
            assert_eq!(partner.call().await, Ok(StatusCode::OK));
        }
        let refreshes = partner.refreshes();
        let most = u64::from(300 / seconds * 5 / 2 + 1);
        assert!(refreshes <= most, "{seconds} s: {refreshes} refreshes");
        assert_eq!(partner.sandbox.counters().unauthorized, 0);
        // No refresh is made without a caller.
        pass(HOUR).await;
        assert!(partner.refreshes() <= refreshes + 2, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn s17_slow_refresh_of_a_short_lifetime_causes_no_loop() {
    let life = 10 * SECOND;
    let partner =
        connected_at(|sandbox| sandbox.behavior(|behavior| behavior.access_token_lifetime = life))
            .await;
    partner.fail(Fault::delay(2 * SECOND).always());
    for _ in 0..3_000 {
        pass(SECOND / 10).await;
        assert_eq!(partner.call().await, Ok(StatusCode::OK));
    }
    // A pause of about five seconds, and two seconds for each refresh.
    assert!(partner.refreshes() <= 70, "{}", partner.refreshes());
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}
