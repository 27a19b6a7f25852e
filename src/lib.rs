//! x
pub mod bearer;
pub mod cache;
pub mod clock;
pub mod error;
pub mod oauth;
mod origin;
pub mod provider;
pub mod store;
pub mod token;
pub use error::{Error, ErrorKind};
pub use origin::Origin;
