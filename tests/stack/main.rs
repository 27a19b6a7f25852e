//! The layer in the stacks that people build.

#[path = "../support/mod.rs"]
mod support;

mod capacity;
mod grpc;
mod http2;
mod redirects;
mod tower_http;
mod tower_layers;
