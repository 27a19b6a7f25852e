//! Scopes: which ones are requested, and when more of them may help.

use std::fmt;

use serde::{Deserialize, Serialize};

/// More than any server has. What exceeds the limits is left out, so that a server cannot grow the
/// authorization URL without end.
const MAX_SCOPES: usize = 64;
const MAX_BYTES: usize = 4 * 1024;

/// The scope with which `OpenID` providers issue a refresh token.
const OFFLINE_ACCESS: &str = "offline_access";

/// Scopes in the order in which they were named, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Scopes(Vec<String>);

impl Scopes {
    /// The scopes of a text, separated by spaces (RFC 6749 section 3.3). What is no scope is left
    /// out.
    pub(super) fn parse(text: &str) -> Self {
        text.split(' ').collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn contains(&self, scope: &str) -> bool {
        self.iter().any(|found| found == scope)
    }

    pub(super) fn contains_all(&self, others: &Self) -> bool {
        others.iter().all(|scope| self.contains(scope))
    }

    /// These scopes, and then those of `others` that are not among them.
    pub(super) fn union(&self, others: &Self) -> Self {
        self.iter().chain(others.iter()).collect()
    }

    /// Whether they ask for a refresh token, so that the user has to be asked (`OpenID` Connect
    /// Core 1.0 section 11).
    pub(super) fn wants_offline_access(&self) -> bool {
        self.contains(OFFLINE_ACCESS)
    }

    /// Adds `offline_access` if the authorization server has it. Without any scope the server
    /// decides, and a scope would change its decision.
    pub(super) fn with_offline_access(self, of_server: Option<&[String]>) -> Self {
        let is_offered = of_server.is_some_and(|list| list.iter().any(|one| one == OFFLINE_ACCESS));
        if is_offered && !self.is_empty() {
            self.union(&Self(vec![OFFLINE_ACCESS.to_owned()]))
        } else {
            self
        }
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let mut list = Self::default();
        let mut bytes = 0_usize;
        for scope in scopes {
            let after = bytes.saturating_add(scope.len()).saturating_add(1);
            let fits = list.0.len() < MAX_SCOPES && after <= MAX_BYTES;
            if fits && is_scope(scope) && !list.contains(scope) {
                list.0.push(scope.to_owned());
                bytes = after;
            }
        }
        list
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// `scope-token` of RFC 6749 section 3.3.
fn is_scope(text: &str) -> bool {
    let is_allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// The scopes of a first authorization request: those of the challenge, or else all that the
/// resource has, or else none (MCP 2025-11-25, scope selection strategy).
pub(super) fn initial(challenge: &Scopes, of_resource: Option<&[String]>) -> Scopes {
    if challenge.is_empty() {
        let list = of_resource.unwrap_or_default();
        list.iter().map(String::as_str).collect()
    } else {
        challenge.clone()
    }
}

/// The scopes of a step-up: those that were requested, and those that the challenge names. `None`
/// if they were all requested before, so that another request would bring the same token.
pub(super) fn step_up(requested: &Scopes, challenge: &Scopes) -> Option<Scopes> {
    let union = requested.union(challenge);
    (union != *requested).then_some(union)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text)
    }

    #[test]
    fn first_scopes_are_those_of_the_challenge_or_of_the_resource_or_none() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (challenge, resource, expected) in [
            ("a b", Some("c"), "a b"),
            ("", Some("c d"), "c d"),
            ("", Some(""), ""),
            ("", None, ""),
            ("\u{e9} \"", Some("c"), "c"),
        ] {
            let resource = resource.map(list);
            let chosen = initial(&scopes(challenge), resource.as_deref());
            assert_eq!(chosen.to_string(), expected, "{challenge:?} {resource:?}");
        }
    }

    #[test]
    fn step_up_requests_the_union_and_only_if_it_is_more() {
        for (requested, challenge, expected) in [
            ("a", "b", Some("a b")),
            ("a b", "b c a", Some("a b c")),
            ("", "a", Some("a")),
            ("a b", "b a", None),
            ("a", "", None),
            ("a", "\"", None),
        ] {
            let found = step_up(&scopes(requested), &scopes(challenge));
            assert_eq!(found.map(|scopes| scopes.to_string()).as_deref(), expected);
        }
        // A server that names ever more scopes reaches an end.
        let full: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
        let full = full.join(" ");
        assert_eq!(scopes(&full).iter().count(), MAX_SCOPES);
        assert_eq!(step_up(&scopes(&full), &scopes("more")), None);
        assert!(scopes(&"x".repeat(MAX_BYTES)).is_empty());
    }

    #[test]
    fn offline_access_is_requested_only_if_the_server_has_it() {
        let offered = ["a".to_owned(), OFFLINE_ACCESS.to_owned()];
        for (requested, server, expected) in [
            ("a", Some(&offered[..]), "a offline_access"),
            ("offline_access a", Some(&offered[..]), "offline_access a"),
            ("a", Some(&offered[..1]), "a"),
            ("a", None, "a"),
            ("", Some(&offered[..]), ""),
        ] {
            let found = scopes(requested).with_offline_access(server);
            assert_eq!(found.to_string(), expected);
        }
    }
}
