//! The body of a request to the token or revocation endpoint.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    authentication::{Authentication, ClientCredentials, Presented, Target},
    form_encoding::encode,
    scrub::Secrets,
};
use crate::{
    clock::Clock,
    dpop::{DPOP, GrantKey, ProofContext},
    error::Error,
    provider::{BodyFormat, ClientAuthentication, ParameterNames},
    token::{SecretBuffer, wiped},
};

/// Enough for a form with long tokens.
const CAPACITY: usize = 8 * 1024;

/// The names and values of a request, as a form or as a JSON object of texts.
pub(super) struct Form<'a> {
    body: SecretBuffer,
    format: BodyFormat,
    names: &'a ParameterNames,
    /// The names of its parameters.
    used: Vec<String>,
}

/// A request without its credentials. It is written again for each attempt, because some
/// credentials are valid for one request only.
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

/// How the client authenticates a request, and what it has sent for that.
pub(super) struct Credentials<'a> {
    pub(super) authentication: &'a Authentication,
    /// The method of the provider's data for this request, if it is another one.
    pub(super) other_method: Option<ClientAuthentication>,
    pub(super) client_id: &'a str,
    pub(super) audience: String,
    pub(super) clock: &'a dyn Clock,
    pub(super) presented: Presented,
}

impl Outgoing<'_> {
    /// The secrets of the request, which the provider may repeat: these, and the credentials that
    /// its attempts have sent.
    pub(super) fn secrets(&self, others: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for secret in others {
            secrets.add(secret);
        }
        if let Some(credentials) = &self.credentials {
            credentials
                .presented
                .add_to(&mut secrets, credentials.client_id);
        }
        secrets
    }

    /// The request of one attempt. The client's credentials have until the deadline.
    pub(super) async fn to_request(&self, deadline: Instant) -> Result<Request<Bytes>, Error> {
        let mut form = self.form.copied();
        let credentials = match &self.credentials {
            Some(credentials) => Some(self.credentials(credentials, deadline).await?),
            None => None,
        };
        if let Some(credentials) = &credentials {
            form.add_credentials(credentials, &self.method)
                .map_err(Error::with_local_failure)?;
        }
        let mut request = form.into_request();
        *request.method_mut() = self.method.clone();
        request.uri_mut().clone_from(&self.endpoint);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without this header, RFC 9110 section 12.5.3 permits every encoding.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some((name, value)) = &self.access_token {
            headers.insert(name, value.clone());
        }
        if let Some(Proof { key, context }) = self.proof {
            let proof = context.proof(key, &self.method, &self.endpoint, None);
            headers.insert(DPOP, proof.map_err(Error::with_local_failure)?);
        }
        if let (Some(sent), Some(credentials)) = (&self.credentials, credentials) {
            add_headers(headers, &credentials).map_err(Error::with_local_failure)?;
            sent.presented.add(credentials);
        }
        Ok(request)
    }

    /// Learns the nonce of a response. Returns whether the next attempt has one to use.
    pub(super) fn learn_nonce(&self, response: &Response<Bytes>) -> bool {
        let headers = response.headers();
        self.proof
            .is_some_and(|proof| proof.context.learn(&self.endpoint, headers))
    }

    async fn credentials(
        &self,
        credentials: &Credentials<'_>,
        deadline: Instant,
    ) -> Result<ClientCredentials, Error> {
        let target = Target {
            client_id: credentials.client_id,
            method: &self.method,
            endpoint: &self.endpoint,
            audience: &credentials.audience,
            names: self.form.names,
            now: credentials.clock.wall(),
            other_method: credentials.other_method,
        };
        let authentication = credentials.authentication;
        authentication.credentials(&target, deadline).await
    }
}

impl<'a> Form<'a> {
    pub(super) fn empty(format: BodyFormat, names: &'a ParameterNames) -> Self {
        Self {
            body: SecretBuffer::with_capacity(CAPACITY),
            format,
            names,
            used: Vec::new(),
        }
    }

    /// Adds a parameter of RFC 6749, which may have another name at the provider.
    pub(super) fn standard(&mut self, name: &str, value: &str) {
        self.field(self.names.of(name), value);
    }

    /// Adds a parameter with exactly this name.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        let is_first = self.body.len() == 0;
        self.used.push(name.to_owned());
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
        Self {
            body,
            used: self.used.clone(),
            ..*self
        }
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

    /// Adds the parameters of credentials. One method only, and each parameter once: RFC 6749
    /// sections 2.3 and 3.2 forbid a second one.
    fn add_credentials(
        &mut self,
        credentials: &ClientCredentials,
        method: &Method,
    ) -> Result<(), Error> {
        for (name, value) in &credentials.parameters {
            if self.used.iter().any(|used| used == name) {
                // A pushed authorization request contains the client id in any case.
                if name == self.names.of("client_id") {
                    continue;
                }
                return Err(Error::configuration(
                    "client authenticator: it returned a parameter that the request already has; \
                     remove it",
                ));
            }
            if method == Method::GET {
                return Err(Error::configuration(
                    "client authenticator: it returned a parameter for a GET, which has no body; \
                     use a header",
                ));
            }
            self.field(name, value);
        }
        Ok(())
    }
}

/// Headers that clients, servers and proxies interpret or remove themselves.
const OF_THE_MESSAGE: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Adds the headers of credentials.
fn add_headers(headers: &mut HeaderMap, credentials: &ClientCredentials) -> Result<(), Error> {
    for (name, value) in &credentials.headers {
        if headers.contains_key(name) || OF_THE_MESSAGE.contains(&name.as_str()) {
            return Err(Error::configuration(
                "client authenticator: it returned a header that the request already has, or that \
                 describes the message; remove it",
            ));
        }
        let bytes = wiped(Zeroizing::new(value.as_bytes().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(bytes).map_err(|_| {
            Error::configuration(
                "client authenticator: it returned a header with characters that no header can \
                 contain; encode them",
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
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

    use http::header::AUTHORIZATION;

    use super::*;
    use crate::{clock::SystemClock, oauth::authentication::Means, token::ClientSecret};

    fn written(
        format: BodyFormat,
        names: &ParameterNames,
        authentication: ClientAuthentication,
    ) -> Request<Bytes> {
        let mut form = Form::empty(format, names);
        form.standard("grant_type", "refresh_token");
        form.standard("refresh_token", "r 1&=\"");
        let means = Means {
            client_secret: Some(ClientSecret::new("se cret")),
            ..Means::default()
        };
        let authentication = Authentication::new(authentication, means);
        let credentials = Credentials {
            authentication: &authentication,
            other_method: None,
            client_id: "id:x",
            audience: String::new(),
            clock: &SystemClock,
            presented: Presented::default(),
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
        let request = || tokio_test::block_on(outgoing.to_request(Instant::now()));
        let (first, second) = (request().unwrap(), request().unwrap());
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
