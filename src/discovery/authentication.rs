//! The choice of a client authentication by the metadata.

use crate::provider::ClientAuthentication;

/// The methods of this crate by their registered names (RFC 7591 section 2, RFC 8705 section 2), in
/// the order of preference: most clients have a secret. A public client comes last: a server that
/// accepts both is meant for a client with credentials if there are some.
const METHODS: [(&str, ClientAuthentication); 7] = [
    ("client_secret_basic", ClientAuthentication::Basic),
    ("client_secret_post", ClientAuthentication::RequestBody),
    ("private_key_jwt", ClientAuthentication::PrivateKeyJwt),
    ("client_secret_jwt", ClientAuthentication::ClientSecretJwt),
    ("tls_client_auth", ClientAuthentication::TlsClientAuth),
    (
        "self_signed_tls_client_auth",
        ClientAuthentication::TlsClientAuth,
    ),
    ("none", ClientAuthentication::None),
];

/// The method for a server that supports these. Without a list, it supports `client_secret_basic`
/// (RFC 8414 section 2). `None` if no method is in common.
pub(super) fn choose(supported: Option<&[String]>) -> Option<ClientAuthentication> {
    let Some(supported) = supported else {
        return Some(ClientAuthentication::Basic);
    };
    let mut methods = METHODS.iter();
    let found = methods.find(|(name, _)| supported.iter().any(|supported| supported == name));
    found.map(|(_, method)| *method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_method_that_is_supported_is_chosen() {
        use ClientAuthentication::{
            Basic, ClientSecretJwt, None as Public, PrivateKeyJwt, RequestBody, TlsClientAuth,
        };
        assert_eq!(choose(None), Some(Basic));
        for (supported, chosen) in [
            (&["client_secret_basic"][..], Some(Basic)),
            (&["client_secret_post"], Some(RequestBody)),
            (&["none"], Some(Public)),
            (
                &["client_secret_jwt", "private_key_jwt", "none"],
                Some(PrivateKeyJwt),
            ),
            (&["client_secret_jwt"], Some(ClientSecretJwt)),
            (&["self_signed_tls_client_auth"], Some(TlsClientAuth)),
            (&["none", "tls_client_auth"], Some(TlsClientAuth)),
            (&["none", "client_secret_post"], Some(RequestBody)),
            (&["client_secret_post", "client_secret_basic"], Some(Basic)),
            (&["unknown", "none"], Some(Public)),
            (&["unknown"], None),
            (&["CLIENT_SECRET_BASIC"], None),
            (&[], None),
        ] {
            let supported: Vec<_> = supported.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(choose(Some(&supported)), chosen, "{supported:?}");
        }
    }
}
