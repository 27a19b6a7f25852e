//! The sandbox, seen from the wire. All but `socket` run in virtual time and use no network.

mod flow;
mod rotation;
mod support;
