//! The life of a token in a cache, in virtual time.

#[path = "../support/mod.rs"]
mod support;

mod command;
mod flight;
mod life;
mod replicas;
mod store;
