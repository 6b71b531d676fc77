//! The requests that an application is working on.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use mlua::{LuaString, Table};
use slab::Slab;

use super::ScriptRequest;
use crate::request::RequestId;

/// The requests that an application is working on, by the number that their tables carry.
#[derive(Default)]
pub(in crate::script) struct ActiveRequests {
    slots: RefCell<Slab<(u32, Rc<ScriptRequest>)>>,
    generation: Cell<u32>,
    /// The name of the field that holds a table's number, made once.
    pub(super) key: OnceCell<LuaString>,
}

/// Places in the slab; the number above it is the generation.
const PLACES: u64 = 1 << 20;

impl ActiveRequests {
    pub(in crate::script) fn insert(&self, request: Rc<ScriptRequest>) -> f64 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let place = self.slots.borrow_mut().insert((generation, request));
        (u64::from(generation) * PLACES + place as u64) as f64
    }

    fn split(number: f64) -> (usize, u32) {
        let number = number as u64;
        ((number % PLACES) as usize, (number / PLACES) as u32)
    }

    pub(in crate::script) fn get(&self, number: f64) -> Option<Rc<ScriptRequest>> {
        let (place, generation) = Self::split(number);
        let slots = self.slots.borrow();
        slots.get(place).filter(|(found, _)| *found == generation).map(|(_, request)| request.clone())
    }

    pub(in crate::script) fn remove(&self, number: f64) {
        let (place, generation) = Self::split(number);
        let mut slots = self.slots.borrow_mut();
        if slots.get(place).is_some_and(|(found, _)| *found == generation) {
            slots.remove(place);
        }
    }

    pub(in crate::script) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    pub(in crate::script) fn with_id(&self, id: RequestId) -> Option<Rc<ScriptRequest>> {
        self.slots.borrow().iter().find(|(_, (_, request))| request.id == id).map(|(_, (_, request))| request.clone())
    }

    pub(super) fn of(&self, number: f64) -> mlua::Result<Rc<ScriptRequest>> {
        self.get(number).ok_or_else(|| mlua::Error::runtime("this request is over"))
    }

    pub(super) fn of_table(&self, table: &Table) -> mlua::Result<Rc<ScriptRequest>> {
        self.of(table
            .raw_get::<Option<f64>>(self.key.get())?
            .ok_or_else(|| mlua::Error::runtime("call it with a colon on the request: req:method()"))?)
    }
}
