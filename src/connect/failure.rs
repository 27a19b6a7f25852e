//! Failures, for the customer and for a log.

use std::fmt;

use http::StatusCode;

use crate::{
    axum as glue,
    error::{Error, ErrorKind, OAuthErrorCode},
    token::TenantId,
};

/// Why a customer could not be connected or disconnected.
///
/// The `Display` text is for the customer. A log additionally needs the [`error`](Self::error).
/// Neither contains the code, the `state`, or any other part of the request.
#[derive(Clone, Debug)]
pub struct ConnectFailure {
    kind: ConnectFailureKind,
    tenant: Option<TenantId>,
    error: Option<Error>,
}

/// The category of a [`ConnectFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailureKind {
    /// The callback matches no pending flow of this browser. The flow was started in another
    /// browser or not at all, has expired after ten minutes, or is finished. Or the
    /// [form](crate::connect#callbacks-by-form_post) of a callback cannot be used; the
    /// [error](ConnectFailure::error) then says why.
    NotPending,
    /// The provider redirected the browser with an error, without a code, with the issuer of
    /// another provider, or with a [kept value](crate::provider#kept-values) that is wrong.
    Provider,
    /// The authorization request could not be
    /// [pushed](crate::oauth::OAuthClient::start_authorization). The browser was not redirected.
    AuthorizationRequest,
    /// A value of [`ConnectHandler::connect_values`](super::ConnectHandler::connect_values) does
    /// not match its pattern, is missing or is too large. The browser was not redirected.
    InvalidValue,
    /// Another replica is exchanging the code of the same callback, or ended meanwhile. Or the code
    /// of another flow of this tenant is being exchanged: each tenant exchanges one code at a time.
    /// This code was then not sent, and the browser may repeat the callback.
    InProgress,
    /// Another replica got the same callback first, and failed to connect the tenant. Its failure
    /// says why.
    FailedElsewhere,
    /// The code exchange failed.
    CodeExchange,
    /// The store failed while connecting, or the tenant was disconnected meanwhile.
    ///
    /// If it failed before the code was sent, the browser may repeat the callback. If it failed
    /// afterwards, the tokens are lost.
    Store,
    /// The new consent was rejected by
    /// [`ConnectHandler::consented`](super::ConnectHandler::consented). The stored grant is
    /// unchanged.
    Rejected,
    /// The new consent was not stored, because it brought no refresh token and the stored grant has
    /// one: see [`ConnectHandler::consented`](super::ConnectHandler::consented). The stored grant
    /// is unchanged.
    RefreshTokenMissing,
    /// A request to disconnect did not come from the program's own pages.
    CrossSite,
    /// The revocation could not be saved, so other replicas may still use the grant. The provider
    /// may have been notified.
    NotPersisted,
    /// The grant has ended here and is not used any more, but the provider could not be notified.
    ProviderNotNotified,
    /// The program is misconfigured, is shutting down, or has not decided about a new consent.
    Program,
}

impl ConnectFailureKind {
    /// The kind as telemetry spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotPending => "not_pending",
            Self::Provider => "provider",
            Self::AuthorizationRequest => "authorization_request",
            Self::InvalidValue => "invalid_value",
            Self::InProgress => "in_progress",
            Self::FailedElsewhere => "failed_elsewhere",
            Self::CodeExchange => "code_exchange",
            Self::Store => "store",
            Self::Rejected => "rejected",
            Self::RefreshTokenMissing => "refresh_token_missing",
            Self::CrossSite => "cross_site",
            Self::NotPersisted => "not_persisted",
            Self::ProviderNotNotified => "provider_not_notified",
            Self::Program => "program",
        }
    }

    /// Whether this happened while disconnecting.
    fn is_of_disconnect(self) -> bool {
        matches!(
            self,
            Self::CrossSite | Self::NotPersisted | Self::ProviderNotNotified
        )
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

    /// Returns the category of the failure.
    #[must_use]
    pub fn kind(&self) -> ConnectFailureKind {
        self.kind
    }

    /// Returns the tenant, if the request got as far as that.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Returns the underlying error, if there is one.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Returns the status of the [page](Self::page).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match (self.kind, &self.error) {
            (
                ConnectFailureKind::NotPending
                | ConnectFailureKind::Provider
                | ConnectFailureKind::InvalidValue,
                _,
            ) => StatusCode::BAD_REQUEST,
            (ConnectFailureKind::InProgress | ConnectFailureKind::FailedElsewhere, _) => {
                StatusCode::CONFLICT
            }
            (ConnectFailureKind::CrossSite, _) => StatusCode::FORBIDDEN,
            (_, Some(error)) => glue::status(error),
            (_, None) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The title of the default page.
    pub(super) fn title(&self) -> &'static str {
        match self.kind {
            ConnectFailureKind::RefreshTokenMissing => "Connection unchanged",
            ConnectFailureKind::ProviderNotNotified => "Not fully disconnected",
            kind if kind.is_of_disconnect() => "Not disconnected",
            _ => "Not connected",
        }
    }

    /// Whether a link to start again can help.
    pub(super) fn can_start_again(&self) -> bool {
        match self.kind {
            // Starting again needs a disconnect, or what the customer has to correct.
            ConnectFailureKind::RefreshTokenMissing | ConnectFailureKind::InvalidValue => false,
            kind => !kind.is_of_disconnect(),
        }
    }

    /// The OAuth error code that the provider has sent.
    pub(super) fn code(&self) -> Option<OAuthErrorCode> {
        self.error.as_ref().and_then(Error::oauth_code)
    }

    pub(super) fn text(&self) -> &'static str {
        let code = self.error.as_ref().and_then(Error::oauth_code);
        let error_kind = self.error.as_ref().map(Error::kind);
        match (self.kind, code) {
            (ConnectFailureKind::CodeExchange | ConnectFailureKind::AuthorizationRequest, _)
                if error_kind == Some(ErrorKind::Store) =>
            {
                "We could not save the connection. Please start again in a few minutes."
            }
            (ConnectFailureKind::CodeExchange | ConnectFailureKind::AuthorizationRequest, _)
                if error_kind == Some(ErrorKind::Interrupted) =>
            {
                "Our website is restarting. Please start again in a moment."
            }
            (ConnectFailureKind::NotPending, _) => {
                "This page can no longer connect your account. It may be more than ten minutes \
                 old, it may have been used already, or it may have been opened in another \
                 browser. If your account is not connected, please start again."
            }
            (
                ConnectFailureKind::Provider,
                Some(OAuthErrorCode::ServerError | OAuthErrorCode::TemporarilyUnavailable),
            ) => {
                "The other service is temporarily unavailable. Please start again in a few minutes."
            }
            (ConnectFailureKind::Provider, _) => {
                "The other service sent an unexpected response. Please start again. If the problem \
                 persists, please contact our support."
            }
            (ConnectFailureKind::InvalidValue, _) => {
                "We cannot connect your account, because something that we need to find it, such as \
                 its name or web address, is missing or not valid. Please go back, check what you \
                 have entered, and try again."
            }
            (ConnectFailureKind::InProgress, _) => {
                "Your account is being connected right now. Please check again in a minute. If it \
                 is not connected by then, please start again."
            }
            (ConnectFailureKind::FailedElsewhere, _) => {
                "This attempt to connect your account has failed. Please start again."
            }
            (ConnectFailureKind::CodeExchange, Some(OAuthErrorCode::InvalidGrant)) => {
                "According to the other service, this request has expired or was used already. \
                 Please start again."
            }
            (
                ConnectFailureKind::CodeExchange | ConnectFailureKind::AuthorizationRequest,
                Some(_),
            ) => {
                "The other service rejected the connection because of a configuration problem on \
                 our side. Please contact our support."
            }
            (ConnectFailureKind::CodeExchange | ConnectFailureKind::AuthorizationRequest, None) => {
                "The other service cannot be reached at the moment. Please start again in a few \
                 minutes."
            }
            (ConnectFailureKind::Store, _) => {
                "We could not save the connection. Please start again in a few minutes."
            }
            (ConnectFailureKind::Rejected, _) => {
                "We cannot connect the account that you chose, so nothing has changed. If your \
                 account was connected before, it still is. To use another account, please log in \
                 with it at the other service first, and then start again."
            }
            (ConnectFailureKind::RefreshTokenMissing, _) => {
                "Your account was connected before, and that connection still works as it did. We \
                 have not changed it, because the other service did not give us lasting access this \
                 time. To connect again or to connect another account, please disconnect the \
                 current one on our website first."
            }
            (ConnectFailureKind::CrossSite, _) => {
                "This request did not come from our website, so nothing has changed. To disconnect \
                 your account, please use the button on our website."
            }
            (ConnectFailureKind::NotPersisted, _) => {
                "We could not disconnect your account. Please try again in a few minutes."
            }
            (ConnectFailureKind::ProviderNotNotified, _) => {
                "We have disconnected your account and no longer use the connection. However, we \
                 could not notify the other service. Please remove the connection there as well."
            }
            (ConnectFailureKind::Program, _) => {
                "Something went wrong on our side. Please try again in a few minutes. If the \
                 problem persists, please contact our support."
            }
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self.code() {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}
