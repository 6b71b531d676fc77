//! Names to addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf` (RFC 1035, UDP with TCP for long answers).
//!
//! The binary is static, so the system's resolver is not there to be asked. Nothing blocks: questions go over the reactor.

mod cache;
mod exchange;
mod files;
mod system;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

pub use system::System;

use async_channel::Receiver;
use cache::Cache;
use files::{Files, Origin};

use crate::net::{Socket, connect_any};

/// Aliases followed in one answer.
const MAX_ALIASES: usize = 16;

/// Why a name has no answer. The message has the name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// There is no such name.
    NoSuchName(String),
    /// The name has nothing of the type asked for.
    NoData(String),
    /// It cannot be a name.
    BadName(String),
    /// No server answered in time.
    TimedOut(String),
    /// Every server refused or failed; the last one's reason.
    Failed(String, String),
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsError::NoSuchName(name) => write!(f, "no such host ({name})"),
            DnsError::NoData(name) => write!(f, "the name has no such record ({name})"),
            DnsError::BadName(name) => write!(f, "not a host name ({name})"),
            DnsError::TimedOut(name) => write!(f, "no name server answered ({name})"),
            DnsError::Failed(name, why) => write!(f, "{why} ({name})"),
        }
    }
}

impl std::error::Error for DnsError {}

/// The kinds of records that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name behind an alias.
    Cname,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
    /// The name of an address.
    Ptr,
    /// Servers of a service (RFC 2782).
    Srv,
    /// Texts.
    Txt,
}

impl RecordType {
    /// From its name in capitals.
    #[must_use]
    pub fn from_name(name: &str) -> Option<RecordType> {
        Some(match name {
            "A" => RecordType::A,
            "AAAA" => RecordType::Aaaa,
            "CNAME" => RecordType::Cname,
            "MX" => RecordType::Mx,
            "NS" => RecordType::Ns,
            "PTR" => RecordType::Ptr,
            "SRV" => RecordType::Srv,
            "TXT" => RecordType::Txt,
            _ => return None,
        })
    }

    fn wire(self) -> TYPE {
        match self {
            RecordType::A => TYPE::A,
            RecordType::Aaaa => TYPE::AAAA,
            RecordType::Cname => TYPE::CNAME,
            RecordType::Mx => TYPE::MX,
            RecordType::Ns => TYPE::NS,
            RecordType::Ptr => TYPE::PTR,
            RecordType::Srv => TYPE::SRV,
            RecordType::Txt => TYPE::TXT,
        }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Address(IpAddr),
    /// Another name: of CNAME, NS and PTR.
    Name(String),
    /// A mail server.
    Mx {
        /// The lowest is tried first.
        preference: u16,
        /// The server.
        host: String,
    },
    /// A server of a service.
    Srv {
        /// The lowest is tried first.
        priority: u16,
        /// The share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The server.
        host: String,
    },
    /// A text; its parts joined.
    Text(Vec<u8>),
}

/// A question under way: whoever asks the same waits for this to close, which it also does when the asker gives up.
type Asking = HashMap<(String, RecordType), Receiver<()>>;

/// Answers questions, and remembers the answers for as long as they hold.
pub struct Resolver {
    origin: Origin,
    cache: RefCell<Cache>,
    asking: RefCell<Asking>,
    /// How many questions were asked: where the rotation over the servers is.
    asked: Cell<usize>,
}

/// Takes a question off the list of those under way, however its asker ends.
struct Asker<'a> {
    list: &'a RefCell<Asking>,
    key: (String, RecordType),
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        self.list.borrow_mut().remove(&self.key);
    }
}

impl Resolver {
    /// A resolver with these servers and hosts.
    #[must_use]
    pub fn new(system: System) -> Rc<Resolver> {
        Resolver::with(Origin::Fixed(Rc::new(system)))
    }

    /// A resolver with what these two files say, in the form of `/etc/hosts` and `/etc/resolv.conf`. They are read again when they change,
    /// which is looked for with a question, at most once a second.
    #[must_use]
    pub fn of_files(hosts: &Path, resolv: &Path) -> Rc<Resolver> {
        Resolver::with(Origin::Files(Files::read(hosts, resolv, Instant::now())))
    }

    /// The one of this thread: with the settings that [`System::adopt`] was given, else with the files of the system.
    #[must_use]
    pub fn of_thread() -> Rc<Resolver> {
        thread_local! {
            static SHARED: Rc<Resolver> = match System::adopted() {
                Some(system) => Resolver::new(system),
                None => Resolver::of_files(Path::new("/etc/hosts"), Path::new("/etc/resolv.conf")),
            };
        }
        SHARED.with(Rc::clone)
    }

    fn with(origin: Origin) -> Rc<Resolver> {
        Rc::new(Resolver { origin, cache: RefCell::default(), asking: RefCell::default(), asked: Cell::new(0) })
    }

    /// The settings that hold now. Answers that others gave are forgotten with them.
    fn system(&self) -> Rc<System> {
        self.system_at(Instant::now())
    }

    fn system_at(&self, now: Instant) -> Rc<System> {
        let (system, changed) = self.origin.system(now);
        if changed {
            self.cache.replace(Cache::default());
        }
        system
    }

    /// A connection to a port of a host, at whichever of its addresses answers. The caller bounds the time.
    ///
    /// # Errors
    /// [`DnsError`], or what the last address said.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Socket> {
        let found = self.lookup(host).await.map_err(io::Error::other)?;
        let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        connect_any(&addresses).await.map_err(|(error, _)| error)
    }

    /// The addresses of a host, IPv4 first; of an address, itself. A name that ends with a dot is full: no domain is tried behind it.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let full = host.ends_with('.');
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let system = self.system();
        if let Some(addresses) = system.hosts.get(&host) {
            return Ok(addresses.clone());
        }
        // RFC 6761 section 6.3: this name never leaves the machine.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        }
        let mut last = DnsError::NoSuchName(host.clone());
        let names = if full { vec![host] } else { system.candidates(&host) };
        for name in names {
            match self.both_families(&name).await {
                Err(DnsError::NoSuchName(_) | DnsError::NoData(_)) => {}
                Err(error) => last = error,
                found => return found,
            }
        }
        Err(last)
    }

    async fn both_families(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (four, six) = futures_lite::future::zip(self.resolve(name, RecordType::A), self.resolve(name, RecordType::Aaaa)).await;
        let mut addresses = Vec::new();
        for records in [&four, &six].into_iter().flatten() {
            addresses.extend(records.iter().filter_map(|record| match record {
                Record::Address(address) => Some(*address),
                _ => None,
            }));
        }
        if addresses.is_empty() {
            // A question that failed says more than one whose answer is "none": the name may well have addresses.
            let is_absence = |error: &DnsError| matches!(error, DnsError::NoSuchName(_) | DnsError::NoData(_));
            let mut errors: Vec<DnsError> = [four.err(), six.err()].into_iter().flatten().collect();
            errors.sort_by_key(is_absence);
            Err(errors.into_iter().next().unwrap_or_else(|| DnsError::NoData(name.to_owned())))
        } else {
            Ok(addresses)
        }
    }

    /// The records of one type that a full name has.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn resolve(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, DnsError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let key = (name.clone(), kind);
        let system = self.system();
        let (_asking, _asker) = loop {
            if let Some(known) = self.cache.borrow_mut().get(&name, kind, Instant::now()) {
                return known;
            }
            let under_way = self.asking.borrow().get(&key).cloned();
            if let Some(under_way) = under_way {
                // Nothing is ever sent: the end of the asker closes the channel. Its answer is then in the cache, or we ask ourselves.
                let _ = under_way.recv().await;
                continue;
            }
            let (asking, closed) = async_channel::bounded(1);
            self.asking.borrow_mut().insert(key.clone(), closed);
            // In this order the question is off the list before those who wait are woken.
            break (asking, Asker { list: &self.asking, key });
        };
        let question = Self::question(&name, kind)?;
        let first = if system.rotate { self.asked.replace(self.asked.get().wrapping_add(1)) } else { 0 };
        let answer = Box::pin(exchange::ask(&system, first, &name, &question, |bytes| is_answer(bytes, &question))).await?;
        let (result, ttl) = read_answer(&answer, &name, kind);
        if let Some(ttl) = ttl {
            self.cache.borrow_mut().insert(name, kind, result.clone(), ttl, Instant::now());
        }
        result
    }

    /// The names of an address.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn reverse(&self, address: IpAddr) -> Result<Vec<String>, DnsError> {
        let names = self.system().names_of(address);
        if !names.is_empty() {
            return Ok(names);
        }
        let records = self.resolve(&reverse_name(address), RecordType::Ptr).await?;
        Ok(records
            .into_iter()
            .filter_map(|record| match record {
                Record::Name(name) => Some(name),
                _ => None,
            })
            .collect())
    }

    fn question(name: &str, kind: RecordType) -> Result<Vec<u8>, DnsError> {
        let bad = || DnsError::BadName(name.to_owned());
        if name.is_empty()
            || !name.is_ascii()
            || name.bytes().any(|byte| byte <= b' ' || byte == b'\\')
            || name.split('.').any(str::is_empty)
        {
            return Err(bad());
        }
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|error| DnsError::Failed(name.to_owned(), error.to_string()))?;
        let mut packet = Packet::new_query(u16::from_ne_bytes(id));
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let qname = Name::new(name).map_err(|_| bad())?;
        packet.questions.push(Question::new(qname, QTYPE::TYPE(kind.wire()), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().map_err(|_| bad())
    }
}

/// `4.3.2.1.in-addr.arpa` and its like for IPv6 (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

/// Whether a packet answers this question: the same number, name and type. Anything else may be forged.
fn is_answer(bytes: &[u8], question: &[u8]) -> bool {
    let (Ok(answer), Ok(asked)) = (Packet::parse(bytes), Packet::parse(question)) else { return false };
    let same = |one: &Question<'_>, other: &Question<'_>| {
        one.qtype == other.qtype && one.qclass == other.qclass && one.qname.to_string().eq_ignore_ascii_case(&other.qname.to_string())
    };
    answer.id() == asked.id()
        && answer.has_flags(PacketFlag::RESPONSE)
        && answer.questions.len() == 1
        && asked.questions.first().is_some_and(|asked| same(&answer.questions[0], asked))
}

/// The records of an answer, and for how long it may be remembered.
fn read_answer(bytes: &[u8], name: &str, kind: RecordType) -> (Result<Vec<Record>, DnsError>, Option<Duration>) {
    let failed = |why: &str| (Err(DnsError::Failed(name.to_owned(), why.to_owned())), None);
    let Ok(answer) = Packet::parse(bytes) else { return failed("the name server's answer is malformed") };
    match answer.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return (Err(DnsError::NoSuchName(name.to_owned())), Some(negative_ttl(&answer))),
        RCODE::Refused => return failed("the name server refused to answer"),
        _ => return failed("the name server failed"),
    }
    let mut wanted = name.to_owned();
    let mut ttl = u32::MAX;
    for _ in 0..MAX_ALIASES {
        let own = answer.answers.iter().filter(|record| record.name.to_string().eq_ignore_ascii_case(&wanted));
        let records: Vec<Record> = own
            .clone()
            .filter_map(|record| {
                let read = read_record(&record.rdata, kind)?;
                ttl = ttl.min(record.ttl);
                Some(read)
            })
            .collect();
        if !records.is_empty() {
            return (Ok(records), Some(Duration::from_secs(u64::from(ttl))));
        }
        let alias = own.clone().find_map(|record| match &record.rdata {
            RData::CNAME(alias) => Some((alias.0.to_string(), record.ttl)),
            _ => None,
        });
        match alias {
            Some((alias, alias_ttl)) => {
                ttl = ttl.min(alias_ttl);
                wanted = alias;
            }
            None => break,
        }
    }
    (Err(DnsError::NoData(name.to_owned())), Some(negative_ttl(&answer)))
}

/// For how long the absence of something holds (RFC 2308 section 5).
fn negative_ttl(answer: &Packet<'_>) -> Duration {
    let soa = answer.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
        _ => None,
    });
    Duration::from_secs(u64::from(soa.unwrap_or(5)))
}

fn read_record(data: &RData<'_>, kind: RecordType) -> Option<Record> {
    Some(match (data, kind) {
        (RData::A(a), RecordType::A) => Record::Address(IpAddr::from(a.address.to_be_bytes())),
        (RData::AAAA(a), RecordType::Aaaa) => Record::Address(IpAddr::from(a.address.to_be_bytes())),
        (RData::CNAME(name), RecordType::Cname) => Record::Name(name.0.to_string()),
        (RData::NS(name), RecordType::Ns) => Record::Name(name.0.to_string()),
        (RData::PTR(name), RecordType::Ptr) => Record::Name(name.0.to_string()),
        (RData::MX(mx), RecordType::Mx) => Record::Mx { preference: mx.preference, host: mx.exchange.to_string() },
        (RData::SRV(srv), RecordType::Srv) => {
            Record::Srv { priority: srv.priority, weight: srv.weight, port: srv.port, host: srv.target.to_string() }
        }
        (RData::TXT(txt), RecordType::Txt) => Record::Text(text(txt)),
        _ => return None,
    })
}

fn text(txt: &simple_dns::rdata::TXT<'_>) -> Vec<u8> {
    match String::try_from(txt.clone()) {
        Ok(text) => text.into_bytes(),
        Err(_) => {
            txt.iter_raw().flat_map(|(key, value)| [key, value.map_or(&b""[..], |_| b"="), value.unwrap_or_default()].concat()).collect()
        }
    }
}

#[cfg(test)]
mod tests;
