//! The body of a request to the token or revocation endpoint.

use arc_swap::ArcSwapOption;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use zeroize::Zeroizing;

use crate::{
    dpop::{DPOP, GrantKey, ProofContext},
    error::Error,
    provider::{BodyFormat, ClientAuthentication, ParameterNames},
    token::{ClientSecret, SecretBuffer, wiped},
};

/// Enough for a form with long tokens.
const CAPACITY: usize = 8 * 1024;

const BASIC: &str = "Basic ";

/// The names and values of a request, as a form or as a JSON object of texts.
pub(super) struct Form<'a> {
    body: SecretBuffer,
    format: BodyFormat,
    names: &'a ParameterNames,
}

/// A request without its credentials. It is written anew for each attempt, because some credentials are
/// valid for one request only.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) endpoint: Uri,
    pub(super) form: Form<'a>,
    /// `None` for a request that the client does not authenticate.
    pub(super) credentials: Option<Credentials<'a>>,
    pub(super) user_agent: &'a HeaderValue,
    /// The header of an access token, for a request that one authenticates.
    pub(super) access_token: Option<(HeaderName, HeaderValue)>,
    /// For a request that carries DPoP proofs.
    pub(super) proof: Option<Proof<'a>>,
}

/// How the DPoP proofs of a request are made: one for each attempt.
#[derive(Clone, Copy)]
pub(super) struct Proof<'a> {
    pub(super) key: &'a GrantKey,
    pub(super) context: &'a ProofContext,
}

/// The credentials of a client, and how they are sent.
pub(super) struct Credentials<'a> {
    pub(super) authentication: ClientAuthentication,
    pub(super) id: &'a str,
    /// The newest one is sent.
    pub(super) secret: &'a ArcSwapOption<ClientSecret>,
}

impl Outgoing<'_> {
    /// The request of one attempt.
    pub(super) async fn to_request(&self) -> Result<Request<Bytes>, Error> {
        let mut form = self.form.copied();
        let authorization = self
            .credentials
            .as_ref()
            .and_then(|credentials| form.authorize(credentials));
        let mut request = form.into_request();
        *request.method_mut() = self.method.clone();
        request.uri_mut().clone_from(&self.endpoint);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without this header, RFC 9110 section 12.5.3 permits every encoding.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        if let Some((name, value)) = &self.access_token {
            headers.insert(name, value.clone());
        }
        if let Some(Proof { key, context }) = self.proof {
            let proof = context.proof(key, &self.method, &self.endpoint, None)?;
            headers.insert(DPOP, proof);
        }
        Ok(request)
    }

    /// Learns the nonce of a response. Returns whether the next attempt has one to use.
    pub(super) fn learn_nonce(&self, response: &Response<Bytes>) -> bool {
        let headers = response.headers();
        self.proof
            .is_some_and(|proof| proof.context.learn(&self.endpoint, headers))
    }
}

impl<'a> Form<'a> {
    pub(super) fn empty(format: BodyFormat, names: &'a ParameterNames) -> Self {
        Self {
            body: SecretBuffer::with_capacity(CAPACITY),
            format,
            names,
        }
    }

    /// Adds a parameter of RFC 6749, which may have another name at the provider.
    pub(super) fn standard(&mut self, name: &str, value: &str) {
        self.field(self.names.of(name), value);
    }

    /// Adds a parameter with exactly this name.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        let is_first = self.body.len() == 0;
        match self.format {
            BodyFormat::Form => {
                if !is_first {
                    self.body.push(b"&");
                }
                encode(name, &mut self.body);
                self.body.push(b"=");
                encode(value, &mut self.body);
            }
            BodyFormat::Json => {
                self.body.push(if is_first { b"{" } else { b"," });
                escape(name, &mut self.body);
                self.body.push(b":");
                escape(value, &mut self.body);
            }
        }
    }

    /// A copy in memory of its own, which is wiped too.
    fn copied(&self) -> Self {
        let mut body = SecretBuffer::with_capacity(CAPACITY.max(self.body.len()));
        body.push(self.body.as_slice());
        Self { body, ..*self }
    }

    /// A request with the form as its body. Without a name and a value, it has no body.
    fn into_request(mut self) -> Request<Bytes> {
        if self.body.len() == 0 {
            return Request::new(Bytes::new());
        }
        let content_type = match self.format {
            BodyFormat::Form => "application/x-www-form-urlencoded",
            BodyFormat::Json => {
                self.body.push(b"}");
                "application/json"
            }
        };
        let mut request = Request::new(self.body.into_bytes());
        let content_type = HeaderValue::from_static(content_type);
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        request
    }

    /// Adds credentials to the body, or returns the header that contains them. One method only: RFC
    /// 6749 section 2.3 forbids a second in the same request.
    fn authorize(&mut self, credentials: &Credentials<'_>) -> Option<HeaderValue> {
        let id = credentials.id;
        let secret = credentials.secret.load();
        match (credentials.authentication, secret.as_deref()) {
            (ClientAuthentication::Basic, Some(secret)) => Some(basic(id, secret, encode)),
            (ClientAuthentication::BasicRaw, Some(secret)) => {
                let raw = |text: &str, pair: &mut SecretBuffer| pair.push(text.as_bytes());
                Some(basic(id, secret, raw))
            }
            (ClientAuthentication::RequestBody, Some(secret)) => {
                self.standard("client_id", id);
                self.standard("client_secret", secret.expose());
                None
            }
            // A public client (RFC 6749 section 3.2.1). The builder ensures that every other client
            // has a secret.
            (ClientAuthentication::None, _) | (_, None) => {
                self.standard("client_id", id);
                None
            }
        }
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

/// Writes a text as a JSON string (RFC 8259 section 7).
fn escape(text: &str, buffer: &mut SecretBuffer) {
    buffer.push(b"\"");
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
        let (plain, behind) = rest.split_at(at);
        buffer.push(plain);
        let Some((byte, behind)) = behind.split_first() else {
            break;
        };
        if let b'"' | b'\\' = byte {
            buffer.push(&[b'\\', *byte]);
        } else {
            // Control characters are below 0x20.
            let digit = b"0123456789abcdef".get(usize::from(byte & 0xf));
            let digits = [b'0' + (byte >> 4), digit.copied().unwrap_or(b'0')];
            buffer.push(b"\\u00");
            buffer.push(&digits);
        }
        rest = behind;
    }
    buffer.push(rest);
    buffer.push(b"\"");
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn written(
        format: BodyFormat,
        names: &ParameterNames,
        authentication: ClientAuthentication,
    ) -> Request<Bytes> {
        let mut form = Form::empty(format, names);
        form.standard("grant_type", "refresh_token");
        form.standard("refresh_token", "r 1&=\"");
        let secret = ArcSwapOption::from_pointee(ClientSecret::new("se cret"));
        let credentials = Credentials {
            authentication,
            id: "id:x",
            secret: &secret,
        };
        sent(form, Some(credentials))
    }

    fn sent(form: Form<'_>, credentials: Option<Credentials<'_>>) -> Request<Bytes> {
        let outgoing = Outgoing {
            method: Method::POST,
            endpoint: Uri::from_static("https://id.example.com/token"),
            form,
            credentials,
            user_agent: &HeaderValue::from_static("product/1"),
            access_token: None,
            proof: None,
        };
        let first = tokio_test::block_on(outgoing.to_request()).unwrap();
        let second = tokio_test::block_on(outgoing.to_request()).unwrap();
        assert_eq!(first.body(), second.body());
        first
    }

    fn request(authentication: ClientAuthentication) -> Request<Bytes> {
        written(BodyFormat::Form, &ParameterNames::default(), authentication)
    }

    #[test]
    fn p22_credentials_are_sent_by_one_method_only() {
        let in_body = request(ClientAuthentication::RequestBody);
        assert!(in_body.headers().get(AUTHORIZATION).is_none());
        assert_eq!(
            in_body.body(),
            "grant_type=refresh_token&refresh_token=r+1%26%3D%22&client_id=id%3Ax&client_secret=se+cret"
        );

        let basic = request(ClientAuthentication::Basic);
        assert_eq!(
            basic.body(),
            "grant_type=refresh_token&refresh_token=r+1%26%3D%22"
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
    #[test]
    fn json_contains_the_same_texts_as_a_form() {
        let mut names = ParameterNames::default();
        names.set("client_id".to_owned(), "client_key".to_owned());
        for authentication in [
            ClientAuthentication::RequestBody,
            ClientAuthentication::Basic,
            ClientAuthentication::BasicRaw,
            ClientAuthentication::None,
        ] {
            let form = written(BodyFormat::Form, &names, authentication);
            let json = written(BodyFormat::Json, &names, authentication);
            let expected: BTreeMap<String, String> =
                form_urlencoded::parse(form.body()).into_owned().collect();
            let texts: BTreeMap<String, String> = serde_json::from_slice(json.body()).unwrap();
            assert_eq!(texts, expected);
            let is_in_header = json.headers().contains_key(AUTHORIZATION);
            assert_ne!(texts.contains_key("client_key"), is_in_header);
            assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
            assert_eq!(
                json.headers().get(AUTHORIZATION),
                form.headers().get(AUTHORIZATION)
            );
        }
    }

    #[test]
    fn request_without_a_parameter_has_no_body() {
        for format in [BodyFormat::Form, BodyFormat::Json] {
            let names = ParameterNames::default();
            let request = sent(Form::empty(format, &names), None);
            assert!(request.body().is_empty());
            assert!(!request.headers().contains_key(CONTENT_TYPE));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_escaped_as_a_json_library_reads_it(text in proptest::prelude::any::<String>()) {
            let mut buffer = SecretBuffer::default();
            escape(&text, &mut buffer);
            let read: String = serde_json::from_slice(&buffer.into_vec()).unwrap();
            proptest::prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn each_control_character_is_escaped() {
        let text: String = (0..=0x7f_u8).map(char::from).collect();
        let mut buffer = SecretBuffer::default();
        escape(&text, &mut buffer);
        let read: String = serde_json::from_slice(&buffer.into_vec()).unwrap();
        assert_eq!(read, text);
    }
}
