//! The wire format: bytes to argument slices ([`scanner`]), replies to bytes ([`reply`]). No
//! sockets here.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

mod inline;
pub mod reply;
pub mod scanner;

pub use reply::{Reply, Version};
pub use scanner::{Args, Limits, ProtocolError, Scanned, Scanner};
