//! `@skep/live`: events for browsers.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::AppContext;
use crate::script::live;

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    live::open(lua, app)
}
