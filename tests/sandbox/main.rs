//! The sandbox, seen from the wire. All but what needs a socket runs in virtual time.

mod authorization;
mod codes;
mod deductions;
mod event_log;
mod faults;
mod flow;
mod fuzz;
mod pages;
mod refusals;
mod replay;
mod resources;
mod revocation;
mod rotation;
mod socket;
mod spelling;
mod status;
mod support;
