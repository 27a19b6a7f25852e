//! Many tenants behind one layer: the token of each request, residency and eviction, and sweeps.

#[path = "../support/mod.rs"]
mod shared;

#[path = "../support/code_exchange.rs"]
mod code_exchange;

mod addresses;
mod authorization;
mod consents;
mod eviction;
mod fleet;
mod health;
mod isolation;
mod loading;
mod memory;
mod panics;
mod regressions;
mod replicas;
mod routing;
mod support;
mod sweep;
