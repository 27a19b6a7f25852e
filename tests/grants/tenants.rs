//! Sources of one subject, and many tenants.

use tower_oauth2_client::{
    ErrorKind,
    cache::{ClientCredentials, JwtBearer, TokenCache, TokenExchange},
    sandbox::Sandbox,
    tenants::{Tenants, TenantsBuilder},
};

use crate::support::{TARGET, builder, claims, oauth, signed};

fn jwt_bearer(sandbox: &Sandbox) -> TenantsBuilder {
    let assertion = signed(&claims(sandbox));
    let assertions = move || {
        let assertion = assertion.clone();
        async { Ok::<_, std::io::Error>(assertion) }
    };
    Tenants::builder(JwtBearer::new(oauth(sandbox), assertions))
}

/// Each tenant would get the token of the same subject, without an error.
#[tokio::test(start_paused = true)]
async fn p23_source_of_one_subject_is_refused_for_many_tenants() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = TokenCache::builder(oauth.clone()).build().unwrap();
    let exchange = TokenExchange::builder(oauth.clone(), subject).audience(TARGET);
    for (name, builder) in [
        (
            "client credentials",
            Tenants::builder(ClientCredentials::new(oauth.clone())),
        ),
        ("JWT", jwt_bearer(&sandbox)),
        (
            "token exchange",
            Tenants::builder(exchange.build().unwrap()),
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
        let text = error.to_string();
        assert!(text.starts_with("source: "), "{name}: {text}");
        assert!(text.contains("TokenCache"), "{name}: {text}");
    }
    // A customer's consent belongs to one tenant.
    Tenants::builder(oauth).build().unwrap();
}
