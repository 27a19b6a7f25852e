//! What did not work, for a person and for a log.

use std::fmt;

use axum::response::Response;
use http::StatusCode;

use super::page;
use crate::{
    axum as glue,
    error::{Error, OAuthErrorCode},
    token::TenantId,
};

/// Why a customer was not connected or disconnected: whose fault it is, and what to do.
///
/// Its `Display` is a text for the person in front of the browser. What a log needs beside that is its
/// [`error`](Self::error). Neither holds the code, the state, or anything else that came with the request.
#[derive(Clone, Debug)]
pub struct ConnectFailure {
    kind: ConnectFailureKind,
    tenant: Option<TenantId>,
    error: Option<Error>,
}

/// What a [`ConnectFailure`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailureKind {
    /// The callback belongs to nothing that was begun in this browser: it was begun in another one, or never; it took more
    /// than ten minutes; or it was finished already.
    NotPending,
    /// The provider sent the browser back with an error, without a code, or with an answer that is another provider's.
    Provider,
    /// Another request with the same callback came first, and has not connected the tenant yet.
    InProgress,
    /// The provider gave no tokens for the code.
    Exchange,
    /// The store failed while connecting. If that was before the code was sent, the same callback may be loaded again; if after it, the tokens
    /// are lost.
    Store,
    /// Another site, or nobody knows who, asked to disconnect.
    CrossSite,
    /// The end of the grant could not be stored: other replicas may still use it. The provider may have been told.
    NotPersisted,
    /// The grant has ended here, and nothing uses it any more, but the provider could not be told.
    ProviderNotNotified,
    /// The program is at fault, or is about to end.
    Program,
}

impl ConnectFailureKind {
    /// The kind as telemetry spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotPending => "not_pending",
            Self::Provider => "provider",
            Self::InProgress => "in_progress",
            Self::Exchange => "exchange",
            Self::Store => "store",
            Self::CrossSite => "cross_site",
            Self::NotPersisted => "not_persisted",
            Self::ProviderNotNotified => "provider_not_notified",
            Self::Program => "program",
        }
    }
}

impl ConnectFailure {
    pub(super) fn new(kind: ConnectFailureKind) -> Self {
        Self {
            kind,
            tenant: None,
            error: None,
        }
    }

    pub(super) fn of(self, tenant: &TenantId) -> Self {
        Self {
            tenant: Some(tenant.clone()),
            ..self
        }
    }

    pub(super) fn because(self, error: Error) -> Self {
        Self {
            error: Some(error),
            ..self
        }
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> ConnectFailureKind {
        self.kind
    }

    /// Whose, if that is known.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// What is behind it, if there is something.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The status of the [page](Self::page).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match (self.kind, &self.error) {
            (ConnectFailureKind::NotPending | ConnectFailureKind::Provider, _) => {
                StatusCode::BAD_REQUEST
            }
            (ConnectFailureKind::InProgress, _) => StatusCode::CONFLICT,
            (ConnectFailureKind::CrossSite, _) => StatusCode::FORBIDDEN,
            (_, Some(error)) => glue::status(error),
            (_, None) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A plain page that says all this, with a link to begin again where that helps. It has no script and no style, and may
    /// not be framed.
    #[must_use]
    pub fn page(&self) -> Response {
        page::failed(self)
    }

    /// Whether there is something to begin again.
    pub(super) fn is_begun_again(&self) -> bool {
        !matches!(
            self.kind,
            ConnectFailureKind::CrossSite
                | ConnectFailureKind::NotPersisted
                | ConnectFailureKind::ProviderNotNotified
        )
    }

    fn text(&self) -> &'static str {
        let code = self.error.as_ref().and_then(Error::oauth_code);
        match (self.kind, code) {
            (ConnectFailureKind::NotPending, _) => {
                "This was not begun in this browser, took more than ten minutes, or is done already. If the connection is \
                 not there, please start again."
            }
            (
                ConnectFailureKind::Provider,
                Some(OAuthErrorCode::ServerError | OAuthErrorCode::TemporarilyUnavailable),
            ) => {
                "The other service is out of order at the moment. Please start again in a few minutes."
            }
            (ConnectFailureKind::Provider, _) => {
                "The other service did not answer as it should. Please start again; if this comes back, tell our support."
            }
            (ConnectFailureKind::InProgress, _) => {
                "The connection is being made at this moment. Please look again in a minute; if it is not there, start again."
            }
            (ConnectFailureKind::Exchange, Some(OAuthErrorCode::InvalidGrant)) => {
                "The other service says that this took too long, or was done already. Please start again."
            }
            (ConnectFailureKind::Exchange, Some(_)) => {
                "The other service refuses the connection. This is for us to mend: please tell our support."
            }
            (ConnectFailureKind::Exchange, None) => {
                "The other service cannot be reached at the moment. Please start again in a few minutes."
            }
            (ConnectFailureKind::Store, _) => {
                "We cannot keep the connection at the moment. Please start again in a few minutes."
            }
            (ConnectFailureKind::CrossSite, _) => {
                "This was not asked for from our own pages, and nothing was changed. Please use the button there."
            }
            (ConnectFailureKind::NotPersisted, _) => {
                "The connection could not be ended at the moment. Please try again in a few minutes."
            }
            (ConnectFailureKind::ProviderNotNotified, _) => {
                "The connection has ended, and we do not use it any more, but the other service could not be told. Please \
                 remove it there as well."
            }
            (ConnectFailureKind::Program, _) => {
                "Something is wrong on our side. Please try again in a few minutes; if this comes back, tell our support."
            }
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self.error.as_ref().and_then(Error::oauth_code) {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}
