//! Authorization servers that accept pushed authorization requests (RFC 9126).

use tower_oauth2_client::{ErrorKind, sandbox::PushedAuthorization};

use crate::{
    company::{Company, REDIRECT_URI, send},
    support::query,
};

fn company(pushed: PushedAuthorization) -> Company {
    Company::new(|sandbox| sandbox.behavior(|behavior| behavior.pushed_authorization = pushed))
}

#[tokio::test(start_paused = true)]
async fn request_is_pushed_if_the_server_requires_it() {
    for pushed in [
        PushedAuthorization::Required,
        PushedAuthorization::Accepted,
        PushedAuthorization::Off,
    ] {
        let company = company(pushed);
        let is_required = pushed == PushedAuthorization::Required;
        let user = company.sandbox.clone();
        let auth = company.builder().authorize(REDIRECT_URI, move |url| {
            let user = user.clone();
            async move {
                // The browser shows no part of a pushed request.
                assert_eq!(query(&url, "request_uri").is_some(), is_required, "{url}");
                assert_eq!(query(&url, "resource").is_none(), is_required, "{url}");
                Ok(user.consent(&url).await?)
            }
        });
        let auth = auth.build().unwrap();
        assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
        let counters = company.sandbox.counters();
        assert_eq!(
            counters.authorization_requests_pushed,
            u64::from(is_required)
        );
        assert_eq!(counters.consents, 1);
        if let [request] = &*company.sent_to("/oauth/par") {
            let resource = request.form("resource");
            assert_eq!(resource.as_deref(), Some(crate::company::ENDPOINT));
            assert!(request.form("code_challenge").is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refused_push_names_the_endpoint_and_asks_no_user() {
    let company = company(PushedAuthorization::Required);
    let auth = company
        .builder()
        .authorize("http://127.0.0.1:9/not-registered", |_| async {
            panic!("the user is asked")
        });
    let error = send(&auth.build().unwrap(), &company, "company")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let message = error.to_string();
    assert!(
        message.starts_with("pushed authorization request endpoint rejected"),
        "{message}"
    );
}
