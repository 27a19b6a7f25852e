//! The shapes of requests that the benches send.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, COOKIE, ETAG,
        FORWARDED, HOST, IF_MATCH, ORIGIN, REFERER, TE, USER_AGENT,
    },
};
use http_body::{Body, Frame};

/// The shape of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No header, no body.
    Bare,
    /// Four headers whose values are static.
    FourHeaders,
    /// Four headers after `Host`, which RFC 9110 recommends as the first header.
    FourAndHost,
    /// Twenty headers, `Host` and six custom names among them. Their values are parts of one
    /// buffer, as in a request that a proxy forwards.
    Twenty,
    /// Four headers and a body of 1 KiB.
    WithBody,
    /// Four headers, and a URI that names the default port.
    DefaultPort,
    /// Four headers, and another port than the default one.
    OtherPort,
}

impl Shape {
    pub const ALL: [Self; 7] = [
        Self::Bare,
        Self::FourHeaders,
        Self::FourAndHost,
        Self::Twenty,
        Self::WithBody,
        Self::DefaultPort,
        Self::OtherPort,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "no headers",
            Self::FourHeaders => "four headers",
            Self::FourAndHost => "four headers and `Host`",
            Self::Twenty => "twenty headers, forwarded",
            Self::WithBody => "four headers, a body of 1 KiB",
            Self::DefaultPort => "four headers, URI with `:443`",
            Self::OtherPort => "four headers, URI with `:8443`",
        }
    }

    /// The origin of the request.
    pub fn origin(self) -> &'static str {
        match self {
            Self::OtherPort => "https://api.example.com:8443",
            _ => "https://api.example.com",
        }
    }

    /// Creates a request. Its URI is static. Of its headers, only the twenty are not.
    pub fn request<B: From<Bytes>>(self) -> Request<B> {
        let body = match self {
            Self::WithBody => Bytes::from_static(&[b'x'; 1_024]),
            _ => Bytes::new(),
        };
        let mut request = Request::new(B::from(body));
        *request.uri_mut() = Uri::from_static(match self {
            Self::DefaultPort => "https://api.example.com:443/v1/company",
            Self::OtherPort => "https://api.example.com:8443/v1/company",
            _ => "https://api.example.com/v1/company",
        });
        let headers = request.headers_mut();
        if self == Self::Twenty {
            let names = STANDARD
                .into_iter()
                .chain(CUSTOM.map(HeaderName::from_static));
            let values = Bytes::from(TWENTY_VALUES.concat());
            let mut start = 0;
            for (name, value) in names.zip(TWENTY_VALUES) {
                let value = values.slice(start..start + value.len());
                start += value.len();
                headers.insert(name, HeaderValue::from_maybe_shared(value).unwrap());
            }
        } else if self != Self::Bare {
            if self == Self::FourAndHost {
                headers.insert(HOST, HeaderValue::from_static("api.example.com"));
            }
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
            headers.insert(USER_AGENT, HeaderValue::from_static("bench"));
        }
        request
    }
}

const STANDARD: [HeaderName; 14] = [
    HOST,
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_TYPE,
    COOKIE,
    ETAG,
    FORWARDED,
    IF_MATCH,
    ORIGIN,
    REFERER,
    TE,
    USER_AGENT,
];

const CUSTOM: [&str; 6] = [
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "traceparent",
    "tracestate",
    "idempotency-key",
];

const TWENTY_VALUES: [&str; 20] = [
    "api.example.com",
    "application/json",
    "gzip, br",
    "en-US,en;q=0.8",
    "no-cache",
    "application/json",
    "session=5f2c9a1e7b3d4c6f8a0b1c2d3e4f5a6b; theme=dark",
    "\"33a64df551425fcc55e4d42a148795d9\"",
    "for=192.0.2.43;proto=https",
    "\"33a64df551425fcc55e4d42a148795d9\"",
    "https://app.example.com",
    "https://app.example.com/payroll/deductions",
    "trailers",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "0b9f5e1c-7f0e-4c3e-9a57-2f5a4f7f1d55",
    "192.0.2.43",
    "https",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "vendor=00f067aa0ba902b7",
    "8e03978e-40d5-43e8-bc93-6894a57f9324",
];

/// A request body that cannot be cloned, and whose length is not known beforehand.
#[derive(Debug)]
pub struct Streaming(Option<Bytes>);

impl From<Bytes> for Streaming {
    fn from(data: Bytes) -> Self {
        Self(Some(data))
    }
}

impl Body for Streaming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }
}
