//! A network between clients and a server that can stop to carry anything, without a word to either.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;

/// Carries bytes to a server and back, until it is cut: then it takes them and keeps both ends open, so that neither sees an end. Who connects after that is
/// carried again.
pub struct Wire {
    pub address: SocketAddr,
    /// How often it was cut.
    cuts: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let wire = Self { address: listener.local_addr().expect("an address"), cuts: Arc::default(), over: Arc::default() };
        let (cuts, over) = (wire.cuts.clone(), wire.over.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(SeqCst) {
                    return;
                }
                let (near, made) = (near.expect("a connection"), cuts.load(SeqCst));
                let Ok(far) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
                    let cuts = cuts.clone();
                    thread::spawn(move || carry(from, to, || cuts.load(SeqCst) != made));
                }
            }
        });
        wire
    }

    /// Nothing is carried any more on the connections that there are.
    pub fn cut(&self) {
        self.cuts.fetch_add(1, SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _refused = TcpStream::connect(self.address);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_cut: impl Fn() -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !is_cut() && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // An end does not get through a wire that is cut. Whoever is at the other end is told by its own socket then.
    if !is_cut() {
        let _gone = to.shutdown(std::net::Shutdown::Both);
    }
}
