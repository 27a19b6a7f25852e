//! Each cause says something, and has a name of its own.

use std::collections::HashSet;

use super::Cause;

const ALL: [Cause; 23] = [
    Cause::None,
    Cause::NeverConnected,
    Cause::Disconnected,
    Cause::RevokedAtProvider,
    Cause::RefreshTokenExpired,
    Cause::ReplicaCrashed,
    Cause::ResponseLost,
    Cause::NoRefreshToken,
    Cause::ClientRejected,
    Cause::Refused,
    Cause::RateLimited,
    Cause::EndpointFailing,
    Cause::EndpointUnreachable,
    Cause::ResponseUnusable,
    Cause::TokensRejected,
    Cause::StoreUnreachable,
    Cause::StoreUnreadable,
    Cause::StoreNotWritable,
    Cause::StoreWentBack,
    Cause::OtherClient,
    Cause::ValueMissing,
    Cause::Misconfigured,
    Cause::Interrupted,
];

#[test]
fn each_cause_has_a_name_and_texts_of_its_own() {
    let names: HashSet<_> = ALL.iter().map(|cause| cause.as_str()).collect();
    let texts: HashSet<_> = ALL.iter().map(|cause| cause.description()).collect();
    assert_eq!((names.len(), texts.len()), (ALL.len(), ALL.len()));
    for cause in ALL {
        for text in [cause.description(), cause.advice()] {
            assert!(text.starts_with(char::is_uppercase), "{text}");
            assert!(!text.ends_with('.'), "{text}");
        }
    }
}
