//! Dynamic client registration (RFC 7591).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    client::{Client, ClientOrigin, Registration, Server, method_name, method_to_register},
    http::Http,
    scopes::Scopes,
};
use crate::{
    error::{Error, ErrorKind, ResponseDetails},
    oauth::{SendError, check_issued},
    provider::ClientAuthentication,
};

/// How long a registration may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Registers the program at a server.
pub(super) async fn register(
    http: &dyn Http,
    endpoint: &str,
    server: &Server,
    name: &str,
    redirect_uri: &str,
    scopes: &Scopes,
) -> Result<Client, Error> {
    let method = method_to_register(server);
    let request = request(endpoint, name, redirect_uri, scopes, method)?;
    let response = http.transport().send(request, TIMEOUT).await;
    let response = response.map_err(|error| {
        let (SendError::NotSent(error)
        | SendError::ResponseLost(error)
        | SendError::ResponseCut(_, error)) = error;
        Error::new(error.kind(), format!("client registration: {error}")).with_source(error)
    })?;
    parse(&response, method, redirect_uri)
}

fn request(
    endpoint: &str,
    name: &str,
    redirect_uri: &str,
    scopes: &Scopes,
    method: ClientAuthentication,
) -> Result<Request<Bytes>, Error> {
    // RFC 8252: a native app has a redirect URI on loopback, or with a scheme of its own.
    let is_web = redirect_uri.starts_with("https://");
    let mut body = json!({
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method_name(method),
        "application_type": if is_web { "web" } else { "native" },
    });
    if !scopes.is_empty()
        && let Some(members) = body.as_object_mut()
    {
        members.insert("scope".to_owned(), scopes.to_string().into());
    }
    let mut request = Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.parse().map_err(|error| {
        invalid("its URL in the metadata cannot be requested").with_source(error)
    })?;
    let json = HeaderValue::from_static("application/json");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

/// The response of a registration. A repeated member is an error.
#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<Zeroizing<String>>,
    client_secret_expires_at: Option<u64>,
    token_endpoint_auth_method: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

fn parse(
    response: &Response<Bytes>,
    requested: ClientAuthentication,
    redirect_uri: &str,
) -> Result<Client, Error> {
    let status = response.status();
    if !matches!(status, StatusCode::CREATED | StatusCode::OK) {
        return Err(refused(response));
    }
    let registered: Registered = serde_json::from_slice(response.body()).map_err(|error| {
        // The error of serde_json shows no value.
        invalid("the response is not one of RFC 7591 section 3.2.1").with_source(error)
    })?;
    let secret = registered.client_secret.filter(|secret| !secret.is_empty());
    let authentication = match registered.token_endpoint_auth_method.as_deref() {
        Some("client_secret_basic") => ClientAuthentication::Basic,
        Some("client_secret_post") => ClientAuthentication::RequestBody,
        Some("none") => ClientAuthentication::None,
        Some(_) => {
            return Err(invalid(
                "the server registered another authentication method than the one that was \
                 requested, which this crate does not have",
            ));
        }
        None if secret.is_none() => ClientAuthentication::None,
        None => requested,
    };
    let needs_secret = authentication != ClientAuthentication::None;
    if needs_secret && secret.is_none() {
        return Err(invalid(
            "the server registered a client with a secret, and returned none",
        ));
    }
    if registered.client_id.is_empty() {
        return Err(invalid("the server returned an empty client id"));
    }
    let secret = secret.filter(|_| needs_secret);
    // What no request can carry would be kept, and fail with each of them.
    let issued = check_issued(
        &registered.client_id,
        secret.as_ref().map(|text| text.as_str()),
    );
    issued.map_err(|error| {
        invalid("the client id or secret cannot be sent: see the source").with_source(error)
    })?;
    Ok(Client {
        id: registered.client_id,
        authentication,
        origin: ClientOrigin::Registered(Registration {
            redirect_uri: redirect_uri.to_owned(),
            secret,
            secret_expires_at: registered.client_secret_expires_at.filter(|at| *at > 0),
        }),
    })
}

fn refused(response: &Response<Bytes>) -> Error {
    let status = response.status();
    let details = ResponseDetails {
        status: Some(status),
        ..ResponseDetails::default()
    };
    let number = status.as_u16();
    let error = match number {
        300..400 => invalid("the server responded with a redirect, which is not followed"),
        408 | 429 | 500.. => Error::new(
            ErrorKind::Unavailable,
            format!("client registration: the server is unavailable ({number}); try again later"),
        ),
        _ => Error::new(
            ErrorKind::Refused,
            format!(
                "client registration: the server refused it ({number}); register a client by hand \
                 and pass it as PreRegistered"
            ),
        ),
    };
    let error = error.with_response(details);
    match serde_json::from_slice::<Refused>(response.body()) {
        Ok(Refused { error: code }) => {
            let code: String = code.chars().take(64).collect();
            error.with_source(format!("the error code: {code:?}"))
        }
        Err(_) => error,
    }
}

fn invalid(problem: &str) -> Error {
    let message = format!("client registration: {problem}");
    Error::new(ErrorKind::InvalidResponse, message)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn parsed(status: u16, body: &str) -> Result<Client, Error> {
        let response = Response::builder().status(status);
        let response = response.body(Bytes::from(body.to_owned())).unwrap();
        parse(
            &response,
            ClientAuthentication::Basic,
            "http://127.0.0.1/cb",
        )
    }

    #[test]
    fn registered_method_is_the_one_of_the_response() {
        use ClientAuthentication::{Basic, None as Public, RequestBody};
        for (body, authentication, has_secret) in [
            (r#"{"client_id":"a"}"#, Public, false),
            (r#"{"client_id":"a","client_secret":"s"}"#, Basic, true),
            (r#"{"client_id":"a","client_secret":""}"#, Public, false),
            (
                r#"{"client_id":"a","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}"#,
                RequestBody,
                true,
            ),
            (
                r#"{"client_id":"a","client_secret":"s","token_endpoint_auth_method":"none"}"#,
                Public,
                false,
            ),
        ] {
            let client = parsed(201, body).unwrap();
            assert_eq!(client.authentication, authentication, "{body}");
            let ClientOrigin::Registered(registration) = client.origin else {
                panic!("registered");
            };
            assert_eq!(registration.secret.is_some(), has_secret, "{body}");
            assert_eq!(registration.secret_expires_at, None);
        }
    }

    #[test]
    fn wrong_responses_are_refused_and_named() {
        for (status, body, kind, problem) in [
            (201, "", ErrorKind::InvalidResponse, "RFC 7591"),
            (201, "{}", ErrorKind::InvalidResponse, "RFC 7591"),
            (
                201,
                r#"{"client_id":7}"#,
                ErrorKind::InvalidResponse,
                "RFC 7591",
            ),
            (
                201,
                r#"{"client_id":""}"#,
                ErrorKind::InvalidResponse,
                "empty client id",
            ),
            (
                201,
                r#"{"client_id":"a","client_id":"b"}"#,
                ErrorKind::InvalidResponse,
                "RFC 7591",
            ),
            (
                201,
                r#"{"client_id":"a","token_endpoint_auth_method":"client_secret_basic"}"#,
                ErrorKind::InvalidResponse,
                "returned none",
            ),
            (
                201,
                r#"{"client_id":"a","client_secret":"seeded","token_endpoint_auth_method":"x"}"#,
                ErrorKind::InvalidResponse,
                "another authentication method",
            ),
            (302, "", ErrorKind::InvalidResponse, "redirect"),
            (503, "", ErrorKind::Unavailable, "503"),
            (
                400,
                r#"{"error":"invalid_redirect_uri"}"#,
                ErrorKind::Refused,
                "refused it (400)",
            ),
        ] {
            let error = parsed(status, body).unwrap_err();
            assert_eq!(error.kind(), kind, "{body}");
            assert!(error.to_string().contains(problem), "{error}");
            assert!(!format!("{error:?}").contains("seeded"), "{error:?}");
        }
        let error = parsed(400, r#"{"error":"invalid_redirect_uri"}"#).unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(source.contains("invalid_redirect_uri"), "{source}");
    }

    #[test]
    fn registration_describes_the_client() {
        for (redirect_uri, kind) in [
            ("http://127.0.0.1:1/cb", "native"),
            ("com.example.app:/cb", "native"),
            ("https://app.example/cb", "web"),
        ] {
            let endpoint = "https://id.example.com/register";
            let scopes = Scopes::parse("a b");
            let method = ClientAuthentication::None;
            let request = request(endpoint, "App", redirect_uri, &scopes, method).unwrap();
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            assert_eq!(body["application_type"], kind);
            assert_eq!(body["redirect_uris"], json!([redirect_uri]));
            assert_eq!(
                body["grant_types"],
                json!(["authorization_code", "refresh_token"])
            );
            assert_eq!(body["token_endpoint_auth_method"], "none");
            assert_eq!(body["scope"], "a b");
        }
    }
}
