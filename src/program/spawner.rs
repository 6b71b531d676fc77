//! The thread that starts programs, so that the event loop does not wait for fork and exec.
//!
//! It lives as long as the process. That matters: the kernel kills a program that asked for it when the *thread* that started it ends
//! (prctl(2), `PR_SET_PDEATHSIG`), so a thread of a pool would not do.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Command, Pipes, Program, Started, adopt, start};
use crate::sys::program::{ProgramLimits, Standing};

/// What the thread needs of stack: that of a child is not on it.
const STACK: usize = 256 << 10;

/// A program to be started, and where to say that it was.
struct Order {
    command: Command,
    limits: ProgramLimits,
    standing: Standing,
    started: async_channel::Sender<io::Result<Started>>,
}

static SPAWNER: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// Starts a program without making this thread wait. It dies with this process, however that ends.
///
/// # Errors
/// It cannot be started, or not be watched.
pub async fn spawn(command: Command, limits: ProgramLimits, standing: Standing) -> io::Result<(Program, Pipes)> {
    let standing = Standing { dies_with: i32::try_from(std::process::id()).ok(), ..standing };
    let (started, answer) = async_channel::bounded(1);
    order(Order { command, limits, standing, started })?;
    let gone = |_| io::Error::other("the thread that starts programs is gone");
    adopt(answer.recv().await.map_err(gone)??)
}

fn order(order: Order) -> io::Result<()> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let order = match &*spawner {
        Some(orders) => match orders.send(order) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent.0,
        },
        None => order,
    };
    let (orders, waiting) = channel::<Order>();
    thread::Builder::new().name("spawner".to_owned()).stack_size(STACK).spawn(move || {
        for Order { command, limits, standing, started } in waiting {
            // Who asked may have left meanwhile: then the child goes with the message.
            let _ = started.try_send(start(command, limits, standing));
        }
    })?;
    let sent = orders.send(order).map_err(|_| io::Error::other("the thread that starts programs is gone"));
    *spawner = Some(orders);
    sent
}
