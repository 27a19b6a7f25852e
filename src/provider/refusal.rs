//! The meaning of error responses of a token endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The meaning of an error response to a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalMeaning {
    /// The refresh token will never be accepted again: the grant ends, and the customer has to
    /// consent again.
    Dead,
    /// The request was refused for another reason than the refresh token, such as the configuration
    /// of the client. The grant stays, and requests use the access token until it expires. The
    /// refresh is retried after 5 to 10 minutes, and at longer intervals once the grant is
    /// [stuck](crate::cache#stuck-grants).
    NotDead,
    /// The provider did not process the request and asks to try again, such as for a concurrent
    /// refresh. The grant stays, and the refresh is retried as after an outage.
    Transient,
}

/// An error response of the token endpoint that the specifications do not define, or that a
/// provider uses in another sense.
///
/// It is recognized by its status and by members of its JSON object. A provider's refusals are
/// compared in their order, and the first match counts. A response that matches none has the
/// meaning of RFC 6749 section 5.2. A success with a token is no refusal.
///
/// To find the refusals of a provider, look for the event `grant.stuck` and its `provider_code`.
///
/// ```
/// use tower_oauth2_client::provider::{Provider, Refusal, RefusalMeaning};
///
/// // `200 {"error":"bad_refresh_token"}`
/// let dead = Refusal::new(RefusalMeaning::Dead).status(200).member("error", "bad_refresh_token");
/// // `400 {"error":"invalid_grant","error_description":"AADSTS9002313: Invalid request. …"}`
/// let malformed = Refusal::new(RefusalMeaning::NotDead)
///     .member("error", "invalid_grant")
///     .member("error_description", "AADSTS9002313*");
/// let provider = Provider::builder("https://id.example.com/token")
///     .refusal(dead)
///     .refusal(malformed)
///     .build()?;
/// assert_eq!(provider.refusals().len(), 2);
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    meaning: RefusalMeaning,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    members: BTreeMap<String, String>,
}

impl Refusal {
    /// A refusal with this meaning, which matches no response until it has a
    /// [`member`](Self::member).
    #[must_use]
    pub fn new(meaning: RefusalMeaning) -> Self {
        Self {
            meaning,
            status: None,
            members: BTreeMap::new(),
        }
    }

    /// Sets the status of the response. Defaults to any status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a member that the response has to contain.
    ///
    /// `path` has the names of nested members, separated by dots. `value` is a text, or a number or
    /// truth value as JSON writes it; `*` at its start or end stands for any text. In an array, any
    /// element may have the value.
    #[must_use]
    pub fn member(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.members.insert(path.into(), value.into());
        self
    }

    /// The meaning of a matching response.
    #[must_use]
    pub fn meaning(&self) -> RefusalMeaning {
        self.meaning
    }

    /// Whether a response with `status` matches. `has` says whether it contains a member that
    /// matches.
    pub(crate) fn matches(
        &self,
        status: u16,
        has: impl Fn(&str, &ValuePattern<'_>) -> bool,
    ) -> bool {
        self.status.is_none_or(|expected| expected == status)
            && self
                .members
                .iter()
                .all(|(path, value)| has(path, &ValuePattern(value)))
    }

    /// The paths of the members that a response has to contain.
    pub(crate) fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Checks the refusal, which is named `path` in the error.
    pub(super) fn check(&self, path: &str) -> Result<(), Error> {
        let fail = |what: String| Err(Error::configuration(format!("{path}{what}")));
        if self
            .status
            .is_some_and(|status| !(200..600).contains(&status))
        {
            return fail(".status: not the status of a response; use 200 to 599".to_owned());
        }
        if self.members.is_empty() {
            return fail(
                ".members: none, so that it would match every response with this status; add one"
                    .to_owned(),
            );
        }
        for (member, value) in &self.members {
            let is_path = member.split('.').all(|name| !name.is_empty());
            if !is_path || member.len() > 128 {
                return fail(format!(
                    ".members.{member}: not the names of nested members, separated by dots"
                ));
            }
            if value.trim_matches('*').is_empty() {
                return fail(format!(
                    ".members.{member}: matches every value; use a part of the text"
                ));
            }
        }
        Ok(())
    }
}

/// A value to compare with, with optional wildcards at its ends.
pub(crate) struct ValuePattern<'a>(&'a str);

impl ValuePattern<'_> {
    pub(crate) fn matches(&self, value: &str) -> bool {
        let (pattern, has_start) = match self.0.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (self.0, false),
        };
        match (has_start, pattern.strip_suffix('*')) {
            (false, None) => value == pattern,
            (true, None) => value.ends_with(pattern),
            (false, Some(pattern)) => value.starts_with(pattern),
            (true, Some(pattern)) => value.contains(pattern),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_has_wildcards_at_its_ends() {
        for (pattern, value, expected) in [
            ("invalid_grant", "invalid_grant", true),
            ("invalid_grant", "invalid_grant2", false),
            ("AADSTS9002313*", "AADSTS9002313: Invalid request.", true),
            ("AADSTS9002313*", "x AADSTS9002313", false),
            ("*processed", "already being processed", true),
            ("*processed", "processed twice", false),
            ("*is invalid*", "the refresh_token is invalid.", true),
            ("*is invalid*", "valid", false),
            ("9002313", "9002313", true),
        ] {
            assert_eq!(
                ValuePattern(pattern).matches(value),
                expected,
                "{pattern}: {value}"
            );
        }
    }

    #[test]
    fn refusal_that_matches_too_much_is_refused() {
        let dead = || Refusal::new(RefusalMeaning::Dead);
        for (refusal, path) in [
            (dead(), "refusals[3].members: "),
            (dead().status(200), "refusals[3].members: "),
            (dead().member("error", ""), "refusals[3].members.error: "),
            (dead().member("error", "**"), "refusals[3].members.error: "),
            (dead().member("a..b", "x"), "refusals[3].members.a..b: "),
            (dead().member("", "x"), "refusals[3].members.: "),
            (
                dead().member("error", "x").status(99),
                "refusals[3].status: ",
            ),
        ] {
            let error = refusal.check("refusals[3]").unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
    }

    #[test]
    fn refusal_needs_its_status_and_all_its_members() {
        let refusal = Refusal::new(RefusalMeaning::Dead)
            .status(400)
            .member("error", "unauthorized_client")
            .member("error_description", "*refresh_token is invalid*");
        let response = |error: &'static str, description: &'static str| {
            move |path: &str, value: &ValuePattern<'_>| match path {
                "error" => value.matches(error),
                "error_description" => value.matches(description),
                _ => false,
            }
        };
        let invalid = response("unauthorized_client", "refresh_token is invalid");
        assert!(refusal.matches(400, invalid));
        assert!(!refusal.matches(401, invalid));
        assert!(!refusal.matches(400, response("unauthorized_client", "no such client")));
        assert!(!refusal.matches(400, response("invalid_grant", "refresh_token is invalid")));
    }
}
