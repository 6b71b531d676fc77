//! What goes between workers and the hub about locks.

use serde::{Deserialize, Serialize};

pub use super::name::Name;

/// Who holds and waits: a connection, a session over several connections, a script. Random or counted from something random.
pub type PartyId = u128;

/// The longest name, bytes.
pub const MAX_NAME: usize = 255;

/// How a name is shared. Who asks for it otherwise than its holders have it waits until it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of holders.
    Shared,
    /// A semaphore: that many holders.
    Permits(u32),
}

impl Mode {
    /// How many may hold it.
    #[must_use]
    pub fn room(self) -> usize {
        match self {
            Self::Exclusive => 1,
            Self::Shared => usize::MAX,
            Self::Permits(count) => count as usize,
        }
    }
}

/// What kind of lease is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// How it is shared.
    pub mode: Mode,
    /// How long it lasts unless it is renewed, milliseconds.
    pub lease_ms: u64,
    /// How long to wait for it, milliseconds; 0 is not at all.
    pub wait_ms: u64,
    /// Whether the lease goes on without its connection, to be taken up by another one. Otherwise the connection's end ends it.
    pub lasting: bool,
}

/// Something that a party asks for. Every ask has exactly one answer, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the worker.
    pub seq: u64,
    /// Who asks.
    #[serde(with = "random")]
    pub party: PartyId,
    /// For what.
    pub act: Act,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A job lock. → [`Said::Run`], [`Said::NotRun`], or, when it may wait, [`Said::Wait`] and later [`Said::Ended`].
    Job {
        /// The job.
        name: Name,
        /// To be told the outcome when somebody else does the job.
        wait: bool,
    },
    /// The job is over. → [`Said::Ended`] to every party to it, [`Said::NotEnded`] when the asker does not hold it.
    End {
        /// The job.
        name: Name,
        /// Whether it was done; it failed otherwise.
        done: bool,
    },
    /// A lease. → [`Said::Granted`], [`Said::Busy`], or [`Said::Queued`] and later [`Said::Granted`] or [`Said::TimedOut`].
    Take {
        /// The name.
        name: Name,
        /// The kind of lease.
        want: Want,
    },
    /// The lease begins anew now. → [`Said::Renewed`], [`Said::NotHeld`].
    Renew {
        /// The name.
        name: Name,
        /// How long, milliseconds; as before when it is not said.
        lease_ms: Option<u64>,
    },
    /// A lease is given back, or waited for no more. → [`Said::Released`], [`Said::NotHeld`].
    Release {
        /// The name.
        name: Name,
    },
    /// The party's connection has ended. → [`Said::Left`]. Its jobs have failed, its leases end unless they are lasting.
    Leave,
    /// The party takes up a session. → [`Said::Holds`]. From now on its worker is the one that asks.
    Resume,
    /// → [`Said::Locks`].
    List {
        /// What names begin with.
        prefix: Name,
        /// The most names.
        limit: u32,
    },
}

impl Act {
    /// Of which lock it is, where it is of one.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Job { name, .. }
            | Self::End { name, .. }
            | Self::Take { name, .. }
            | Self::Renew { name, .. }
            | Self::Release { name } => Some(name),
            Self::Leave | Self::Resume | Self::List { .. } => None,
        }
    }
}

/// What a party is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tell {
    /// Who.
    pub party: PartyId,
    /// The `seq` of the ask that this answers; none when it comes by itself.
    pub answers: Option<u64>,
    /// Of which lock; empty where it is about none.
    pub name: Name,
    /// What.
    pub said: Said,
}

/// What a party is told, as a worker is told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// An answer. Whose it is, and of which lock, the worker knows of the ask.
    Answer {
        /// The ask's number.
        seq: u64,
        /// What.
        said: Said,
    },
    /// What comes by itself.
    News {
        /// Who is told.
        #[serde(with = "random")]
        party: PartyId,
        /// Of which lock; empty where it is about none.
        name: Name,
        /// What.
        said: Said,
    },
}

impl From<Tell> for Told {
    fn from(Tell { party, answers, name, said }: Tell) -> Self {
        match answers {
            Some(seq) => Self::Answer { seq, said },
            None => Self::News { party, name, said },
        }
    }
}

/// Identities as their bytes: of a random number that is all there is, and less work than a number of variable length.
mod random {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(party: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&party.to_le_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        bytes.try_into().map(u128::from_le_bytes).map_err(serde::de::Error::custom)
    }
}

/// What can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The job is the party's.
    Run {
        /// The fencing token: larger than every earlier one.
        token: u64,
    },
    /// Somebody else does the job; the outcome will be told.
    Wait,
    /// The job is not the party's: somebody does it, or no lock can be had.
    NotRun,
    /// The job was not the party's to end.
    NotEnded,
    /// Somebody else holds it, or the party itself.
    Busy,
    /// The job has ended.
    Ended {
        /// Whether it was done; it failed otherwise.
        done: bool,
    },
    /// The lease is the party's.
    Granted {
        /// The fencing token: larger than every earlier one.
        token: u64,
        /// When it runs out, milliseconds of [`crate::scoreboard::now_ms`].
        until_ms: u64,
        /// Its length, milliseconds.
        lease_ms: u64,
        /// How it is shared.
        mode: Mode,
        /// Whether it goes on without its connection.
        lasting: bool,
    },
    /// It is held; the party has its place in the queue.
    Queued {
        /// The place: smaller ones come first.
        ticket: u64,
        /// When the wait ends, milliseconds of [`crate::scoreboard::now_ms`].
        deadline_ms: u64,
        /// What is waited for.
        want: Want,
    },
    /// The wait is over without the lock.
    TimedOut,
    /// The lease was renewed.
    Renewed {
        /// When it runs out, milliseconds of [`crate::scoreboard::now_ms`].
        until_ms: u64,
    },
    /// It is given back.
    Released,
    /// The party does not hold it (any more).
    NotHeld,
    /// The lease has run out.
    Lost,
    /// Another connection has taken up the session.
    Moved,
    /// Nothing is left to do for a party that ended.
    Left,
    /// As much is held or waited for as may be.
    Limit,
    /// There are no locks for now.
    Unavailable,
    /// What the session holds.
    Holds(Vec<Hold>),
    /// Locks, by name.
    Locks(Vec<Listed>),
}

/// A lease that a session holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The name.
    pub name: Name,
    /// Its token.
    pub token: u64,
    /// How it is shared.
    pub mode: Mode,
    /// When it runs out, milliseconds of [`crate::scoreboard::now_ms`].
    pub until_ms: u64,
    /// Its length, milliseconds.
    pub lease_ms: u64,
}

/// A lock as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The name.
    pub name: Name,
    /// Whether a job holds it.
    pub job: bool,
    /// How it is shared.
    pub mode: Mode,
    /// How many hold it.
    pub holders: u32,
    /// How many wait: for the lock, or for the outcome of the job.
    pub waiting: u32,
    /// The largest token of its holders.
    pub token: u64,
}

impl Listed {
    /// `job`, `exclusive`, `shared`, or the number of permits.
    #[must_use]
    pub fn mode_in_words(&self) -> String {
        match self.mode {
            _ if self.job => "job".to_owned(),
            Mode::Exclusive => "exclusive".to_owned(),
            Mode::Shared => "shared".to_owned(),
            Mode::Permits(count) => count.to_string(),
        }
    }
}

/// What a worker has told one of its parties, told to a new hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who.
    #[serde(with = "random")]
    pub party: PartyId,
    /// Which lock.
    pub name: Name,
    /// What it was told.
    pub state: Claimed,
}

/// What a party believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claimed {
    /// It does the job.
    Job {
        /// By this token.
        token: u64,
        /// It has asked to end it: should somebody hold it by a later token, it has ended.
        ending: bool,
    },
    /// It waits for the outcome of the job.
    JobWait,
    /// It holds a lease.
    Lease {
        /// By this token.
        token: u64,
        /// How it is shared.
        mode: Mode,
        /// Until then, milliseconds of [`crate::scoreboard::now_ms`].
        until_ms: u64,
        /// The lease's length, milliseconds.
        lease_ms: u64,
        /// Whether it goes on without its connection.
        lasting: bool,
    },
    /// It waits for a lease.
    Queued {
        /// At this place.
        ticket: u64,
        /// Until then, milliseconds of [`crate::scoreboard::now_ms`].
        deadline_ms: u64,
        /// For this.
        want: Want,
    },
}
