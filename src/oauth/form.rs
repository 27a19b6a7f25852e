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
    token::{ClientSecret, wiped},
};

/// Enough for a form with long tokens.
const CAPACITY: usize = 8 * 1024;

pub(super) struct Form(Zeroizing<String>);

impl Form {
    pub(super) fn new(grant_type: &str) -> Self {
        let mut form = Self::empty();
        form.field("grant_type", grant_type);
        form
    }

    pub(super) fn empty() -> Self {
        Self(Zeroizing::new(String::with_capacity(CAPACITY)))
    }

    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.reserve(2 + 3 * (name.len() + value.len()));
        form_urlencoded::Serializer::for_suffix(&mut *self.0, 0).append_pair(name, value);
    }

    /// Makes room for a field. A string that grows by itself leaves a copy of its secrets in memory
    /// that it frees, so a full one is replaced, and wiped.
    fn reserve(&mut self, additional: usize) {
        let length = self.0.len() + additional;
        if length > self.0.capacity() {
            let mut larger =
                Zeroizing::new(String::with_capacity(length.max(2 * self.0.capacity())));
            larger.push_str(&self.0);
            self.0 = larger;
        }
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
            (ClientAuthentication::Basic, Some(secret)) => Some(basic(client_id, secret)),
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
        let body = Zeroizing::new(std::mem::take(&mut *self.0).into_bytes());
        let mut request = Request::new(wiped(body));
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

/// Id and secret are form-encoded before they are joined by a colon (RFC 6749 section 2.3.1).
fn basic(client_id: &str, client_secret: &ClientSecret) -> HeaderValue {
    let (id, secret) = (encode(client_id), encode(client_secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
    let value = Zeroizing::new(format!("Basic {}", *encoded).into_bytes());
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_maybe_shared(wiped(value))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Form-encodes a text. The buffer never grows, because growing would leave a copy in memory.
fn encode(text: &str) -> Zeroizing<String> {
    // An encoded byte has at most three characters.
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
    encoded
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

    /// The capacity is that of one reservation. A string that grew by itself would have another.
    #[test]
    fn p21_form_grows_before_a_field_and_never_within_it() {
        let mut form = Form::new("refresh_token");
        let long = "&".repeat(CAPACITY);
        for name in ["refresh_token", "code_verifier"] {
            let length = form.0.len() + 2 + 3 * (name.len() + long.len());
            let expected = length.max(2 * form.0.capacity());
            form.field(name, &long);
            assert_eq!(form.0.capacity(), expected);
        }
        let encoded = "%26".repeat(CAPACITY);
        let expected =
            format!("grant_type=refresh_token&refresh_token={encoded}&code_verifier={encoded}");
        assert_eq!(*form.0, expected);
    }

    #[test]
    fn p21_encoding_a_secret_does_not_grow_its_buffer() {
        for text in ["se cret", "a/b+c&d=e", "&/=%&/=%&/=%", "\u{e9}\u{e9}\u{e9}"] {
            let encoded = encode(text);
            assert!(encoded.len() > text.len() || text == "se cret", "{text}");
            assert_eq!(encoded.capacity(), 3 * text.len(), "{text}");
        }
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
    }
}
