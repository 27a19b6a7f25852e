//! The variants of `WWW-Authenticate`.

/// The `WWW-Authenticate` headers of a 401 from the API.
///
/// A 403 always has `Bearer error="insufficient_scope"`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// `Bearer realm="justworks", error="invalid_token"`; without `error` if the request had no
    /// token (RFC 6750, section 3.1).
    Standard,
    /// `Bearer`
    Bare,
    /// `bearer error="invalid_token"`
    LowerCase,
    /// `Basic realm="justworks", Bearer error="invalid_token"` in one header.
    TwoInOneHeader,
    /// `Basic realm="justworks"` and `Bearer error="invalid_token"`, each in its own header.
    TwoHeaders,
    /// `Basic realm="justworks"`
    BasicOnly,
    /// `Bearer error="insufficient_scope"`, although the status is 401.
    InsufficientScope,
    /// `Bearer error="invalid_request"`
    InvalidRequest,
    /// No header.
    Absent,
    /// This text in one header; no header if it is not a valid header value.
    Literal(String),
}

impl Challenge {
    /// One value per header.
    pub(super) fn values(&self, token_sent: bool) -> Vec<&str> {
        match self {
            Self::Standard if token_sent => {
                vec![r#"Bearer realm="justworks", error="invalid_token""#]
            }
            Self::Standard => vec![r#"Bearer realm="justworks""#],
            Self::Bare => vec!["Bearer"],
            Self::LowerCase => vec![r#"bearer error="invalid_token""#],
            Self::TwoInOneHeader => {
                vec![r#"Basic realm="justworks", Bearer error="invalid_token""#]
            }
            Self::TwoHeaders => vec![
                r#"Basic realm="justworks""#,
                r#"Bearer error="invalid_token""#,
            ],
            Self::BasicOnly => vec![r#"Basic realm="justworks""#],
            Self::InsufficientScope => vec![r#"Bearer error="insufficient_scope""#],
            Self::InvalidRequest => vec![r#"Bearer error="invalid_request""#],
            Self::Absent => vec![],
            Self::Literal(text) => vec![text],
        }
    }
}
