//! Every way to spell an access token's end, and lives that are shorter than any margin (scenarios 15 and 17).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tower_oauth2_client::sandbox::{DateHeader, ExpiresAt, ExpiresIn, Fault, SandboxBuilder};

use crate::support::{DAY, HOUR, Partner, SECOND, connected_to, pass};

/// Those that tell the end, and those that leave it to be known.
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

/// Three days of a call each hour, all of which succeed.
async fn three_days(partner: &Partner) {
    for _ in 0..(3 * 24) {
        pass(HOUR).await;
        partner.works().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s15_no_spelling_of_an_end_lets_a_token_serve_beyond_it() {
    for spelling in spellings() {
        for date in dates() {
            let partner = connected_to(|sandbox| {
                let sandbox = sandbox.behavior(|behavior| behavior.expires_at = spelling.clone());
                sandbox.behavior(|behavior| behavior.date = date.clone())
            });
            let partner = partner.await;
            // Unused until it has just ended, or it would have been renewed ahead of that.
            pass(DAY + HOUR / 2).await;
            for _ in 0..6 {
                partner.works().await;
                pass(HOUR / 2).await;
            }
            let name = format!("{spelling:?} with {date:?}");
            assert_eq!(partner.sandbox.counters().unauthorized, 0, "{name}");
            assert_eq!(partner.renewals(), 1, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s15_expires_in_is_taken_where_there_is_no_end() {
    for expires_in in [ExpiresIn::Number, ExpiresIn::Text] {
        for date in dates() {
            let partner = connected_to(|sandbox| {
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
            assert!((24..=29).contains(&partner.renewals()), "{date:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s15_an_end_in_the_past_is_no_loop() {
    for date in dates() {
        let early = ExpiresAt::Early(25 * HOUR);
        let partner = connected_to(|sandbox| {
            sandbox.behavior(|behavior| {
                behavior.expires_at = early;
                behavior.date = date;
            })
        })
        .await;
        for _ in 0..100 {
            partner.works().await;
        }
        assert!(partner.renewals() <= 100, "one for each call at most");
        let before = partner.renewals();
        pass(DAY).await;
        assert!(partner.renewals() <= before + 1, "none for nobody");
    }
}

/// Three days over which a life that is too long is found out by the first refused call, so many times.
async fn three_days_of_so_many_lives(
    lives: u64,
    set: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
) {
    let partner = connected_to(set).await;
    three_days(&partner).await;
    let counters = partner.sandbox.counters();
    assert!(
        (lives - 1..=lives).contains(&counters.unauthorized),
        "{counters:?}"
    );
    assert_eq!(counters.refreshes, counters.unauthorized);
}

#[tokio::test(start_paused = true)]
async fn s15_an_end_that_no_calendar_has_is_not_taken_for_one() {
    let end = ExpiresAt::Literal("9999-12-31T23:59:59Z".into());
    let partner =
        connected_to(|sandbox| sandbox.behavior(|behavior| behavior.expires_at = end)).await;
    three_days(&partner).await;
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
    assert!((3..=4).contains(&partner.renewals()));
}

#[tokio::test(start_paused = true)]
async fn s15_the_year_9999_costs_a_refused_call_for_each_life() {
    for end in ["9999-12-30T00:00:00Z", "253402300799"] {
        let end = ExpiresAt::Literal(end.into());
        three_days_of_so_many_lives(3, |sandbox| {
            sandbox.behavior(|behavior| behavior.expires_at = end)
        })
        .await;
    }
}

/// There it is taken to agree with this machine's, as the guarantees say.
#[tokio::test(start_paused = true)]
async fn s15_without_a_date_a_server_that_is_ahead_costs_a_refused_call_for_each_life() {
    three_days_of_so_many_lives(18, |sandbox| {
        let ahead = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_007_200);
        let sandbox = sandbox
            .clock_starts_at(ahead)
            .behavior(|behavior| behavior.date = DateHeader::Absent);
        sandbox.behavior(|behavior| behavior.access_token_lifetime = 4 * HOUR)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s15_a_life_above_twenty_five_days_is_waited_for() {
    let partner = connected_to(|sandbox| {
        let sandbox = sandbox.behavior(|behavior| behavior.access_token_lifetime = 60 * DAY);
        sandbox.behavior(|behavior| behavior.refresh_token_lifetime = 90 * DAY)
    });
    let partner = partner.await;
    for _ in 0..59 {
        partner.works().await;
        pass(DAY).await;
    }
    assert!((1..=2).contains(&partner.renewals()), "a keepalive or two");
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

/// A server whose `Date` is at odds with its own clock by more than a token lives.
#[tokio::test(start_paused = true)]
async fn s15_a_date_that_is_further_off_than_a_life_is_no_loop() {
    for date in [DateHeader::Ahead(2 * HOUR), DateHeader::Behind(2 * HOUR)] {
        let partner = connected_to(|sandbox| {
            let sandbox = sandbox.behavior(|behavior| behavior.access_token_lifetime = HOUR);
            sandbox.behavior(|behavior| behavior.date = date.clone())
        });
        let partner = partner.await;
        for _ in 0..(6 * 60) {
            pass(HOUR / 60).await;
            partner.works().await;
        }
        let renewals = partner.renewals();
        assert!((5..=9).contains(&renewals), "{date:?}: {renewals}");
    }
}

#[tokio::test(start_paused = true)]
async fn s17_lives_shorter_than_the_margins_cost_no_exchange_a_request() {
    for seconds in [5_u32, 30, 60] {
        let life = seconds * SECOND;
        let partner = connected_to(|sandbox| {
            sandbox.behavior(|behavior| behavior.access_token_lifetime = life)
        })
        .await;
        // Five minutes of a call each tenth of a second.
        for _ in 0..3_000 {
            pass(SECOND / 10).await;
            assert_eq!(partner.call().await, Ok(StatusCode::OK));
        }
        let renewals = partner.renewals();
        let most = u64::from(300 / seconds * 5 / 2 + 1);
        assert!(renewals <= most, "{seconds} s: {renewals} exchanges");
        assert_eq!(partner.sandbox.counters().unauthorized, 0);
        // And none goes on for nobody.
        pass(HOUR).await;
        assert!(partner.renewals() <= renewals + 2, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn s17_an_exchange_that_takes_much_of_a_short_life_is_no_loop() {
    let life = 10 * SECOND;
    let partner =
        connected_to(|sandbox| sandbox.behavior(|behavior| behavior.access_token_lifetime = life))
            .await;
    partner.fail(Fault::delay(2 * SECOND).always());
    for _ in 0..3_000 {
        pass(SECOND / 10).await;
        assert_eq!(partner.call().await, Ok(StatusCode::OK));
    }
    // Some five seconds of rest in between, and two for each exchange.
    assert!(partner.renewals() <= 70, "{}", partner.renewals());
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}
