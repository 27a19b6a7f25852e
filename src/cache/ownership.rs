//! Whose grants a cache may use: those of its source's identity.
//!
//! [`Settings`](super::Settings) passes every loaded grant through here. Above it, each grant is
//! the source's own and carries no identity. Each save adds it.

use std::error::Error as _;

use crate::{
    error::{Error, ErrorKind},
    token::{ClientIdentity, Grant, TenantId, UnreadableGrant, digest},
};

/// The identity of a source, and the identities that it had before.
#[derive(Debug)]
pub(super) struct Ownership {
    own: Option<ClientIdentity>,
    accepted: Vec<ClientIdentity>,
}

impl Ownership {
    pub(super) fn new(own: Option<ClientIdentity>, accepted: Vec<ClientIdentity>) -> Self {
        Self { own, accepted }
    }

    /// The grant as it is saved.
    pub(super) fn claim(&self, grant: Grant) -> Grant {
        grant.with_identity(self.own.clone())
    }

    /// Accepts a stored grant of the source's own identity, of a former one, or of an unknown one.
    pub(super) fn admit(&self, mut stored: Grant) -> Result<Grant, Error> {
        match stored.identity.take() {
            Some(identity) if !self.owns(&identity) => Err(self.foreign(&identity)),
            _ => Ok(stored),
        }
    }

    /// Whose grant it is comes before why it cannot be read: another application may have encrypted
    /// it with a key of its own.
    pub(super) fn explain(&self, error: Error) -> Error {
        let mut sources = std::iter::successors(error.source(), |&source| source.source());
        let unreadable = sources.find_map(|source| source.downcast_ref::<UnreadableGrant>());
        match unreadable {
            Some(UnreadableGrant(identity)) if !self.owns(identity) => self.foreign(identity),
            _ => error,
        }
    }

    /// Whether tokens that are issued to this identity may be saved as the source's own.
    pub(super) fn check_issuer(&self, identity: &ClientIdentity) -> Result<(), Error> {
        match &self.own {
            Some(own) if !self.owns(identity) => Err(Error::configuration(format!(
                "authorization: it was made by {identity}, but the token source is {own}; pass the \
                 OAuthClient that is the token source"
            ))),
            _ => Ok(()),
        }
    }

    /// The name of a lease that applications with other identities do not share. No tenant has it.
    pub(super) fn lease_name(&self, purpose: &str) -> TenantId {
        let digest = digest(self.own.as_ref(), "");
        TenantId::reserved(&format!("{purpose}/{digest}"))
    }

    /// A name of one grant, from which neither its tenant nor its client can be read.
    pub(super) fn grant_name(&self, tenant: &TenantId) -> String {
        digest(self.own.as_ref(), tenant.as_str())
    }

    fn owns(&self, identity: &ClientIdentity) -> bool {
        self.own.as_ref() == Some(identity) || self.accepted.contains(identity)
    }

    fn foreign(&self, identity: &ClientIdentity) -> Error {
        let own = match &self.own {
            Some(own) => own.to_string(),
            None => "a source without an identity (TokenSource::identity)".into(),
        };
        Error::new(
            ErrorKind::ForeignGrant,
            format!(
                "stored grant belongs to another client: it is of {identity}, and this token \
                 source is {own}; give each client its own directory, table or prefix, or, if the \
                 former is an earlier name of the latter, pass it to `accept_identity`"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::token::{Generation, GrantState};

    fn identity(endpoint: &str, client_id: &str) -> ClientIdentity {
        ClientIdentity::new(endpoint, client_id)
    }

    fn grant(identity: Option<ClientIdentity>) -> Grant {
        let since = SystemTime::UNIX_EPOCH;
        Grant::new(Generation::FIRST, GrantState::Revoked { since }).with_identity(identity)
    }

    #[test]
    fn p25_only_own_former_and_unknown_grants_are_admitted() {
        let (own, former) = (identity("e", "c"), identity("e1", "c1"));
        let others = [
            identity("e", "c1"),
            identity("e1", "c"),
            identity("c", "e"),
            identity("ec", ""),
            identity("", ""),
            own.clone().with_client_credentials(),
            own.clone().with_grant_kind("jwt_bearer"),
        ];
        let admits = |own: Option<&ClientIdentity>, stored: Option<&ClientIdentity>| {
            let ownership = Ownership::new(own.cloned(), vec![former.clone()]);
            ownership.admit(grant(stored.cloned()))
        };
        for own in [Some(&own), None] {
            for stored in [None, own, Some(&former)] {
                assert_eq!(admits(own, stored).unwrap(), grant(None));
            }
            for other in &others {
                let error = admits(own, Some(other)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ForeignGrant);
                assert!(error.to_string().contains(&other.to_string()), "{error}");
                assert!(!error.is_transient() && !error.is_consent_required());
                if let Some(own) = own {
                    assert!(error.to_string().contains(&own.to_string()), "{error}");
                }
            }
        }
    }

    #[test]
    fn p25_a_source_without_an_identity_admits_no_grant_of_a_client() {
        let ownership = Ownership::new(None, Vec::new());
        let error = ownership
            .admit(grant(Some(identity("e", "c"))))
            .unwrap_err();
        assert!(error.to_string().contains("TokenSource::identity"));
    }

    #[test]
    fn p25_saves_carry_the_own_identity() {
        let own = identity("e", "c");
        let ownership = Ownership::new(Some(own.clone()), Vec::new());
        for stored in [None, Some(identity("e1", "c1"))] {
            assert_eq!(ownership.claim(grant(stored)), grant(Some(own.clone())));
        }
    }

    #[test]
    fn p25_an_unreadable_grant_of_another_client_is_foreign() {
        let own = identity("e", "c");
        let ownership = Ownership::new(Some(own.clone()), vec![identity("e1", "c1")]);
        let explained = |identity: Option<ClientIdentity>| {
            let error = Error::new(ErrorKind::Store, "cannot be decrypted");
            let error = match identity {
                Some(identity) => error.with_source(UnreadableGrant(identity)),
                None => error,
            };
            ownership.explain(error).kind()
        };
        for readable in [None, Some(own), Some(identity("e1", "c1"))] {
            assert_eq!(explained(readable), ErrorKind::Store);
        }
        assert_eq!(explained(Some(identity("e", "d"))), ErrorKind::ForeignGrant);
    }

    #[test]
    fn p25_lease_names_differ_with_the_identity() {
        let name = |own| Ownership::new(own, Vec::new()).lease_name("sweep");
        let names = [None, Some(identity("e", "c")), Some(identity("e", "d"))].map(name);
        assert_ne!(names[0], names[1]);
        assert_ne!(names[1], names[2]);
        assert!(TenantId::new(names[1].as_str()).is_err());
    }
}
