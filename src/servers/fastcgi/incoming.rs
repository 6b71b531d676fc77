//! What a record means for the requests of a connection.

use std::rc::Rc;

use super::asked::{Asked, Refusal};
use super::connection::{Begun, Connection, Pending};
use super::exchange;
use super::inbox::Inbox;
use crate::codec::fastcgi::{
    BeginRequest, Kind, ProtocolStatus, RESPONDER, Record, RecordError, pairs, write_pair, write_record, write_unknown_type,
};
use crate::reactor::{self, Scope};

impl Connection {
    /// Takes a record. Those of requests that are not (or no longer) there mean nothing (section 3.3).
    ///
    /// # Errors
    /// Nothing after it can be understood.
    pub(super) fn take(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let (id, content) = (record.request, record.content);
        match record.kind {
            Kind::GetValues if id == 0 => self.tell_values(content),
            _ if id == 0 => self.with_output(|out| write_unknown_type(record.kind, out)),
            Kind::BeginRequest => self.begin(id, BeginRequest::read(content)?)?,
            Kind::AbortRequest => self.abort(id),
            Kind::Params => self.parameters(id, content),
            Kind::Stdin => self.body(id, content),
            _ => {}
        }
        Ok(())
    }

    fn begin(&self, id: u16, begin: BeginRequest) -> Result<(), RecordError> {
        self.passed_by(id);
        let count = self.requests.borrow().len();
        if self.requests.borrow().get(id).is_some() {
            // Two requests of one number: whose records follow nobody can tell.
            return Err(RecordError::Length(Kind::BeginRequest));
        }
        let refused = if begin.role != RESPONDER {
            ProtocolStatus::UnknownRole
        } else if self.closing.get() || count >= self.server.serving().config.max_requests as usize {
            ProtocolStatus::Overloaded
        } else {
            let head = Pending::Head { begin, since: reactor::now(), parameters: Vec::new() };
            self.requests.borrow_mut().insert(id, head);
            return Ok(());
        };
        self.end(id, 0, refused);
        if !begin.keep {
            self.closing.set(true);
        }
        Ok(())
    }

    fn abort(&self, id: u16) {
        let running = match self.requests.borrow().get(id) {
            Some(Pending::Running { inbox, .. }) => Some(inbox.clone()),
            Some(Pending::Head { .. }) => None,
            None => return self.passed_by(id),
        };
        match running {
            // Who answers ends it.
            Some(inbox) => inbox.abort(),
            None => self.end(id, 0, ProtocolStatus::Complete),
        }
    }

    fn parameters(&self, id: u16, content: &[u8]) {
        let most = usize::try_from(*self.server.serving().config.max_parameter_bytes).unwrap_or(usize::MAX);
        let too_many = match self.requests.borrow_mut().get_mut(id) {
            Some(Pending::Head { parameters, .. }) if !content.is_empty() => {
                let too_many = parameters.len() + content.len() > most;
                if !too_many {
                    parameters.extend_from_slice(content);
                }
                too_many
            }
            Some(Pending::Head { .. }) => false,
            _ => return,
        };
        if too_many {
            self.refuse(id, 431, "the parameters are too large");
        } else if content.is_empty() {
            self.start(id, None);
        }
    }

    fn body(&self, id: u16, content: &[u8]) {
        let inbox = match self.requests.borrow().get(id) {
            Some(Pending::Running { inbox, .. }) => Some(inbox.clone()),
            Some(Pending::Head { .. }) => None,
            None if content.is_empty() => return self.passed_by(id),
            None => return,
        };
        match inbox {
            Some(inbox) if content.is_empty() => inbox.end(),
            Some(inbox) => inbox.push(content),
            None => self.refuse(id, 400, "the body begins before the parameters end"),
        }
    }

    /// Answers a request whose parameters cannot be taken.
    pub(super) fn refuse(&self, id: u16, status: u16, why: &'static str) {
        self.start(id, Some(Refusal(status, why)));
    }

    /// Begins to answer a request.
    fn start(&self, id: u16, refusal: Option<Refusal>) {
        let serving = self.server.serving();
        let mut requests = self.requests.borrow_mut();
        let Some(Pending::Head { begin, parameters, .. }) = requests.remove(id) else { return };
        let inbox = Rc::new(Inbox::new(self.driver.clone(), *serving.config.max_body, *serving.config.timeouts.body));
        requests.insert(id, Pending::Running { begin, inbox: inbox.clone() });
        drop(requests);
        let asked = match refusal {
            Some(refusal) => Err(refusal),
            None => Asked::read(&parameters, serving.config.max_parameters as usize, (&self.front, &self.local), &self.server.name),
        };
        if let Ok(asked) = &asked {
            inbox.announce(asked.length);
        }
        self.begun.borrow_mut().push(Begun { id, inbox, serving, asked });
    }

    /// Answers the requests that have begun. Before this the records that came with them are taken: a request that has come whole needs no wait.
    pub(super) fn answer_begun(self: &Rc<Self>, scope: &Scope) {
        let mut all = self.begun.take();
        for Begun { id, inbox, serving, asked } in all.drain(..) {
            exchange::begin(self, id, inbox, serving, asked, scope);
        }
        // Its memory serves the next ones.
        self.begun.replace(all);
    }

    /// Says what the application can take (section 4.1). Names that are not known are left out.
    fn tell_values(&self, content: &[u8]) {
        let serving = self.server.serving();
        let mut known = Vec::new();
        for (name, _) in pairs(content).map_while(Result::ok) {
            let value = match name {
                b"FCGI_MAX_CONNS" => serving.config.max_connections.to_string(),
                b"FCGI_MAX_REQS" => (u64::from(serving.config.max_connections) * u64::from(serving.config.max_requests)).to_string(),
                b"FCGI_MPXS_CONNS" => "1".to_owned(),
                _ => continue,
            };
            write_pair(name, value.as_bytes(), &mut known);
        }
        // A question as long as a record may be has an answer longer than one: what does not fit was asked twice.
        known.truncate(if known.len() > 0xffff { 0 } else { known.len() });
        self.with_output(|out| {
            if known.is_empty() {
                crate::codec::fastcgi::write_end(Kind::GetValuesResult, 0, out);
            } else {
                write_record(Kind::GetValuesResult, 0, &known, out);
            }
        });
    }
}
