//! Customers connect in a browser: the router is called without a socket, with the sandbox as
//! provider. Time is virtual.

#[path = "../support/mod.rs"]
mod shared;
mod store;
mod support;

mod callback;
mod consent;
mod cookies;
mod disconnect;
mod form_post;
mod hostile;
mod kept_values;
mod pushed;
mod repeated;
mod replicas;
mod saving;
mod secrets;
mod shares;
mod start;
mod texts;
