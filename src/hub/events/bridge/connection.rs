//! The connection that listens: what it orders, what it hears, and how it comes back.

use std::rc::Weak;
use std::time::Duration;

use super::Bridge;
use crate::clients::redis::{Connection, RedisError};
use crate::codec::resp;
use crate::hub::events::commands::{LONGEST_WAIT, addresses};
use crate::log_warn;
use crate::reactor::{self, timeout};

/// How often Redis is asked whether it is there, and half of how long it may be silent.
const QUIET: Duration = Duration::from_secs(5);

/// Listens for as long as there is a bridge.
pub(super) async fn listen(bridge: Weak<Bridge>) {
    let mut wait = Duration::from_millis(50);
    let mut told = false;
    loop {
        let Some(target) = bridge.upgrade().map(|bridge| bridge.target.clone()) else { return };
        let error = match Connection::open(&target, addresses).await {
            Ok(connection) => {
                (wait, told) = (Duration::from_millis(50), false);
                let (orders, receiver) = async_channel::unbounded();
                let Some(this) = bridge.upgrade() else { return };
                let first = this.connected(orders);
                drop(this);
                let error = futures_lite::future::or(speak(&connection, first, &receiver), hearken(&connection, &bridge)).await;
                let Some(this) = bridge.upgrade() else { return };
                this.disconnected();
                error
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut told, true) {
            log_warn!("events: Redis at {} cannot be listened to: {error}; trying again", target.place);
        }
        reactor::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Sends what comes first, then orders, and where there are none, looks whether Redis is still there.
async fn speak(connection: &Connection, first: Vec<u8>, orders: &async_channel::Receiver<Vec<u8>>) -> RedisError {
    let mut bytes = first;
    loop {
        while let Ok(more) = orders.try_recv() {
            bytes.extend_from_slice(&more);
        }
        if let Err(error) = connection.send(&bytes).await {
            return error;
        }
        bytes = match timeout(QUIET, orders.recv()).await {
            Ok(Ok(bytes)) => bytes,
            // It was given up.
            Ok(Err(_)) => return RedisError::TimedOut,
            Err(_) => {
                let mut ping = Vec::new();
                resp::command(&mut ping, &[b"PING"]);
                ping
            }
        };
    }
}

async fn hearken(connection: &Connection, bridge: &Weak<Bridge>) -> RedisError {
    loop {
        let value = match timeout(2 * QUIET, connection.receive()).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return error,
            Err(_) => return RedisError::TimedOut,
        };
        let Some(bridge) = bridge.upgrade() else { return RedisError::TimedOut };
        bridge.heard(&value);
    }
}
