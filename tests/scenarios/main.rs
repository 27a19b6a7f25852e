//! Incidents of other systems, one named test each, over the whole stack in one process: the
//! sandbox without a socket, the OAuth client, the cache and the layer. Time is virtual, and all
//! clocks agree unless a test sets one apart.

mod fleet;
#[path = "../support/mod.rs"]
mod shared;
mod support;

mod callers;
mod cancelled;
mod clocks;
mod commands;
mod durability;
mod idle;
mod lifetimes;
mod lost;
mod outages;
mod panics;
mod patience;
mod rejected;
mod responses;
mod secret;
mod storms;
mod tenants;
