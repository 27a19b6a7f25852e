//! Checks of client credentials.

use crate::{
    error::Error,
    provider::{ClientAuthentication, Provider},
    token::ClientSecret,
};

/// Checks a client id.
pub(super) fn check_client_id(client_id: &str) -> Result<(), Error> {
    check("client id", client_id)
}

/// Checks that a secret is present exactly if the provider's client authentication needs one, and
/// can be sent.
pub(super) fn check_secret(
    provider: &Provider,
    secret: Option<&ClientSecret>,
) -> Result<(), Error> {
    let is_public = provider.client_authentication() == ClientAuthentication::None;
    match secret {
        Some(_) if is_public => Err(Error::configuration(
            "client secret: the provider's client authentication is None, which sends no secret; \
             remove the secret, or set RequestBody or Basic",
        )),
        None if !is_public => Err(Error::configuration(
            "client secret: not set; call OAuthClientBuilder::client_secret, or set \
             ClientAuthentication::None for a public client",
        )),
        Some(secret) => check("client secret", secret.expose()),
        None => Ok(()),
    }
}

/// Checks a value against RFC 6749 appendix A: `client-id` and `client-secret` consist of visible
/// ASCII characters and spaces. A space at either end is legal, too, and therefore accepted.
fn check(name: &str, value: &str) -> Result<(), Error> {
    let problem = if value.is_empty() {
        "it is empty; use the value that the provider issued"
    } else if value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Ok(());
    } else if value.ends_with(['\n', '\r']) {
        "it ends with a line end; trim what was read from the file or variable"
    } else if value.starts_with(char::is_whitespace) || value.ends_with(char::is_whitespace) {
        "it starts or ends with white space; trim what was read from the file or variable"
    } else if value.starts_with('\u{feff}') {
        "it starts with a byte order mark; remove it from the file"
    } else {
        "it contains characters other than printable ASCII (RFC 6749 appendix A); \
         copy the value that the provider issued"
    };
    Err(Error::configuration(format!("{name}: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_outside_the_grammar_are_named() {
        for (value, problem) in [
            ("", "empty"),
            ("s3cr3t\n", "line end"),
            ("s3cr3t\r\n", "line end"),
            ("s3cr3t\n\n", "line end"),
            ("\u{feff}s3cr3t", "byte order mark"),
            ("\ns3cr3t", "white space"),
            ("\ts3cr3t", "white space"),
            ("s3cr3t\t", "white space"),
            ("s3cr3t\u{a0}", "white space"),
            ("\u{2003}s3cr3t ", "white space"),
            ("sec\tret", "printable ASCII"),
            ("sec\0ret", "printable ASCII"),
            ("sec\u{7f}ret", "printable ASCII"),
            ("s\u{e9}cret", "printable ASCII"),
            ("\u{201c}s3cr3t\u{201d}", "printable ASCII"),
        ] {
            let message = check("client secret", value).unwrap_err().to_string();
            assert!(message.starts_with("client secret: "), "{message}");
            assert!(message.contains(problem), "{value:?}: {message}");
            assert!(
                value.is_empty() || !message.contains(value.trim()),
                "{message}"
            );
        }
        for value in [
            "s",
            "with space",
            " s3cr3t ",
            " ~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}",
        ] {
            assert!(check("client secret", value).is_ok(), "{value:?}");
        }
    }
}
