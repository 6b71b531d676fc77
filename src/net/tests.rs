use super::*;
use crate::reactor::{self, Scope, timeout};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

struct Always;

impl Balance for Always {
    fn is_loaded(&self) -> bool {
        false
    }
    fn has_room(&self) -> bool {
        true
    }
}

fn listener() -> (Listener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (Listener::new(OwnedFd::from(listener)).unwrap(), address)
}

#[test]
fn connects_accepts_and_talks() {
    reactor::run(async {
        let (listener, address) = listener();
        let scope = Scope::new();
        scope.spawn(async move {
            let accepted = listener.accept(&Always, |error| panic!("{error}")).await.unwrap();
            assert!(accepted.peer.ip().unwrap().is_loopback());
            assert!(nix::sys::socket::getsockopt(&accepted.fd, nix::sys::socket::sockopt::TcpNoDelay).unwrap());
            let stream = Stream::from(Socket::new(accepted.fd).unwrap());
            let mut buffer = [0; 64];
            let mut all = Vec::new();
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    n => all.extend_from_slice(&buffer[..n]),
                }
            }
            stream.write_all(&all).await.unwrap();
        });
        let client = Stream::from(Socket::connect_tcp(address).await.unwrap());
        let big = vec![b'x'; 3_000_000];
        client.write_all(&big).await.unwrap();
        client.shutdown_write().await.unwrap();
        let mut got = 0;
        let mut buffer = vec![0; 65536];
        loop {
            match client.read(&mut buffer).await.unwrap() {
                0 => break,
                n => got += n,
            }
        }
        assert_eq!(got, big.len());
        scope.wait().await;
    })
    .unwrap();
}

#[test]
fn a_refused_connection_says_so() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = reactor::run(async move { Socket::connect_tcp(address).await.map(|_| ()) }).unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_loaded_process_lets_the_others_go_first_but_not_for_ever() {
    struct Loaded(Cell<u32>);
    impl Balance for Loaded {
        fn is_loaded(&self) -> bool {
            self.0.set(self.0.get() + 1);
            true
        }
        fn has_room(&self) -> bool {
            true
        }
    }
    reactor::run(async {
        let (listener, address) = listener();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let loaded = Rc::new(Loaded(Cell::new(0)));
        let accepted = timeout(Duration::from_secs(5), listener.accept(&*loaded, |_| {})).await.unwrap().unwrap();
        assert_eq!(loaded.0.get(), 1);
        client.write_all(b"hi").unwrap();
        let stream = Stream::from(Socket::new(accepted.fd).unwrap());
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 2);
        drop(stream);
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_file_goes_out_without_a_copy() {
    reactor::run(async {
        let (listener, address) = listener();
        let client = std::net::TcpStream::connect(address).unwrap();
        let accepted = listener.accept(&Always, |error| panic!("{error}")).await.unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let socket = Socket::new(accepted.fd).unwrap();
        let mut offset = 3;
        assert_eq!(socket.send_file(&file, &mut offset, 4).await.unwrap(), 4);
        assert_eq!(offset, 7);
        drop(socket);
        let mut text = String::new();
        (&client).read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
    })
    .unwrap();
}
