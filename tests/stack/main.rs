//! The layer in common Tower stacks.

#[path = "../support/mod.rs"]
mod support;

mod capacity;
mod grpc;
mod http2;
mod redirects;
mod tower_http;
mod tower_layers;
