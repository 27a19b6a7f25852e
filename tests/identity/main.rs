//! P25: several clients over one store. None uses, sends, ends, replaces or sweeps the grant of
//! another.

#[path = "../support/mod.rs"]
mod shared;

#[expect(dead_code, reason = "no test here delays a response")]
#[path = "../support/code_exchange.rs"]
mod code_exchange;

mod adoption;
mod consent;
mod http;
mod same_tenant;
mod support;
mod sweep;
