//! The life of a token in a cache, in virtual time.

#![allow(clippy::unchecked_time_subtraction, reason = "of constants")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/code_exchange.rs"]
mod code_exchange;

mod authorization;
mod command;
mod fencing;
mod flight;
mod idle;
mod lease;
mod life;
mod lost;
mod refuted;
mod replicas;
mod status;
mod store;
mod turns;
