//! The sandbox, seen from the wire. All but `socket` run in virtual time and use no network.

mod authorization;
mod flow;
mod refusals;
mod rotation;
mod spelling;
mod support;
