use super::*;

fn resumed(state: &str, verifier: Option<&str>) -> PendingAuthorization {
    let provider = provider(true);
    PendingAuthorization::new(state.into(), verifier.map(CodeVerifier::new), provider)
}

fn provider(pkce: bool) -> Arc<Provider> {
    let builder = Provider::builder("https://id.example.com/token").pkce(pkce);
    Arc::new(builder.build().unwrap())
}

fn provider_with(mode: ResponseMode) -> Provider {
    let builder = Provider::builder("https://id.example.com/token").response_mode(mode);
    builder.build().unwrap()
}

fn pending() -> PendingAuthorization {
    resumed("s1", Some("v1"))
}

#[test]
fn callbacks_are_accepted_only_with_one_code_and_the_right_state() {
    for good in [
        "https://partner.example.com/cb?code=c1&state=s1",
        "http://127.0.0.1/cb?x=y&state=s1&code=c1&scope=a#fragment",
        "code=c1&state=s1",
        "?code=c1&state=s1",
        "/callback?code=c1&state=s1",
        "code=c1&state=s1&scope=https://www.googleapis.com/auth/x",
        "https://p.example.com/cb?state=s1&iss=https://id.example.com&x=a?b&code=c1",
        "?code=c1&state=s1&iss=https://id.example.com&iss=",
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
    // An empty state accepts no callback.
    assert!(resumed("", None).accept("?code=c1&state=").is_err());
}

#[test]
fn denial_is_reported_by_its_error_code() {
    let denied = pending()
        .accept("?error=access_denied&state=s1")
        .unwrap_err();
    assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    let unknown = pending()
        .accept("?error=seeded&error_description=seeded&state=s1")
        .unwrap_err();
    assert_eq!(unknown.oauth_code(), None);
    assert!(!format!("{unknown:?}{unknown}").contains("seeded"));
}

/// RFC 9207 section 2.4. A callback is accepted in the columns `no issuer`, `Required` and
/// `IfPresent`.
#[test]
fn callback_names_the_issuer_by_the_table_of_rfc_9207() {
    const ISSUER: &str = "https://id.example.com/a";
    let pending = |issuer: Option<&str>, check| {
        let mut builder = Provider::builder("https://id.example.com/token").issuer_check(check);
        if let Some(issuer) = issuer {
            builder = builder.issuer(issuer);
        }
        let provider = Arc::new(builder.build().unwrap());
        PendingAuthorization::new("s1".into(), None, provider)
    };
    let columns = [
        pending(None, IssuerCheck::Required),
        pending(Some(ISSUER), IssuerCheck::Required),
        pending(Some(ISSUER), IssuerCheck::IfPresent),
    ];
    for (parameters, accepted) in [
        ("", [true, false, true]),
        // The issuer, in different encodings.
        ("&iss=https://id.example.com/a", [true; 3]),
        ("&iss=https%3A%2F%2Fid.example.com%2Fa", [true; 3]),
        ("&%69ss=https%3a%2f%2fid.example.com/%61", [true; 3]),
        // Another issuer: strings are compared, not URLs.
        ("&iss=", [true, false, false]),
        ("&iss", [true, false, false]),
        ("&iss=https://id.example.com/a/", [true, false, false]),
        ("&iss=https://id.example.com", [true, false, false]),
        ("&iss=https://ID.example.com/a", [true, false, false]),
        ("&iss=https://id.example.com:443/a", [true, false, false]),
        ("&iss=https%253A//id.example.com/a", [true, false, false]),
        ("&iss=+https://id.example.com/a", [true, false, false]),
        ("&iss=https://id.example.com/a%00", [true, false, false]),
        ("&iss=https://evil.example/a", [true, false, false]),
        // Repeated, also with the same value.
        (
            "&iss=https://id.example.com/a&iss=https://id.example.com/a",
            [true, false, false],
        ),
        (
            "&iss=https://id.example.com/a&iss=https://evil.example/a",
            [true, false, false],
        ),
        ("&iss=&iss=", [true, false, false]),
        // Another parameter.
        ("&ISS=https://id.example.com/a", [true, false, true]),
        ("&issuer=https://evil.example", [true, false, true]),
    ] {
        // A URL with a query, and the body of a `form_post`.
        for prefix in ["https://p.example.com/cb?", ""] {
            for (pending, accepted) in columns.iter().zip(accepted) {
                let callback = |response| format!("{prefix}{response}{parameters}");
                let with_code = pending.accept(&callback("code=c1&state=s1"));
                assert_eq!(with_code.is_ok(), accepted, "{parameters}");
                // An error of another server says nothing about this authorization.
                let with_error = pending.accept(&callback("error=access_denied&state=s1"));
                let with_error = with_error.unwrap_err();
                let denied = Some(OAuthErrorCode::AccessDenied);
                let code = if accepted { denied } else { None };
                assert_eq!(with_error.oauth_code(), code, "{parameters}");
                for error in with_code.err().into_iter().chain([with_error]) {
                    assert_eq!(error.kind(), ErrorKind::Callback);
                    assert_eq!(error.to_string().contains("(iss)"), !accepted, "{error}");
                    assert!(!error.to_string().contains("evil"), "{error}");
                }
                // The state is checked first.
                let error = pending.accept(&callback("code=c1&state=s2")).unwrap_err();
                assert!(error.to_string().contains("state"), "{error}");
            }
        }
    }
}

#[test]
fn pkce_challenge_is_s256_of_a_random_verifier() {
    // RFC 7636 appendix B.
    let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(
        challenge(&verifier),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );

    let (one, two) = (
        PendingAuthorization::random(provider(true)).unwrap(),
        PendingAuthorization::random(provider(true)).unwrap(),
    );
    assert_ne!(one.state(), two.state());
    let length = one.code_verifier().unwrap().expose().len();
    assert!((43..=128).contains(&length));
    assert_ne!(one.code_verifier(), two.code_verifier());
    assert!(
        PendingAuthorization::random(provider(false))
            .unwrap()
            .code_verifier()
            .is_none()
    );
}

#[test]
fn authorization_url_keeps_the_query_of_the_endpoint() {
    let endpoint = Uri::from_static("https://id.example.com/a?tenant=x");
    let pending = resumed("s1", None);
    assert_eq!(
        authorization_url(
            &endpoint,
            pending
                .parameters(
                    "id&1",
                    "https://p.example.com/cb?a=b",
                    Some("one two:read"),
                    &provider_with(ResponseMode::Query),
                )
                .chain([("prompt", "a&b".into())])
        ),
        "https://id.example.com/a?tenant=x&response_type=code&client_id=id%261\
         &redirect_uri=https%3A%2F%2Fp.example.com%2Fcb%3Fa%3Db&scope=one+two%3Aread&state=s1\
         &prompt=a%26b"
    );
}

#[test]
fn authorization_url_names_a_response_mode_that_is_not_the_default() {
    let endpoint = Uri::from_static("https://id.example.com/a");
    let pending = resumed("s1", None);
    assert_eq!(
        authorization_url(
            &endpoint,
            pending.parameters(
                "id",
                "https://p.example.com/cb",
                None,
                &provider_with(ResponseMode::FormPost),
            ),
        ),
        "https://id.example.com/a?response_type=code&client_id=id\
         &redirect_uri=https%3A%2F%2Fp.example.com%2Fcb&response_mode=form_post&state=s1"
    );
    // The body of the request that follows.
    let accepted = pending
        .accept("code=c%2F1&state=s1&session_state=a+b")
        .unwrap();
    assert_eq!(accepted.code().expose(), "c/1");
}

#[test]
fn authorization_url_has_the_parameter_names_of_the_provider() {
    let endpoint = Uri::from_static("https://id.example.com/a");
    let provider = Provider::builder("https://id.example.com/token")
        .parameter_name("client_id", "client_key")
        .parameter_name("redirect_uri", "return_to")
        .parameter_name("response_type", "kind")
        .parameter_name("scope", "scopes")
        .parameter_name("code", "auth_code")
        .build()
        .unwrap();
    let pending = resumed("s1", Some("v1"));
    let parameters = pending
        .parameters("id", "https://p.example.com/cb", Some("one"), &provider)
        .chain([("x", "y".into())]);
    let url = authorization_url(&endpoint, parameters);
    let challenge = challenge(&CodeVerifier::new("v1"));
    assert_eq!(
        url,
        format!(
            "https://id.example.com/a?kind=code&client_key=id\
             &return_to=https%3A%2F%2Fp.example.com%2Fcb&scopes=one&state=s1\
             &code_challenge={challenge}&code_challenge_method=S256&x=y"
        )
    );
}

#[test]
fn code_is_accepted_by_the_name_of_the_provider_only() {
    let provider = Provider::builder("https://id.example.com/token").code_parameter("auth_code");
    let provider = Arc::new(provider.build().unwrap());
    let verifier = Some(CodeVerifier::new("v1"));
    let pending = PendingAuthorization::new("s1".into(), verifier, provider);
    for good in [
        "?auth_code=c1&state=s1",
        "auth%5Fcode=c%31&state=s1&x=y",
        "https://p.example.com/cb?code=c2&auth_code=c1&state=s1",
        "?code=c2&code=c3&auth_code=c1&state=s1",
    ] {
        let accepted = pending.accept(good).unwrap();
        assert_eq!(accepted.code().expose(), "c1", "{good}");
        assert_eq!(accepted.verifier().unwrap().expose(), "v1");
        for name in ["code", "auth_code", "state"] {
            assert_eq!(accepted.parameters().get(name), None, "{good}");
        }
    }
    for bad in [
        "?code=c1&state=s1",
        "?auth_code=&code=c1&state=s1",
        "?auth_code=c1&auth_code=c1&state=s1",
        "?auth_code=c1&state=s2",
        "?auth_code=c1",
        "?AUTH_CODE=c1&state=s1",
    ] {
        let error = pending.accept(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback, "{bad}");
    }
}

#[test]
fn p21_debug_output_contains_no_secret() {
    let pending = resumed("seeded", Some("seeded"));
    let accepted = pending.accept("?code=seeded&state=seeded").unwrap();
    assert!(!format!("{pending:?} {accepted:?}").contains("seeded"));
}
