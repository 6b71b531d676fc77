//! HTTP semantics (RFC 9110) and HTTP/1.1 on the wire (RFC 9112), without a socket.

pub mod accept;
pub mod authority;
pub mod conditional;
pub mod date;
pub mod etag;
pub mod fields;
pub mod forwarded;
pub mod head;
pub mod http1;
pub mod method;
pub mod parameters;
pub mod range;
pub mod status;

pub use fields::{FieldError, Fields};
pub use head::{RequestHead, ResponseHead, Target, TargetError, Version};
pub use method::Method;
