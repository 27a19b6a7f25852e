//! The measured crates, one file each. Each is used as its documentation says, with a fresh token.

mod azure_core;
mod cf_gears;
mod google_cloud_auth;
mod huskarl;
pub(crate) mod kube_client;
mod middle;
pub(crate) mod peer;
mod tower_http;
mod tower_oauth2_client;

pub(crate) use self::peer::{Failure, Peer, Side};

/// All peers.
pub(crate) const PEERS: [Peer; 11] = [
    tower_http::STATIC_HEADER,
    tower_oauth2_client::WITHOUT_RETRIES,
    tower_oauth2_client::BY_DEFAULT,
    middle::AUTHORIZER,
    google_cloud_auth::WITH_ENTITY_TAG,
    google_cloud_auth::PLAIN,
    kube_client::EXEC,
    huskarl::AUTHORIZER,
    azure_core::POLICY,
    cf_gears::BEARER_AUTH,
    cf_gears::AUTO_REFRESH,
];
