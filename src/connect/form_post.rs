//! `POST /callback`: the browser comes back with the parameters in a form (OAuth 2.0 Form Post
//! Response Mode).
//!
//! The request comes from the provider's site. Browsers send no `SameSite` cookie with it: not that
//! of the flow, and rarely that of the program's session. Therefore the browser is redirected to
//! `GET /callback`, with the form as the query. To that request it adds the cookies. This route has
//! no other effect.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderMap, header::CONTENT_TYPE, request::Parts};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler,
    callback::{MAX_QUERY_LENGTH, state_parameter},
    page,
    state::ConnectState,
};
use crate::{
    error::{Error, ErrorKind},
    token::SecretBuffer,
};

const TOO_LARGE: &str = "it is larger than 16 KiB";

/// How long the form may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn form_post<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
    body: Body,
) -> Response {
    let location = match timeout(BODY_TIMEOUT, read(&request.headers, body)).await {
        Ok(form) => form.and_then(|form| location(own_query(state), &form)),
        Err(_) => Err("it did not arrive within 10 seconds"),
    };
    let redirect = location.and_then(|location| {
        page::redirect(&location).ok_or("it contains bytes that a URL cannot contain")
    });
    redirect.unwrap_or_else(|problem| state.failed(request, &unusable(problem)))
}

/// The query of the redirect URI, which the parameters follow as in a redirect (RFC 6749 section
/// 3.1.2). It is not that of the request, which can be anything.
fn own_query<H>(state: &ConnectState<H>) -> &str {
    let redirect_uri = state.oauth.redirect_uri().unwrap_or_default();
    redirect_uri.split_once('?').map_or("", |(_, query)| query)
}

/// Reads a form of at most [`MAX_QUERY_LENGTH`], or returns what is wrong.
async fn read(headers: &HeaderMap, mut body: Body) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    if !is_form(headers) {
        return Err("its content type is not application/x-www-form-urlencoded");
    }
    let mut form = SecretBuffer::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err("its body ended early");
        };
        if let Ok(data) = frame.into_data() {
            if data.len() > MAX_QUERY_LENGTH - form.len() {
                return Err(TOO_LARGE);
            }
            form.push(&data);
        }
    }
    Ok(form.into_vec())
}

/// Whether the only `Content-Type` names a form, with any parameters.
fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    value.to_str().is_ok_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        let media_type = media_type.trim();
        media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// The reference to `GET /callback` with the form as its query, or what is wrong with the form.
///
/// It has no path. The browser resolves it against the URL that it has sent the form to (RFC 3986
/// section 5.2.2), so it cannot lead anywhere else, wherever the router is nested and whatever a
/// proxy in front of it rewrites.
fn location(own_query: &str, form: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let form = str::from_utf8(form).ok().filter(|form| is_encoded(form));
    let form = form.ok_or("it is not encoded as a form")?;
    let separator = if own_query.is_empty() { "" } else { "&" };
    let parts = ["?", own_query, separator, form];
    let length = parts.iter().map(|part| part.len()).sum();
    if length > "?".len() + MAX_QUERY_LENGTH {
        return Err(TOO_LARGE);
    }
    let mut location = Zeroizing::new(String::with_capacity(length));
    for part in parts {
        location.push_str(part);
    }
    // Checked as the next request will be, so that it is not sent in vain.
    state_parameter(&location[1..]).ok_or("it has no state, or several")?;
    Ok(location)
}

/// Whether the text is encoded as browsers encode a form: each byte that has a meaning in a URL or
/// a header is escaped. The escapes may stand for any bytes, as in a query.
fn is_encoded(form: &str) -> bool {
    let mut bytes = form.bytes();
    while let Some(byte) = bytes.next() {
        let is_valid = match byte {
            b'%' => {
                let escape = (bytes.next(), bytes.next());
                matches!(escape, (Some(high), Some(low))
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
            }
            _ => byte.is_ascii_alphanumeric() || b"*-._~+&=".contains(&byte),
        };
        if !is_valid {
            return false;
        }
    }
    true
}

fn unusable(problem: &'static str) -> ConnectFailure {
    let message = format!("the form of a callback cannot be used: {problem}; start again");
    ConnectFailure::new(ConnectFailureKind::NotPending)
        .because(Error::new(ErrorKind::Callback, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p23_location_has_no_path_and_keeps_the_form_as_it_is() {
        let form = b"code=a%2Fb+c&state=s1&iss=https%3A%2F%2Fid.example.com&x";
        let form_text = str::from_utf8(form).unwrap();
        let found = location("", form).unwrap();
        assert_eq!(*found, format!("?{form_text}"));
        let found = location("a=b&c", form).unwrap();
        assert_eq!(*found, format!("?a=b&c&{form_text}"));
    }

    #[test]
    fn p23_only_what_browsers_send_is_a_form() {
        for good in ["state=%00", "state=%ff%FF", "state=-._~*", "a&&=&state=1"] {
            assert!(location("", good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            &b""[..],
            b"code=c1",
            b"state=1&state=2",
            b"state=1&sta%74e=2",
            b"state=%",
            b"state=%4",
            b"state=%4&x=y",
            b"state=%zz",
            b"state=1#x",
            b"state=1?",
            b"state=1 2",
            b"state=1;x=y",
            b"state=1/..//evil.example",
            b"state=1\r\nset-cookie: a=b",
            b"state=1\0",
            b"state=\xc3\xb6",
            b"state=\xff",
        ] {
            assert!(location("", bad).is_err(), "{}", bad.escape_ascii());
        }
        // The redirect URI has a state of its own.
        assert!(location("state=0", b"state=1").is_err());
    }

    #[test]
    fn p23_one_content_type_names_a_form() {
        let is_form = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, http::HeaderValue::from_static(value));
            }
            is_form(&headers)
        };
        assert!(is_form(&["application/x-www-form-urlencoded"]));
        assert!(is_form(&[
            "Application/X-WWW-Form-URLEncoded ; charset=UTF-8"
        ]));
        for bad in [
            &[][..],
            &[""],
            &["text/plain"],
            &["multipart/form-data; boundary=application/x-www-form-urlencoded"],
            &["application/x-www-form-urlencoded2"],
            &["text/plain, application/x-www-form-urlencoded"],
            &["application/x-www-form-urlencoded", "text/plain"],
        ] {
            assert!(!is_form(bad), "{bad:?}");
        }
    }
}
