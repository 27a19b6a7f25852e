//! Customers who connect in a browser: the router, driven without a socket, over the sandbox. Time is virtual.

#[path = "../support/mod.rs"]
mod shared;
mod shelf;
mod support;

mod callback;
mod cookies;
mod disconnect;
mod hostile;
mod once;
mod replicas;
mod secrets;
mod start;
mod storing;
