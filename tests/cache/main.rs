//! The cache of one grant, in virtual time.

#![allow(clippy::unchecked_time_subtraction, reason = "of constants")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/code_exchange.rs"]
mod code_exchange;

mod authorization;
mod command;
mod consent;
mod extremes;
mod fencing;
mod idle;
mod interleavings;
mod lease;
mod lifetime;
mod limiter;
mod lost_response;
mod panics;
mod patience;
mod presence;
mod provider_lifetimes;
mod rejected;
mod replicas;
mod rotation;
mod runtimes;
mod saves;
mod single_flight;
mod status;
mod unknown_lifetime;
