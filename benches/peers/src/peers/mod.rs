//! Who is measured, a file each. Each is used as its own documentation says, and holds a token that is fresh.

mod azure_core;
mod cf_gears;
mod google_cloud_auth;
pub(crate) mod kube_client;
mod middle;
mod tower_http;
mod tower_oauth2_client;

use std::error::Error;

use tokio::runtime::Runtime;

use crate::{
    load::{self, Load},
    work,
};

/// Why a peer could not be used.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// One who puts a token on requests.
pub(crate) struct Peer {
    /// The crate.
    pub(crate) package: &'static str,
    /// What of it, and how.
    pub(crate) part: &'static str,
    pub(crate) side: Side,
    /// Gets the token, and wraps the service that does nothing.
    warm: fn(&Runtime) -> Result<Box<dyn Load>, Failure>,
    /// The same without a token, for those who do not take an `http::Request`.
    bare: Option<fn() -> Box<dyn Load>>,
}

/// Whose code it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What nobody can be below.
    Floor,
    Ours,
    Theirs,
}

/// All of them.
pub(crate) const PEERS: [Peer; 10] = [
    tower_http::STATIC_HEADER,
    tower_oauth2_client::WITHOUT_RETRIES,
    tower_oauth2_client::BY_DEFAULT,
    middle::AUTHORIZER,
    google_cloud_auth::WITH_ENTITY_TAG,
    google_cloud_auth::PLAIN,
    kube_client::EXEC,
    azure_core::POLICY,
    cf_gears::BEARER_AUTH,
    cf_gears::AUTO_REFRESH,
];

impl Peer {
    /// What it is called in the table: the crate, its version, and the part.
    pub(crate) fn title(&self) -> String {
        let (package, part) = (self.package, self.part);
        match self.side {
            Side::Ours => format!("{package} {part}"),
            Side::Floor | Side::Theirs => format!("{package} {} {part}", version(package)),
        }
    }

    /// A load whose token is there, and reaches the service.
    pub(crate) fn warm(&self, runtime: &Runtime) -> Result<Box<dyn Load>, Failure> {
        let mut load = (self.warm)(runtime)?;
        if work::arrives_with_token(|| load.send(1)) {
            Ok(load)
        } else {
            Err("the request arrives without the token".into())
        }
    }

    /// What its cost is above.
    pub(crate) fn bare(&self) -> Box<dyn Load> {
        self.bare.unwrap_or(load::no_layer)()
    }

    /// Whether that is something else than for most.
    pub(crate) fn has_bare_of_its_own(&self) -> bool {
        self.bare.is_some()
    }
}

/// As the lock file has it, which is what this program was built with.
fn version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let version_after = |text: &'static str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split_once('"')?.0)
    };
    let own = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"\n");
    let own = lock.split("[[package]]").find(|entry| entry.contains(own));
    // Where there are several versions of a crate, whoever depends on it says on which.
    own.and_then(|own| version_after(own, &format!("\"{package} ")))
        .or_else(|| version_after(lock, &format!("name = \"{package}\"\nversion = \"")))
        .unwrap_or("of unknown version")
}
