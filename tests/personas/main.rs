//! Each provider of the catalogue, against the persona of the sandbox that behaves like it.
//!
//! `raw` checks the personas by plain HTTP. `walk` takes a customer of each provider from the
//! consent to the end of the grant, over real HTTP. `lives` lets many customers of each provider
//! live through random failures.

#[path = "../support/mod.rs"]
mod shared;

mod lives;
mod partner;
mod raw;
mod walk;
