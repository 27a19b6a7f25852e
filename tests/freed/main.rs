//! P21, inspected: no memory that the crate frees contains a secret.
//!
//! The allocator of this program searches each block before it is freed. Each secret repeats one
//! mark, which also its parts and its base64 contain. The HTTP client and the connections to
//! servers are fakes that own no secrets, so everything found is memory of this crate, or of a
//! library that the crate gives a secret to.

mod cache;
#[cfg(feature = "dpop")]
mod dpop;
mod http_client;
mod oauth;
#[cfg(feature = "redis")]
mod redis;
mod stores;
mod support;

#[global_allocator]
static ALLOCATOR: freed_memory::Inspecting = freed_memory::Inspecting;
