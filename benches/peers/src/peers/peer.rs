//! A crate that is measured, and how it is used.

use std::error::Error;

use tokio::runtime::Runtime;

use crate::{
    load::{self, Load},
    work,
};

/// The reason why a peer cannot be used.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A way to add a token to requests.
pub(crate) struct Peer {
    /// The name of the crate.
    pub(crate) package: &'static str,
    /// The type of the crate.
    pub(crate) part: &'static str,
    /// How this peer differs from others of the same crate.
    pub(crate) variant: Option<&'static str>,
    /// Whether it sends a request again after a 401.
    pub(crate) retry: &'static str,
    pub(crate) side: Side,
    /// Obtains the token, and wraps the service that does nothing.
    pub(super) warm: fn(&Runtime) -> Result<Box<dyn Load>, Failure>,
    /// The request without a token, for peers that do not use `http::Request`.
    pub(super) bare: Option<fn() -> Box<dyn Load>>,
}

/// The role of a peer in the comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The lower bound.
    Floor,
    Ours,
    Theirs,
}

impl Peer {
    /// The name in the table: crate, version, type, variant.
    pub(crate) fn title(&self) -> String {
        let (package, part) = (self.package, self.part);
        let mut title = match self.side {
            Side::Ours => format!("`{package}` {part}"),
            Side::Floor | Side::Theirs => format!("`{package}` {} {part}", version(package)),
        };
        if let Some(variant) = self.variant {
            title = format!("{title}, {variant}");
        }
        title
    }

    /// A load with a fresh token, which is checked to reach the service.
    pub(crate) fn warm(&self, runtime: &Runtime) -> Result<Box<dyn Load>, Failure> {
        let mut load = (self.warm)(runtime)?;
        if work::arrives_with_token(|| load.send(work::SHAPES[0], 1)) {
            Ok(load)
        } else {
            Err("the request arrives without the token".into())
        }
    }

    /// The baseline of its cost.
    pub(crate) fn bare(&self) -> Box<dyn Load> {
        self.bare.unwrap_or(load::no_layer)()
    }

    /// Whether its baseline differs from that of the other peers.
    pub(crate) fn has_own_bare_load(&self) -> bool {
        self.bare.is_some()
    }
}

/// The version in the lock file.
fn version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let version_after = |text: &'static str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split_once('"')?.0)
    };
    let own = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"\n");
    let own = lock.split("[[package]]").find(|entry| entry.contains(own));
    // If the lock file has several versions, the entry of the dependent names one.
    own.and_then(|own| version_after(own, &format!("\"{package} ")))
        .or_else(|| version_after(lock, &format!("name = \"{package}\"\nversion = \"")))
        .unwrap_or("of unknown version")
}
