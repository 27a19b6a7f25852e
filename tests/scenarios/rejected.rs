//! An API that rejects every token (scenario 13). `end_to_end` shows the recovery from each kind of
//! challenge.

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use tower_oauth2_client::{
    clock::Clock,
    sandbox::{Endpoint, Fault},
};

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
async fn s13_api_that_rejects_every_token_causes_ever_fewer_refreshes() {
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
            assert_eq!(body, "the app was revoked", "the unchanged response");
            let before = sent;
            sent = partner.sandbox.counters().faults_triggered;
            assert!((1..=2).contains(&(sent - before)), "{challenge:?} {call}");
            pass(SECOND).await;
        }
        let refreshes = partner.refreshes();
        // After 30 seconds, and 1, 2, 4 and 8 minutes.
        assert!((4..=6).contains(&refreshes), "{challenge:?}: {refreshes}");
        let status = partner.tokens.status();
        assert!(status.no_refresh_after_401_until > Some(partner.clock.wall()));
        // The API was at fault, and the grant is intact.
        partner.sandbox.clear_faults();
        partner.works().await;
    }
}
