//! The connection over which Redis is asked: commands in order, many in one write.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::clients::dns::Resolver;
use crate::clients::redis::config::Target;
use crate::clients::redis::{Connection, RedisError};
use crate::codec::resp::{self, Value};
use crate::reactor::{self, timeout};
use crate::{log_info, log_warn};

/// Commands that may wait.
pub(super) const MOST_WAITING: usize = 10_000;
/// Commands sent in one write.
const BATCH: usize = 512;
/// Bytes after which no more are added to a write.
const BATCH_BYTES: usize = 1 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without commands it is looked whether Redis is still there.
const QUIET: Duration = Duration::from_secs(5);
/// The longest wait before the next try to connect.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);

const PUBLISH: &str = include_str!("publish.lua");
const READ: &str = include_str!("read.lua");
const TELL: &str = "return redis.call('PUBLISH', ARGV[1], ARGV[2])";
const LIFE: &str = include_str!("life.lua");

/// Which script a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Publish,
    Read,
    /// Brings a message to a channel, and does nothing else.
    Tell,
}

/// A command and who waits for its answer.
pub(super) struct Job {
    pub(super) script: Script,
    pub(super) keys: [String; 3],
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) answer: async_channel::Sender<Result<Value, String>>,
}

/// A connection that knows the scripts.
struct Session {
    connection: Connection,
    publish: String,
    read: String,
    tell: String,
}

impl Session {
    async fn open(target: &Target, life_key: &str, new_life: u64) -> Result<Self, RedisError> {
        let connection = Connection::open(target, addresses).await?;
        let info = connection.call(&[b"INFO", b"server"]).await?;
        let run =
            info.text().and_then(|text| text.lines().find_map(|line| line.strip_prefix("run_id:"))).ok_or(RedisError::Protocol)?.trim();
        connection.call(&[b"EVAL", LIFE.as_bytes(), b"1", life_key.as_bytes(), run.as_bytes(), new_life.to_string().as_bytes()]).await?;
        let publish = load(&connection, PUBLISH).await?;
        let read = load(&connection, READ).await?;
        let tell = load(&connection, TELL).await?;
        Ok(Self { connection, publish, read, tell })
    }

    fn write(&self, job: &Job, out: &mut Vec<u8>) {
        let sha = match job.script {
            Script::Publish => &self.publish,
            Script::Read => &self.read,
            Script::Tell => &self.tell,
        };
        let mut parts: Vec<&[u8]> = vec![b"EVALSHA", sha.as_bytes(), b"3"];
        parts.extend(job.keys.iter().map(String::as_bytes));
        parts.extend(job.arguments.iter().map(Vec::as_slice));
        resp::command(out, &parts);
    }

    /// Sends a batch and gives everybody the answer.
    async fn run(&self, batch: &mut Vec<Job>) -> Result<(), RedisError> {
        let mut bytes = Vec::new();
        batch.iter().for_each(|job| self.write(job, &mut bytes));
        self.connection.send(&bytes).await?;
        for _ in 0..batch.len() {
            let value = timeout(PATIENCE, self.connection.receive()).await.map_err(|_| RedisError::TimedOut)??;
            let job = batch.remove(0);
            let answer = match value {
                Value::Error(why) if why.starts_with(b"NOSCRIPT") => {
                    // Somebody emptied the cache of scripts; the next connection brings them again.
                    batch.insert(0, job);
                    return Err(RedisError::Refused("the scripts were forgotten".to_owned()));
                }
                Value::Error(why) => Err(format!("redis: {}", String::from_utf8_lossy(&why))),
                value => Ok(value),
            };
            // Who does not wait any more does not mind.
            let _ = job.answer.try_send(answer);
        }
        Ok(())
    }
}

async fn load(connection: &Connection, script: &str) -> Result<String, RedisError> {
    let sha = connection.call(&[b"SCRIPT", b"LOAD", script.as_bytes()]).await?;
    sha.text().map(str::to_owned).ok_or(RedisError::Protocol)
}

/// Runs commands for as long as somebody can send them, over as many connections as it takes. What was sent when a connection broke is answered
/// with an error, and so is what waits while there is none.
pub(super) async fn serve(target: Target, life_key: String, mut new_life: impl FnMut() -> u64, jobs: async_channel::Receiver<Job>) {
    let mut wait = Duration::from_millis(50);
    let mut told = false;
    loop {
        let mut failed = Vec::new();
        let error = match Session::open(&target, &life_key, new_life()).await {
            Ok(session) => {
                log_info!("events: connected to Redis at {}", target.place);
                (wait, told) = (Duration::from_millis(50), false);
                match work(&session, &jobs, &mut failed).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut told, true) {
            log_warn!("events: Redis at {} cannot be used: {error}; trying again", target.place);
        }
        for job in failed {
            let _ = job.answer.try_send(Err(format!("redis: {error}: whether it took effect is unknown")));
        }
        while let Ok(job) = jobs.try_recv() {
            let _ = job.answer.try_send(Err(format!("redis: not connected: {error}")));
        }
        if jobs.is_closed() {
            return;
        }
        reactor::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn work(session: &Session, jobs: &async_channel::Receiver<Job>, batch: &mut Vec<Job>) -> Result<(), RedisError> {
    loop {
        match timeout(QUIET, jobs.recv()).await {
            Ok(Ok(job)) => batch.push(job),
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                session.connection.call(&[b"PING"]).await?;
                continue;
            }
        }
        let size = |job: &Job| job.arguments.iter().map(Vec::len).sum::<usize>();
        let mut bytes = size(&batch[0]);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += size(&job);
            batch.push(job);
        }
        session.run(batch).await?;
    }
}

/// The addresses of a host.
pub(super) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    Resolver::of_thread().lookup(host).await.map_err(|error| io::Error::other(error.to_string()))
}
