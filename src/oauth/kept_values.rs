//! The values that are kept with a grant: values of the program, parameters of the callback, and
//! members of token responses, as the provider's data name them.
//!
//! Until a code is sent, a wrong value is an error, because a forged one must not choose where the
//! code and the client secret go (RFC 9700 section 4.4). Afterwards the tokens must not be lost, so
//! a wrong value is left out, and an event names it.

use zeroize::Zeroizing;

use super::members::text_at;
use crate::{
    error::{Error, ErrorKind},
    provider::{Provider, ValueSource},
    token::{MAX_KEPT_BYTES, NamedValues, TokenSet, form_decoded},
};

/// How many bytes of names and values the program may pass: they wait for the callback in a cookie.
const MAX_PASSED_BYTES: usize = 1024;

/// Checks the values that the program passes when a customer starts to connect.
pub(super) fn of_program(provider: &Provider, passed: &NamedValues) -> Result<NamedValues, Error> {
    let mut values = NamedValues::NONE;
    let mut bytes = 0_usize;
    for (name, value) in passed.iter() {
        let mut names = provider.kept_values_from(ValueSource::Connect);
        if !names.any(|(known, _)| known == name) {
            return Err(Error::configuration(format!(
                "kept value {name}: passed by the program, but the provider's data name no kept \
                 value of this name from connect; remove it, or add kept_values.{name}"
            )));
        }
        if values.iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::configuration(format!(
                "kept value {name}: passed more than once; pass it once"
            )));
        }
        provider.check_kept_value(name, value)?;
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if bytes > MAX_PASSED_BYTES || !values.set_kept(name, value) {
            return Err(Error::new(
                ErrorKind::KeptValue,
                "kept values that the program passes have more than 1 KiB; pass shorter ones",
            ));
        }
    }
    Ok(values)
}

/// The parameters of a callback that are kept.
pub(super) struct CallbackValues<'a> {
    provider: &'a Provider,
    found: Vec<(&'a str, Zeroizing<String>)>,
}

impl<'a> CallbackValues<'a> {
    pub(super) fn of(provider: &'a Provider) -> Self {
        Self {
            provider,
            found: Vec::new(),
        }
    }

    /// Adds a parameter, whose value is still encoded, if it is kept.
    pub(super) fn add(&mut self, parameter: &str, value: &str) {
        for (name, source_name) in self.provider.kept_values_from(ValueSource::Callback) {
            if source_name == parameter {
                self.found.push((name, form_decoded(value)));
            }
        }
    }

    /// Checks the parameters, and adds them to the values that the program has passed. Fails too if
    /// these values do not make a token endpoint.
    pub(super) fn added_to(self, passed: &NamedValues) -> Result<NamedValues, Error> {
        let mut values = of_program(self.provider, passed)?;
        for (index, (name, value)) in self.found.iter().enumerate() {
            let fail = |problem: &str| {
                Error::new(
                    ErrorKind::Callback,
                    format!(
                        "callback's parameter for kept value {name} {problem}; start again from a \
                         new authorization URL"
                    ),
                )
            };
            if self.found[..index].iter().any(|(other, _)| other == name) {
                return Err(fail("is repeated"));
            }
            self.provider.check_kept_value(name, value)?;
            if !value.is_empty() && !values.set_kept(name, value) {
                return Err(fail("is too large"));
            }
        }
        let endpoint = self.provider.token_endpoint();
        self.provider.resolve(endpoint, &values)?;
        Ok(values)
    }
}

/// Adds the kept values to the tokens of a response: the `earlier` ones of the grant, replaced by
/// those of the response. `dropped` gets the names of those that are not kept, each with a reason.
pub(super) fn add_to_tokens(
    provider: &Provider,
    response: &[u8],
    earlier: &NamedValues,
    tokens: TokenSet,
    mut dropped: impl FnMut(&str, &'static str),
) -> TokenSet {
    let mut tokens = tokens.with_values(earlier.clone());
    for (name, path) in provider.kept_values_from(ValueSource::Response) {
        let Some(value) = text_at(response, path) else {
            continue;
        };
        if value.len() > MAX_KEPT_BYTES {
            dropped(name, "too_large");
        } else if provider.check_kept_value(name, &value).is_err() {
            dropped(name, "pattern");
        } else if !tokens.keep_value(name, &value) {
            dropped(name, "too_large");
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_path_is_whole_or_missing() {
        for (body, expected) in [
            (r#"{"a":{"b":"x"}}"#, Some("x")),
            (r#"{"a":{"b":"\u0078\/"}}"#, Some("x/")),
            (r#"{"a":{"b":1.50}}"#, Some("1.50")),
            (r#"{"a":{"b":false}}"#, Some("false")),
            (r#"{"a":{"b":{"c": 1}}}"#, Some(r#"{"c": 1}"#)),
            (r#"{"a":{"b":[]}}"#, Some("[]")),
            // The last one wins, as in other members.
            (r#"{"a":{"b":"w"},"a":{"b":"v","b":"x"}}"#, Some("x")),
            ("\u{feff}warning {\"a\":{\"b\":\"x\"}}", Some("x")),
            (r#"{"a":{"b":"x""#, Some("x")),
            (r#"{"a":{"b":"x"#, None),
            (r#"{"a":{"b":12"#, None),
            (r#"{"a":{"b":{"c":1"#, None),
            (r#"{"a":{"b":"\ud800"}}"#, None),
            (r#"{"a":{"b":null}}"#, None),
            (r#"{"a":{"b":" "}}"#, None),
            (r#"{"a":{"c":"x"}}"#, None),
            (r#"{"a":"b"}"#, None),
            (r#"{"a":[{"b":"x"}]}"#, None),
            (r#"{"a.b":"x"}"#, None),
            ("[]", None),
            ("", None),
        ] {
            let text = text_at(body.as_bytes(), "a.b");
            assert_eq!(text.as_ref().map(|text| text.as_str()), expected, "{body}");
        }
    }
}
