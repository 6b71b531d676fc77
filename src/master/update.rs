//! Applying a changed configuration in place.
//!
//! The file is read and checked, new listeners are bound; then the hub and one worker change over, and only when both could do the
//! others follow. Whatever fails on the way, those that had changed over are put back, new listeners are closed, and everything is as
//! it was.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::admin_token;
use super::commands::Asker;
use super::instance::Master;
use super::listeners::{self, Listening, Plan};
use crate::config::{self, Settings, Watch};
use crate::process::{ListenerName, Outcome, ToChild};
use crate::scoreboard::Role;
use crate::{log_error, log_info, log_warn, telemetry};

/// How long the processes may take to change over.
const LIMIT: Duration = Duration::from_secs(30);

/// The update that goes on, and who asked for another one meanwhile.
#[derive(Debug, Default)]
pub struct Update {
    running: Option<Box<Running>>,
    waiting: Vec<Asker>,
}

#[derive(Debug)]
struct Running {
    askers: Vec<Asker>,
    settings: Settings,
    revision: u64,
    plan: Plan,
    /// Told, and not answered yet.
    told: Vec<Pid>,
    /// Changed over.
    done: Vec<Pid>,
    /// Whether all have been told, not only the first.
    everybody: bool,
    deadline: Instant,
    lines: Vec<String>,
    /// What the configuration had better not say.
    warnings: Vec<String>,
}

impl Update {
    /// When the processes must have answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.deadline)
    }
}

impl Master {
    /// Begins an update, or lets it wait for the one that goes on.
    pub fn ask_update(&mut self, asker: Asker) {
        self.update.waiting.push(asker);
        if self.update.running.is_none() {
            self.begin_update();
        }
    }

    fn begin_update(&mut self) {
        let askers = std::mem::take(&mut self.update.waiting);
        self.notifier.reloading();
        let prepared = if askers.iter().all(|asker| *asker == Asker::Renewed) { self.prepare_renewal() } else { self.prepare_update() };
        match prepared {
            Ok(Some(running)) => {
                let first = self.workers().find(|c| c.is_ready()).map(|c| c.pid);
                let hub = self.hub().filter(|c| c.is_ready()).map(|c| c.pid);
                self.update.running = Some(Box::new(Running { askers, ..running }));
                for pid in hub.into_iter().chain(first) {
                    self.tell_update(pid);
                }
            }
            Ok(None) => self.update_done(askers, Outcome::done("nothing has changed")),
            Err(why) => self.update_refused(askers, why),
        }
    }

    /// Reads and checks the file and binds what is new. `None`: nothing is different.
    fn prepare_update(&mut self) -> Result<Option<Running>, Vec<String>> {
        let Some(file) = self.config.clone() else {
            return Err(vec!["there is no configuration file: skep runs on built-in defaults (write them out: skep init)".to_owned()]);
        };
        let loaded = config::load(Some(&file)).map_err(|errors| {
            self.watch_files(&errors.files_read);
            errors.lines()
        })?;
        self.watch_files(&loaded.files_read);
        let mut settings = loaded.settings;
        self.adjust_settings(&mut settings);
        admin_token::complete(&mut settings);
        let changes = config::diff(&self.settings, &settings);
        if changes.is_empty() {
            return Ok(None);
        }
        config::keep_what_needs_a_restart(&self.settings, &mut settings);
        let warnings = loaded.warnings.iter().map(config::Problem::line).collect();
        Ok(Some(Running { warnings, ..self.change_to(settings, changes.lines())? }))
    }

    /// The configuration in force with the certificates that were ordered meanwhile: what else was written since waits for who asks for it.
    fn prepare_renewal(&mut self) -> Result<Option<Running>, Vec<String>> {
        let mut settings = self.settings.clone();
        for trouble in settings.take_ordered() {
            log_warn!("a certificate that was ordered cannot be taken up: {trouble}");
        }
        let changes = config::diff(&self.settings, &settings);
        if changes.is_empty() {
            return Ok(None);
        }
        self.change_to(settings, changes.lines()).map(Some)
    }

    fn change_to(&mut self, settings: Settings, mut lines: Vec<String>) -> Result<Running, Vec<String>> {
        let plan = listeners::plan(&settings, &self.listeners, Vec::new()).map_err(|error| vec![error.to_string()])?;
        self.prepare_access_log(&settings);
        lines.extend(plan.notes.iter().cloned());
        Ok(Running {
            askers: Vec::new(),
            settings,
            revision: self.revision + 1,
            plan,
            told: Vec::new(),
            done: Vec::new(),
            everybody: false,
            deadline: Instant::now() + LIMIT,
            lines,
            warnings: Vec::new(),
        })
    }

    fn watch_files(&mut self, files: &[std::path::PathBuf]) {
        if let Some(watch) = &mut self.watch
            && let Err(error) = watch.replace(files)
        {
            log_warn!("the configuration cannot be watched: {error}");
        }
    }

    /// Has one child change over to the configuration of the update that goes on.
    fn tell_update(&mut self, pid: Pid) {
        let Some(running) = &mut self.update.running else { return };
        let Some(child) = self.children.iter_mut().find(|c| c.pid == pid) else { return };
        let (added, removed) = (own(&running.plan.added, child.role), own(&running.plan.removed, child.role));
        change_over(child, running.revision, &running.settings, &added, &removed);
        running.told.push(pid);
    }

    /// A child has answered.
    pub fn child_updated(&mut self, pid: Pid, revision: u64, result: Result<Vec<String>, String>) {
        let Some(child) = self.child(pid) else { return };
        let name = child.name();
        let Some(running) = self.update.running.as_mut().filter(|r| r.revision == revision && r.told.contains(&pid)) else {
            // It was put back after a failed update, or brought up to date after its start: it must not stay half-way.
            if let Err(why) = result {
                log_warn!("{name} is killed: it could not change over: {why}");
                if let Some(child) = self.child(pid) {
                    child.kill("it could not change over to the configuration in force");
                }
            }
            return;
        };
        running.told.retain(|told| *told != pid);
        match result {
            Ok(notes) => {
                running.done.push(pid);
                for note in notes {
                    if !running.lines.contains(&note) {
                        running.lines.push(note);
                    }
                }
                self.advance_update();
            }
            Err(why) => self.roll_back(why),
        }
    }

    /// When all that were told have answered: tells the others, or is done.
    fn advance_update(&mut self) {
        let Some(running) = &mut self.update.running else { return };
        if !running.told.is_empty() {
            return;
        }
        if running.everybody {
            self.commit();
            return;
        }
        running.everybody = true;
        let done = running.done.clone();
        let others: Vec<Pid> = self.children.iter().filter(|c| c.is_ready() && !done.contains(&c.pid)).map(|c| c.pid).collect();
        for pid in &others {
            self.tell_update(*pid);
        }
        if others.is_empty() {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let Some(running) = self.update.running.take() else { return };
        let Running { askers, settings, revision, plan, lines, warnings, .. } = *running;
        let log_changed = self.settings.log != settings.log;
        let file_changed = self.settings.log.file != settings.log.file;
        self.settings = settings;
        self.revision = revision;
        for gone in &plan.removed {
            if !plan.all.iter().any(|kept| kept.configured == gone.configured) {
                gone.remove_file();
            }
        }
        self.listeners = plan.all;
        self.wanted = super::mpm::Limits::of(&self.settings.workers).clamp(self.wanted);
        self.worker_backoff.forget();
        if log_changed {
            self.change_log(file_changed);
        }
        self.follow_auto_reload();
        // Those that were forked meanwhile, with the configuration before.
        let behind: Vec<Pid> = self.children.iter().filter(|c| c.is_ready() && c.revision < revision).map(|c| c.pid).collect();
        for pid in behind {
            self.bring_up_to_date(pid);
        }
        log_info!("the configuration was applied (revision {revision})");
        self.update_done(askers, Outcome { ok: true, lines, warnings, status: None });
    }

    fn change_log(&mut self, file_changed: bool) {
        if let Err(error) = telemetry::init(&self.settings.log, "master") {
            self.trouble(format!("the log goes on where it was: {error}"));
            return;
        }
        match telemetry::open_again() {
            Ok(Some(fd)) if file_changed => {
                for child in &self.children {
                    child.tell_with(&ToChild::ReopenLogs, &[fd.as_fd()]);
                }
            }
            Ok(_) => {}
            Err(error) => self.trouble(error.to_string()),
        }
    }

    /// Watches the configuration as `auto_reload` says.
    pub fn follow_auto_reload(&mut self) {
        match (&self.watch, self.settings.auto_reload, &self.config) {
            (Some(_), false, _) => self.watch = None,
            (None, true, Some(file)) => match Watch::new(std::slice::from_ref(file)) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => log_warn!("the configuration cannot be watched: {error}"),
            },
            _ => {}
        }
    }

    /// Everybody goes back to the configuration in force.
    fn roll_back(&mut self, why: String) {
        let Some(running) = self.update.running.take() else { return };
        let Running { askers, plan, told, done, .. } = *running;
        for child in self.children.iter_mut().filter(|c| told.contains(&c.pid) || done.contains(&c.pid)) {
            change_over(child, self.revision, &self.settings, &own(&plan.removed, child.role), &own(&plan.added, child.role));
        }
        for new in plan.added.iter().filter(|new| !self.listeners.iter().any(|old| old.configured == new.configured)) {
            new.remove_file();
        }
        self.update_refused(askers, vec![why]);
    }

    /// Gives a child that became ready with an older configuration the one in force.
    pub fn bring_up_to_date(&mut self, pid: Pid) {
        let Some(child) = self.children.iter_mut().find(|c| c.pid == pid) else { return };
        // Which listeners it was forked with is known by its revision only; taking over one it has already changes nothing.
        let all = own(&self.listeners, child.role);
        change_over(child, self.revision, &self.settings, &all, &[]);
    }

    /// A child has ended while it was to change over.
    pub fn update_lost(&mut self, pid: Pid) {
        let Some(running) = &mut self.update.running else { return };
        running.done.retain(|done| *done != pid);
        if running.told.contains(&pid) {
            running.told.retain(|told| *told != pid);
            self.roll_back("a process ended while it changed over to the new configuration".to_owned());
        }
    }

    /// Gives up on an update that takes too long, and begins the next when there is one.
    pub fn check_update(&mut self, now: Instant) {
        if self.update.deadline().is_some_and(|deadline| deadline <= now) {
            self.roll_back(format!("not every process has changed over within {} s", LIMIT.as_secs()));
        }
        self.advance_update();
        if self.update.running.is_none() && !self.update.waiting.is_empty() {
            self.begin_update();
        }
    }

    fn update_done(&mut self, askers: Vec<Asker>, outcome: Outcome) {
        self.notifier.ready(&self.summary());
        // A renewed certificate does not put right what is wrong in a file.
        if askers.iter().any(|asker| *asker != Asker::Renewed) {
            self.last_error = None;
        }
        for asker in askers {
            self.answer(asker, outcome.clone());
        }
        crate::sys::memory::trim();
    }

    fn update_refused(&mut self, askers: Vec<Asker>, mut lines: Vec<String>) {
        self.notifier.ready(&self.summary());
        lines.push("the configuration was not changed; the one before serves on".to_owned());
        let told_by_log = askers.iter().any(|a| matches!(a, Asker::Signal | Asker::Saved | Asker::Renewed));
        if told_by_log {
            self.last_error = Some(lines.join("\n"));
        } else {
            self.trouble(lines.join("\n"));
        }
        let outcome = Outcome { ok: false, lines, ..Outcome::default() };
        for asker in askers {
            self.answer(asker, outcome.clone());
        }
    }

    /// Nobody will get an answer any more: the instance ends.
    pub fn abandon_update(&mut self, why: &str) {
        let running = self.update.running.take().map(|running| running.askers).unwrap_or_default();
        for asker in running.into_iter().chain(std::mem::take(&mut self.update.waiting)) {
            self.answer(asker, Outcome::failed(why));
        }
    }
}

/// The listeners that a process of this role serves.
fn own(listening: &[Listening], role: Role) -> Vec<Listening> {
    listening.iter().filter(|l| (l.server == config::ADMIN) == (role == Role::Hub)).cloned().collect()
}

fn change_over(child: &mut super::child::Child, revision: u64, settings: &Settings, added: &[Listening], removed: &[Listening]) {
    let settings = match serde_json::to_string(&Master::seen_by(child.role, settings)) {
        Ok(settings) => settings,
        Err(error) => {
            log_error!("{} cannot be given the configuration: {error}", child.name());
            return;
        }
    };
    let names = |listening: &[Listening]| listening.iter().map(Listening::name).collect::<Vec<ListenerName>>();
    let fds: Vec<_> = added.iter().map(|l| l.socket().as_fd()).collect();
    let message = ToChild::Update { revision, settings, added: names(added), removed: names(removed) };
    child.revision = revision;
    child.tell_with(&message, &fds);
}
