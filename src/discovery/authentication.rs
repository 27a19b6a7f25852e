//! The choice of a client authentication by the metadata.

use crate::provider::ClientAuthentication;

/// The methods of this crate by their registered names (RFC 7591 section 2), in the order of
/// preference. A public client comes last: a server that accepts both is meant for a client with a
/// secret if there is one.
const METHODS: [(&str, ClientAuthentication); 3] = [
    ("client_secret_basic", ClientAuthentication::Basic),
    ("client_secret_post", ClientAuthentication::RequestBody),
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
        use ClientAuthentication::{Basic, None as Public, RequestBody};
        assert_eq!(choose(None), Some(Basic));
        for (supported, chosen) in [
            (&["client_secret_basic"][..], Some(Basic)),
            (&["client_secret_post"], Some(RequestBody)),
            (&["none"], Some(Public)),
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
