//! An API that refuses every token (scenario 13). That every sort of challenge is recovered from is shown in `end_to_end`.

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::support::{SECOND, connected, pass};

const CHALLENGES: [Option<&str>; 6] = [
    Some("Bearer error=\"invalid_token\""),
    Some("Bearer"),
    Some("bearer error=\"invalid_token\""),
    Some("Basic realm=\"justworks\", Bearer error=\"invalid_token\""),
    Some("Basic realm=\"justworks\""),
    None,
];

#[tokio::test(start_paused = true)]
async fn s13_every_token_is_refused_and_one_exchange_is_forced_in_thirty_seconds() {
    for challenge in CHALLENGES {
        let partner = connected().await;
        let mut refusal = Fault::status(StatusCode::UNAUTHORIZED).body("the app was revoked");
        if let Some(challenge) = challenge {
            refusal = refusal.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        partner.sandbox.inject(Endpoint::Company, refusal.always());
        let mut sent = 0;
        for call in 0..600 {
            let (status, body) = partner.get("/v1/company").await.unwrap();
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(body, "the app was revoked", "the answer as it was");
            let before = sent;
            sent = partner.sandbox.counters().faults_triggered;
            assert!((1..=2).contains(&(sent - before)), "{challenge:?} {call}");
            pass(SECOND).await;
        }
        let renewals = partner.renewals();
        assert!((19..=20).contains(&renewals), "{challenge:?}: {renewals}");
        assert_eq!(sent, 600 + renewals, "once again with each new token");
        // It was the API's fault, and the grant has not suffered.
        partner.sandbox.clear_faults();
        partner.works().await;
    }
}
