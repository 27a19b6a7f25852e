//! The body of a request to the token or revocation endpoint.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use zeroize::Zeroizing;

use crate::{
    provider::ClientAuthentication,
    token::{ClientSecret, SecretBuffer, wiped},
};

/// Enough for a form with long tokens.
const CAPACITY: usize = 8 * 1024;

const BASIC: &str = "Basic ";

pub(super) struct Form(SecretBuffer);

impl Form {
    pub(super) fn new(grant_type: &str) -> Self {
        let mut form = Self::empty();
        form.field("grant_type", grant_type);
        form
    }

    pub(super) fn empty() -> Self {
        Self(SecretBuffer::with_capacity(CAPACITY))
    }

    pub(super) fn field(&mut self, name: &str, value: &str) {
        if self.0.len() > 0 {
            self.0.push(b"&");
        }
        encode(name, &mut self.0);
        self.0.push(b"=");
        encode(value, &mut self.0);
    }

    pub(super) fn into_request(
        mut self,
        endpoint: Uri,
        authentication: ClientAuthentication,
        client_id: &str,
        client_secret: Option<&ClientSecret>,
        user_agent: HeaderValue,
    ) -> Request<Bytes> {
        // One method only: RFC 6749 section 2.3 forbids a second in the same request.
        let authorization = match (authentication, client_secret) {
            (ClientAuthentication::Basic, Some(secret)) => Some(basic(client_id, secret, encode)),
            (ClientAuthentication::BasicRaw, Some(secret)) => {
                let raw = |text: &str, pair: &mut SecretBuffer| pair.push(text.as_bytes());
                Some(basic(client_id, secret, raw))
            }
            (ClientAuthentication::RequestBody, Some(secret)) => {
                self.field("client_id", client_id);
                self.field("client_secret", secret.expose());
                None
            }
            // A public client (RFC 6749 section 3.2.1). The builder ensures that every other client
            // has a secret.
            (ClientAuthentication::None, _) | (_, None) => {
                self.field("client_id", client_id);
                None
            }
        };
        let mut request = Request::new(self.0.into_bytes());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint;
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without this header, RFC 9110 section 12.5.3 permits every encoding.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, user_agent);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        request
    }
}

/// The header of both, which are form-encoded for [`ClientAuthentication::Basic`] (RFC 6749 section
/// 2.3.1).
fn basic(
    client_id: &str,
    client_secret: &ClientSecret,
    encode: fn(&str, &mut SecretBuffer),
) -> HeaderValue {
    // An encoded byte has at most three characters.
    let capacity = 3 * (client_id.len() + client_secret.expose().len()) + 1;
    let mut pair = SecretBuffer::with_capacity(capacity);
    encode(client_id, &mut pair);
    pair.push(b":");
    encode(client_secret.expose(), &mut pair);
    let pair = pair.into_vec();
    let mut value = Zeroizing::new(String::with_capacity(
        BASIC.len() + 4 * pair.len().div_ceil(3),
    ));
    value.push_str(BASIC);
    BASE64_STANDARD.encode_string(&*pair, &mut value);
    let value = Zeroizing::new(std::mem::take(&mut *value).into_bytes());
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_maybe_shared(wiped(value))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Form-encodes a text.
fn encode(text: &str, buffer: &mut SecretBuffer) {
    for part in form_urlencoded::byte_serialize(text.as_bytes()) {
        buffer.push(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authentication: ClientAuthentication) -> Request<Bytes> {
        let mut form = Form::new("refresh_token");
        form.field("refresh_token", "r 1&=");
        form.into_request(
            Uri::from_static("https://id.example.com/token"),
            authentication,
            "id:x",
            Some(&ClientSecret::new("se cret")),
            HeaderValue::from_static("product/1"),
        )
    }

    #[test]
    fn p22_credentials_are_sent_by_one_method_only() {
        let in_body = request(ClientAuthentication::RequestBody);
        assert!(in_body.headers().get(AUTHORIZATION).is_none());
        assert_eq!(
            in_body.body(),
            "grant_type=refresh_token&refresh_token=r+1%26%3D&client_id=id%3Ax&client_secret=se+cret"
        );

        let basic = request(ClientAuthentication::Basic);
        assert_eq!(
            basic.body(),
            "grant_type=refresh_token&refresh_token=r+1%26%3D"
        );
        let header = basic.headers().get(AUTHORIZATION).unwrap();
        assert!(header.is_sensitive());
        // Base64 of "id%3Ax:se+cret"
        assert_eq!(header, "Basic aWQlM0F4OnNlK2NyZXQ=");

        let raw = request(ClientAuthentication::BasicRaw);
        assert_eq!(raw.body(), basic.body());
        // Base64 of "id:x:se cret"
        let header = raw.headers().get(AUTHORIZATION).unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Basic aWQ6eDpzZSBjcmV0");
    }
}
