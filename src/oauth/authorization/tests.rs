use super::*;

fn pending() -> PendingAuthorization {
    PendingAuthorization::resume("s1", Some(CodeVerifier::new("v1")))
}

#[test]
fn callback_is_checked() {
    for good in [
        "https://partner.example.com/cb?code=c1&state=s1",
        "http://127.0.0.1/cb?x=y&state=s1&code=c1&scope=a#fragment",
        "code=c1&state=s1",
        "?code=c1&state=s1",
        "/callback?code=c1&state=s1",
        "code=c1&state=s1&scope=https://www.googleapis.com/auth/x",
        "https://p.example.com/cb?state=s1&iss=https://id.example.com&x=a?b&code=c1",
    ] {
        let accepted = pending().accept(good).unwrap();
        assert_eq!(accepted.code().expose(), "c1");
        assert_eq!(accepted.verifier().unwrap().expose(), "v1");
    }
    for bad in [
        "",
        "https://partner.example.com/cb",
        "https://partner.example.com/cb?",
        "?code=c1",
        "?code=c1&state=",
        "?code=c1&state=s2",
        "?code=c1&state=s1x",
        "?code=c1&state=s1&state=s1",
        "?code=c1&code=c2&state=s1",
        "?code=&state=s1",
        "?state=s1",
        "?error=access_denied&state=s2",
        "/cb#code=c1&state=s1",
        "https://partner.example.com/cb#x?code=c1&state=s1",
        "https://partner.example.com/code=c1&state=s1",
    ] {
        let error = pending().accept(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback, "{bad}");
        assert_eq!(error.oauth_code(), None, "{bad}");
    }
    // A state that was never set up accepts nothing.
    assert!(
        PendingAuthorization::resume("", None)
            .accept("?code=c1&state=")
            .is_err()
    );
}

#[test]
fn denial_is_told() {
    let denied = pending()
        .accept("?error=access_denied&state=s1")
        .unwrap_err();
    assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    let own = pending()
        .accept("?error=seeded&error_description=seeded&state=s1")
        .unwrap_err();
    assert_eq!(own.oauth_code(), None);
    assert!(!format!("{own:?}{own}").contains("seeded"));
}

#[test]
fn pkce_is_s256_of_a_fresh_verifier() {
    // RFC 7636 appendix B.
    let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(
        challenge(&verifier),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );

    let (one, two) = (
        PendingAuthorization::begin(true).unwrap(),
        PendingAuthorization::begin(true).unwrap(),
    );
    assert_ne!(one.state(), two.state());
    let length = one.code_verifier().unwrap().expose().len();
    assert!((43..=128).contains(&length));
    assert_ne!(one.code_verifier(), two.code_verifier());
    assert!(
        PendingAuthorization::begin(false)
            .unwrap()
            .code_verifier()
            .is_none()
    );
}

#[test]
fn url_keeps_the_endpoints_query_and_encodes_the_rest() {
    let endpoint = Endpoint::parse("endpoint", "https://id.example.com/a?tenant=x").unwrap();
    let pending = PendingAuthorization::resume("s1", None);
    assert_eq!(
        pending.url(
            &endpoint,
            "id&1",
            "https://p.example.com/cb?a=b",
            Some("one two:read")
        ),
        "https://id.example.com/a?tenant=x&response_type=code&client_id=id%261\
         &redirect_uri=https%3A%2F%2Fp.example.com%2Fcb%3Fa%3Db&scope=one+two%3Aread&state=s1"
    );
}

#[test]
fn p21_debug_shows_no_secret() {
    let pending = PendingAuthorization::resume("seeded", Some(CodeVerifier::new("seeded")));
    let accepted = pending.accept("?code=seeded&state=seeded").unwrap();
    assert!(!format!("{pending:?} {accepted:?}").contains("seeded"));
}
