//! The conditions that hold once everything works again.

use std::time::Duration;

use http::StatusCode;

use crate::{
    run::Run,
    support::{DAY, HOUR},
    world::Revoked,
};

const PAUSE: Duration = Duration::from_secs(5);

/// The number of pauses after which requests succeed. By then, backoff and the longest interval
/// between forced refreshes, which is half an hour, have passed.
const TRIES: u32 = 400;

/// Longer than the lifetime of a refresh token.
const IDLE: Duration = DAY.saturating_mul(40);

pub(crate) async fn recover(run: &mut Run) {
    run.world.lock().end_faults();
    recovers(run).await;
    run.check();
    tokio::time::sleep(IDLE).await;
    run.check();
    recovers(run).await;
    run.check();

    // A new consent ends any earlier state.
    run.set_tokens(HOUR).await;
    run.check();
    assert!(run.token().await.is_ok(), "the new tokens serve");
    assert_eq!(run.call().await.unwrap(), StatusCode::OK);
    run.check();
}

/// Requests succeed again, unless the grant has ended.
async fn recovers(run: &mut Run) {
    let mut last = None;
    for _ in 0..TRIES {
        let result = run.call().await;
        run.check();
        if matches!(result, Ok(StatusCode::OK)) {
            return;
        }
        last = Some(result);
        tokio::time::sleep(PAUSE).await;
    }
    let state = run.world.lock();
    let has_ended =
        state.revoked != Revoked::No || state.is_stored_as_revoked() || state.may_have_ended();
    assert!(has_ended, "requests do not succeed again: {last:?}");
}
