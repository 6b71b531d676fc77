//! HTTP semantics (RFC 9110) and HTTP/1.1 on the wire (RFC 9112), without a socket.

pub mod authority;
pub mod fields;
pub mod head;
pub mod http1;
pub mod method;
pub mod status;

pub use fields::{FieldError, Fields};
pub use head::{RequestHead, ResponseHead, TargetError, Version};
pub use method::Method;
