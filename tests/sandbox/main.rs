//! Tests of the sandbox through HTTP. Those that need no socket run in virtual time.

mod assertions;
mod authorization;
mod client_secret;
mod codes;
mod connect;
mod deductions;
mod event_log;
mod faults;
mod flow;
mod formats;
mod fuzz;
mod metadata;
mod movable_clock;
mod own_origin;
mod pages;
mod pushed;
mod refusals;
mod replay;
mod resources;
mod revocation;
mod rotation;
mod socket;
mod status;
mod support;
