//! Grants other than an authorization code, each against the sandbox.

mod client_credentials;
mod device;
mod jwt_bearer;
mod support;
mod tenants;
mod token_exchange;
