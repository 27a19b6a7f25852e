//! Other names for the parameters of RFC 6749.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request_parameters::{self, RequestKind, RequestParameters};

/// The parameters that may have another name. The `state` and those of PKCE may not: a server that
/// does not know their names ignores them, and callbacks would be unprotected.
const RENAMABLE: [&str; 8] = [
    "client_id",
    "client_secret",
    "code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "response_type",
    "scope",
];

/// Other names, by the names of RFC 6749.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ParameterNames(BTreeMap<String, String>);

impl ParameterNames {
    pub(crate) fn set(&mut self, name: String, other: String) {
        self.0.insert(name, other);
    }

    /// The name that requests use for a parameter of RFC 6749.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }

    /// The first problem, with the name of RFC 6749 that has the wrong other one.
    pub(super) fn problem(&self) -> Option<(&str, &'static str)> {
        self.0.iter().find_map(|(name, other)| {
            let others = self.0.iter().filter(|(_, value)| *value == other);
            let problem = if name == "token" {
                "set revocation_request.parameter instead"
            } else if !RENAMABLE.contains(&name.as_str()) {
                "no parameter of RFC 6749 that may have another name; remove it"
            } else if !request_parameters::is_name(other) {
                request_parameters::NAME_RULE
            } else if request_parameters::is_reserved(other) || other == "grant_type" {
                "the client uses this name itself; remove it, or use the name of the provider's \
                 documentation"
            } else if others.count() > 1 {
                "two parameters have this name; correct one of them"
            } else {
                return None;
            };
            Some((name.as_str(), problem))
        })
    }

    /// A parameter of `parameters` that has the other name of a parameter of RFC 6749.
    pub(super) fn taken<'a>(
        &self,
        parameters: &'a RequestParameters,
    ) -> Option<(RequestKind, &'a str)> {
        RequestKind::ALL.into_iter().find_map(|kind| {
            let mut names = parameters.of(kind).map(|(name, _)| name);
            let taken = names.find(|name| self.0.values().any(|other| other == name))?;
            Some((kind, taken))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_without_another_name_keep_theirs() {
        let mut names = ParameterNames::default();
        names.set("client_id".to_owned(), "client_key".to_owned());
        assert_eq!(names.of("client_id"), "client_key");
        assert_eq!(names.of("client_secret"), "client_secret");
        assert_eq!(names.problem(), None);
    }
}
