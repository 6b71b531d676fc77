//! Connecting to a host that has several addresses: the next one is tried while the one before is still silent (RFC 8305).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::Socket;
use crate::reactor::{sleep, timeout};

/// How long an address has before the next one is tried beside it (RFC 8305 section 8: "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);
/// How long one address has in all. One that has not answered by then answers to nobody.
const EACH: Duration = Duration::from_secs(5);
/// Attempts under way at once.
const AT_ONCE: usize = 4;
/// Addresses that are tried of one host.
const MOST: usize = 16;

type Attempt = (SocketAddr, Pin<Box<dyn Future<Output = io::Result<Socket>>>>);

/// Connects to the first of these addresses that answers: each gets a quarter of a second before the next is tried beside it, or less
/// when it refuses; the families take turns, beginning with the family of the first. The caller bounds the time of the whole.
///
/// # Errors
/// What the last address said, and which one it was. `InvalidInput` without any address.
pub async fn connect_any(addresses: &[SocketAddr]) -> Result<Socket, (io::Error, Option<SocketAddr>)> {
    let mut left = in_turns(addresses);
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut last = (io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to"), None);
    loop {
        if attempts.len() < AT_ONCE
            && let Some(address) = left.pop_front()
        {
            attempts.push((address, Box::pin(attempt(address))));
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let may_start = !left.is_empty() && attempts.len() < AT_ONCE;
        match next_event(&mut attempts, may_start).await {
            Event::Connected(socket) => return Ok(socket),
            Event::Failed(error, address) => last = (error, Some(address)),
            Event::HeadStartOver => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<Socket> {
    timeout(EACH, Socket::connect_tcp(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

enum Event {
    Connected(Socket),
    Failed(io::Error, SocketAddr),
    HeadStartOver,
}

/// The next attempt that ends, which is taken off the list, or the end of the latest one's head start.
async fn next_event(attempts: &mut Vec<Attempt>, may_start: bool) -> Event {
    let mut head_start = pin!(sleep(HEAD_START));
    poll_fn(|cx| {
        for place in 0..attempts.len() {
            if let Poll::Ready(result) = attempts[place].1.as_mut().poll(cx) {
                let (address, _) = attempts.swap_remove(place);
                return Poll::Ready(result.map_or_else(|error| Event::Failed(error, address), Event::Connected));
            }
        }
        if may_start { head_start.as_mut().poll(cx).map(|()| Event::HeadStartOver) } else { Poll::Pending }
    })
    .await
}

/// The addresses with the families taking turns (RFC 8305 section 4), each once and not more than are tried.
fn in_turns(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first() else { return VecDeque::new() };
    let (mut one, mut other): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut turns = VecDeque::with_capacity(addresses.len());
    while !(one.is_empty() && other.is_empty()) && turns.len() < MOST {
        for address in [one.pop_front(), other.pop_front()].into_iter().flatten() {
            if !turns.contains(&address) {
                turns.push_back(address);
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Instant;

    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};

    use super::*;
    use crate::reactor;

    /// A listener whose queue is full, so that the kernel answers nobody who connects; with what fills it.
    fn silent(address: [u8; 4]) -> (SocketAddr, OwnedFd, Vec<TcpStream>) {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(address[0], address[1], address[2], address[3], 0)).unwrap();
        listen(&fd, Backlog::new(0).unwrap()).unwrap();
        let listener = TcpListener::from(fd);
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            filling.push(stream);
        }
        (address, OwnedFd::from(listener), filling)
    }

    #[test]
    fn families_take_turns_and_their_number_is_bounded() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1", "10.0.0.1:1"]);
        let expected = parse(&["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1", "10.0.0.3:1"]);
        assert_eq!(Vec::from(in_turns(&given)), expected);
        let many: Vec<SocketAddr> = (1..=100).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(in_turns(&many).len(), MOST);
        assert!(in_turns(&[]).is_empty());
    }

    #[test]
    fn a_silent_address_costs_its_head_start_only() {
        let (silent, _queue, _filling) = silent([127, 0, 0, 2]);
        let live = TcpListener::bind("127.0.0.1:0").unwrap();
        let live_address = live.local_addr().unwrap();
        reactor::run(async move {
            let began = Instant::now();
            let Ok(socket) = connect_any(&[silent, live_address]).await else { panic!("no connection") };
            assert_eq!(socket.peer().ip(), Some(live_address.ip()));
            assert!(began.elapsed() >= HEAD_START && began.elapsed() < EACH, "{:?}", began.elapsed());
        })
        .unwrap();
    }

    #[test]
    fn refusals_cost_no_head_start() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let live = TcpListener::bind("127.0.0.1:0").unwrap();
        let live_address = live.local_addr().unwrap();
        reactor::run(async move {
            // Ports of an address that nobody listens on: as many as are tried before the last.
            let mut addresses: Vec<SocketAddr> =
                (0..MOST as u8 - 1).map(|last| SocketAddr::from(([127, 0, 7, last], refusing.port()))).collect();
            addresses.push(live_address);
            let began = Instant::now();
            let Ok(socket) = connect_any(&addresses).await else { panic!("no connection") };
            assert_eq!(socket.peer().ip(), Some(live_address.ip()));
            assert!(began.elapsed() < HEAD_START * MOST as u32 / 2, "{:?}", began.elapsed());
            let Err((error, address)) = connect_any(&[refusing]).await else { panic!("a connection") };
            assert_eq!((error.kind(), address), (io::ErrorKind::ConnectionRefused, Some(refusing)));
            let Err((error, address)) = connect_any(&[]).await else { panic!("a connection") };
            assert_eq!((error.kind(), address), (io::ErrorKind::InvalidInput, None));
        })
        .unwrap();
    }
}
