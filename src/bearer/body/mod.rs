//! Request bodies: which ones can be sent twice, and how.

mod replay_body;
mod request_body;

pub use self::{replay_body::ReplayBody, request_body::RequestBody};
