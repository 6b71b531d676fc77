//! Who may use a route: lists of addresses, and names with passwords (docs/access.md).

mod config;
mod door;
mod failures;
mod gate;
mod places;
mod users;

pub use config::{Access, Auth, Basic};
pub use users::{Users, UsersError};

pub(super) use door::Door;
pub(super) use gate::Gate;
