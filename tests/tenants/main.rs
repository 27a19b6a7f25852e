//! Many tenants behind one layer: whose token a request carries, what is held of whom, and who is kept alive.

#[path = "../support/mod.rs"]
mod shared;

#[path = "../support/code_exchange.rs"]
mod code_exchange;

mod authorization;
mod fleet;
mod held;
mod isolation;
mod loading;
mod memory;
mod named;
mod refuted;
mod support;
mod sweep;
