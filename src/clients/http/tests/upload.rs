//! Requests that are still on their way when the answer begins.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use futures_lite::{StreamExt, stream};

use super::{Direct, get, read_request, run, text};
use crate::clients::http::*;

/// A server whose connections are handled one after the other by these functions.
fn server(connections: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for handle in connections {
            handle(listener.accept().expect("a connection").0);
        }
    });
    address
}

/// Reads until what was read ends like this; all of it.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end) && stream.read(&mut byte).expect("readable") == 1 {
        seen.push(byte[0]);
    }
    seen
}

/// A request whose body is made of these pieces.
fn put(address: SocketAddr, pieces: impl futures_lite::Stream<Item = io::Result<Bytes>> + 'static) -> ClientRequest {
    ClientRequest { method: Method::Put, body: RequestBody::Stream(Box::pin(pieces)), ..get(format!("http://{address}/")) }
}

/// Pieces that come from elsewhere, one after the other.
fn fed() -> (async_channel::Sender<Bytes>, impl futures_lite::Stream<Item = io::Result<Bytes>>) {
    let (feed, pieces) = async_channel::unbounded();
    (feed, pieces.map(Ok))
}

#[test]
fn both_sides_can_talk_at_once() {
    let address = server(vec![Box::new(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").expect("written");
        // Each piece is answered before the next one is sent.
        for _ in 0..3 {
            let piece = read_until(&mut stream, b"!\r\n");
            stream.write_all(&piece).expect("written");
        }
        assert_eq!(read_until(&mut stream, b"0\r\n\r\n"), b"0\r\n\r\n");
        stream.write_all(b"0\r\n\r\n").expect("written");
        assert!(read_request(&mut stream).starts_with("GET /again "));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain").expect("written");
    })]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let (feed, pieces) = fed();
        let response = client.send(put(address, pieces)).await.expect("the head comes first");
        for piece in ["one!", "two!", "three!"] {
            feed.send(Bytes::from(piece)).await.expect("somebody listens");
            assert_eq!(response.body.chunk().await.expect("a piece").expect("not the end"), piece);
        }
        drop(feed);
        assert!(response.body.chunk().await.expect("the end").is_none());
        // The request was complete, so the connection serves another one: the server accepts no second.
        assert_eq!(text(client.send(get(format!("http://{address}/again"))).await.expect("an answer")).await, "again");
    });
}

/// What the large requests of the tests are made of.
const PIECE: usize = 1 << 20;
/// How many of them a request has: together more than the buffers between two sockets hold.
const PIECES: usize = 32;
const LARGE: usize = PIECES * PIECE;

fn many() -> impl futures_lite::Stream<Item = io::Result<Bytes>> {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    stream::repeat_with(move || Ok(piece.clone())).take(PIECES)
}

/// Reads the body that `many` makes, and nothing behind it: the next request may have come already.
fn read_many(stream: &mut TcpStream) {
    let framing = "100000\r\n\r\n".len() * PIECES + "0\r\n\r\n".len();
    let expected = (LARGE + framing) as u64;
    let read = io::copy(&mut Read::take(stream, expected), &mut io::sink()).expect("readable");
    assert_eq!(read, expected, "the request ends too early");
}

#[test]
fn an_early_answer_lets_the_upload_complete_where_the_server_reads_on() {
    let address = server(vec![Box::new(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").expect("written");
        read_many(&mut stream);
        assert!(read_request(&mut stream).starts_with("GET /again "));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain").expect("written");
    })]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let request = ClientRequest { timeout: Duration::from_mins(1), ..put(address, many()) };
        assert_eq!(text(client.send(request).await.expect("an answer")).await, "early");
        assert_eq!(text(client.send(get(format!("http://{address}/again"))).await.expect("an answer")).await, "again");
    });
}

/// Answers as soon as the head of the request is there, and closes without reading its body.
fn refuse(mut stream: TcpStream) {
    read_until(&mut stream, b"\r\n\r\n");
    stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!").expect("written");
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    // What is on its way already is read away, as servers do who want their answer to arrive (RFC 9112 section 9.6).
    let _ = io::copy(&mut stream, &mut io::sink());
}

#[test]
fn an_early_refusal_is_delivered_and_ends_the_upload() {
    let address = server(vec![Box::new(refuse), Box::new(refuse)]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![b'x'; 1 << 16])));
        let response = client.send(put(address, endless)).await.expect("an answer");
        assert_eq!(response.head.status, 413);
        assert_eq!(text(response).await, "no!");
        let request = ClientRequest {
            method: Method::Post,
            body: RequestBody::Bytes(Bytes::from(vec![b'x'; LARGE])),
            ..get(format!("http://{address}/"))
        };
        assert_eq!(text(client.send(request).await.expect("an answer")).await, "no!");
    });
}

#[test]
fn a_server_that_answers_and_reads_nothing_costs_the_connection_only() {
    let (done, wait) = mpsc::channel::<()>();
    let address = server(vec![
        Box::new(move |mut stream| {
            read_until(&mut stream, b"\r\n\r\n");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").expect("written");
            // Held open until the client has gone on.
            let _ = wait.recv();
        }),
        Box::new(|mut stream| {
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain").expect("written");
        }),
    ]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        assert_eq!(text(client.send(put(address, many())).await.expect("an answer")).await, "early");
        drop(done);
        assert_eq!(text(client.send(get(format!("http://{address}/"))).await.expect("an answer")).await, "again");
    });
}

#[test]
fn a_body_that_fails_after_the_head_of_the_answer_is_told() {
    let address = server(vec![Box::new(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").expect("written");
        assert_eq!(stream.read(&mut [0; 16]).expect("readable"), 0);
    })]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let (feed, pieces) = async_channel::unbounded();
        let response = client.send(put(address, pieces)).await.expect("the head");
        feed.send(Err(io::Error::other("no more paper"))).await.expect("somebody listens");
        assert_eq!(response.body.chunk().await.expect_err("the failure").to_string(), "no more paper");
    });
}
