//! The requests of a connection by their numbers: few, so that looking through them is quicker than anything that sorts or hashes.

use super::connection::Pending;

#[derive(Default)]
pub(super) struct Requests(Vec<(u16, Pending)>);

impl Requests {
    fn position(&self, id: u16) -> Option<usize> {
        self.0.iter().position(|(found, _)| *found == id)
    }

    pub(super) fn get(&self, id: u16) -> Option<&Pending> {
        self.position(id).map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut Pending> {
        self.position(id).map(|at| &mut self.0[at].1)
    }

    /// Adds one; the caller has seen that its number is free.
    pub(super) fn insert(&mut self, id: u16, pending: Pending) {
        self.0.push((id, pending));
    }

    pub(super) fn remove(&mut self, id: u16) -> Option<Pending> {
        self.position(id).map(|at| self.0.swap_remove(at).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u16, Pending)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
