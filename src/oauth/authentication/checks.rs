//! Checks of what a client authenticates with.

use super::AnyAuthenticator;
use crate::{
    error::Error,
    jose::AnySigner,
    provider::{ClientAuthentication, Provider, RevocationAuthentication},
    token::ClientSecret,
};

/// The secret, key or code that a client authenticates with, as it was set.
#[derive(Default)]
pub(in crate::oauth) struct Means {
    pub(in crate::oauth) client_secret: Option<ClientSecret>,
    pub(in crate::oauth) signer: Option<AnySigner>,
    pub(in crate::oauth) authenticator: Option<AnyAuthenticator>,
}

impl Means {
    /// Checks that exactly what the provider's client authentication needs is present, and can be
    /// sent.
    pub(in crate::oauth) fn check(&self, provider: &Provider) -> Result<(), Error> {
        let method = provider.client_authentication();
        if self.authenticator.is_some() {
            return self.check_beside_authenticator(provider);
        }
        match &self.client_secret {
            Some(secret) => check_secret(provider, secret)?,
            None if method.has_secret() => {
                return Err(Error::configuration(
                    "client secret: not set; call OAuthClientBuilder::client_secret, or set \
                     ClientAuthentication::None for a public client",
                ));
            }
            None => {}
        }
        match &self.signer {
            Some(_) => check_signer(provider),
            None if method == ClientAuthentication::PrivateKeyJwt => Err(Error::configuration(
                "signer: not set, and the provider's client authentication is private_key_jwt; \
                 call OAuthClientBuilder::signer",
            )),
            None => Ok(()),
        }
    }

    fn check_beside_authenticator(&self, provider: &Provider) -> Result<(), Error> {
        let shape = provider.revocation_request();
        let problem = if self.client_secret.is_some() {
            "client secret: the client has an authenticator, which sends its own credentials; \
             remove one of them"
        } else if self.signer.is_some() {
            "signer: the client has an authenticator, which sends its own credentials; remove one \
             of them"
        } else if shape.authenticated_by() == RevocationAuthentication::Basic {
            "authenticator: the provider's revocation_request.authentication is basic, which needs \
             a client secret; set it to client"
        } else {
            return Ok(());
        };
        Err(Error::configuration(problem))
    }
}

/// Checks that a secret can be sent in the way of the provider's data.
pub(in crate::oauth) fn check_secret(
    provider: &Provider,
    secret: &ClientSecret,
) -> Result<(), Error> {
    let method = provider.client_authentication();
    if !method.has_secret() {
        return Err(Error::configuration(format!(
            "client secret: the provider's client authentication is {}, which sends no secret; \
             remove the secret, or set request_body or basic",
            method.as_str()
        )));
    }
    check("client secret", secret.expose())
}

/// Checks that the provider's data use a signer.
pub(in crate::oauth) fn check_signer(provider: &Provider) -> Result<(), Error> {
    let method = provider.client_authentication();
    if method == ClientAuthentication::PrivateKeyJwt {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "signer: the provider's client authentication is {}, which signs nothing with a private \
         key; remove the signer, or set private_key_jwt",
        method.as_str()
    )))
}

/// Checks a client id.
pub(in crate::oauth) fn check_client_id(client_id: &str) -> Result<(), Error> {
    check("client id", client_id)
}

/// Checks a client id and a secret that a server has just issued.
#[cfg(feature = "mcp")]
pub(crate) fn check_issued(client_id: &str, client_secret: Option<&str>) -> Result<(), Error> {
    check_client_id(client_id)?;
    client_secret.map_or(Ok(()), |secret| check("client secret", secret))
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
