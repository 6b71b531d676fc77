//! Replacing all workers gracefully.
//!
//! One worker of the new generation is tried first. Only when it is ready do the old ones begin to retire, each when another has
//! taken its place; an application that does not load any more costs nothing. Two generations live at most: while an older one still
//! drains, further reloads wait, and are one.

use super::commands::Asker;
use super::instance::Master;
use super::spawning::Wanted;
use super::supervision::Phase;
use crate::log_info;
use crate::process::Outcome;
use crate::units::counted;

/// A reload that goes on, and those that wait.
#[derive(Debug, Default)]
pub struct Reload {
    running: Option<Running>,
    waiting: Vec<Asker>,
}

#[derive(Debug)]
struct Running {
    askers: Vec<Asker>,
    /// The generation to fall back to while the first new worker is tried; `None` once it is ready.
    trying: Option<u64>,
}

impl Master {
    /// Begins a reload, or lets it wait for the one before.
    pub fn ask_reload(&mut self, asker: Asker) {
        if self.reload.running.is_some() || self.two_generations() {
            self.progress(asker, "waiting for the workers of an earlier reload to finish");
        }
        self.reload.waiting.push(asker);
        self.begin_reload();
    }

    /// Whether workers of an older generation are still there.
    fn two_generations(&self) -> bool {
        self.workers().any(|c| c.generation != self.generation)
    }

    fn begin_reload(&mut self) {
        if self.reload.running.is_some() || self.reload.waiting.is_empty() || self.two_generations() {
            return;
        }
        let before = self.generation;
        self.generation += 1;
        log_info!("reload: generation {} begins", self.generation);
        let askers = std::mem::take(&mut self.reload.waiting);
        self.worker_backoff.forget();
        let room = self.workers().count() < self.settings.workers.max_total as usize;
        if room {
            self.to_spawn.push_back(Wanted::Worker(self.generation));
            self.reload.running = Some(Running { askers, trying: Some(before) });
        } else {
            // No room to try one beside the old ones: they make room one by one.
            self.reload.running = Some(Running { askers, trying: None });
            self.retire_old();
        }
    }

    fn retire_old(&mut self) {
        let generation = self.generation;
        for worker in self.workers_mut().filter(|c| c.generation != generation && c.phase == Phase::Serving) {
            worker.phase = Phase::Retiring;
        }
    }

    /// A worker has become ready: perhaps the first of a new generation.
    pub fn reload_ready(&mut self, generation: u64) {
        if generation != self.generation {
            // Forked before the reload began, ready after.
            self.retire_late();
            return;
        }
        if let Some(running) = &mut self.reload.running
            && running.trying.take().is_some()
        {
            self.retire_old();
        }
    }

    fn retire_late(&mut self) {
        if self.reload.running.as_ref().is_some_and(|running| running.trying.is_none()) {
            self.retire_old();
        }
    }

    /// A worker could not start. When it was the first of a new generation, the reload has failed and nothing has changed.
    pub fn reload_failed(&mut self, generation: u64, why: &str) {
        if generation != self.generation {
            return;
        }
        let Some(running) = self.reload.running.take() else { return };
        if let Some(before) = running.trying {
            self.generation = before;
            self.worker_backoff.forget();
        }
        let text = format!("reload failed, the workers that were there serve on: {why}");
        self.last_error = Some(text.clone());
        for asker in running.askers {
            self.answer(asker, Outcome::failed(text.clone()));
        }
    }

    /// Whether the reload that goes on has come to its end; then the next may begin.
    pub fn check_reload(&mut self) {
        let replaced = self.workers().filter(|c| c.generation == self.generation && c.phase == Phase::Serving).count();
        let old = self.workers().any(|c| c.generation != self.generation && c.phase != Phase::Draining);
        if !old
            && replaced >= self.wanted
            && let Some(running) = self.reload.running.take_if(|running| running.trying.is_none())
        {
            let text = format!("{} in service (generation {})", counted(replaced, "new worker"), self.generation);
            self.last_error = None;
            log_info!("reload: {text}");
            for asker in running.askers {
                if asker != Asker::Signal {
                    self.answer(asker, Outcome::done(text.clone()));
                }
            }
        }
        self.begin_reload();
    }

    /// Nobody will get an answer any more: the instance ends.
    pub fn abandon_reload(&mut self, why: &str) {
        let running = self.reload.running.take().map(|running| running.askers).unwrap_or_default();
        for asker in running.into_iter().chain(std::mem::take(&mut self.reload.waiting)) {
            self.answer(asker, Outcome::failed(why));
        }
    }
}
