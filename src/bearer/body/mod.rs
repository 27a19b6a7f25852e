//! Request bodies: which ones can be sent twice, and how. Response bodies: what the layer has read.

mod replay_body;
mod request_body;
mod response_body;

pub(super) use self::response_body::{End, Observer, Rest};
pub use self::{replay_body::ReplayBody, request_body::RequestBody, response_body::ResponseBody};
