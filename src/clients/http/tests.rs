mod upload;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::net::Socket;
use crate::reactor;

/// A server that gives each connection's requests these answers in turn, and tells what it was sent.
fn server(connections: Vec<Vec<&'static [u8]>>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for answers in connections {
            let (mut stream, _) = listener.accept().expect("a connection");
            for answer in answers {
                let request = read_request(&mut stream);
                tell.send(request).expect("somebody listens");
                stream.write_all(answer).expect("written");
            }
        }
    });
    (address, told)
}

fn read_request(stream: &mut impl Read) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let whole = if head.contains("chunked") { body.ends_with("0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) };
            if whole {
                return text;
            }
        }
        match stream.read(&mut buffer).expect("readable") {
            0 => return text,
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

struct Direct;

impl Connector for Direct {
    fn connect<'a>(&'a self, url: &'a Url, _: Option<&'a str>) -> Pin<Box<dyn Future<Output = Result<Connected, String>> + 'a>> {
        assert!(!url.is_secure());
        Box::pin(async move {
            let address = SocketAddr::new(url.host().parse().expect("an address"), url.port());
            let socket = Socket::connect_tcp(address).await.map_err(|error| error.to_string())?;
            Ok(Connected { stream: socket.into(), kept: Box::new(()) })
        })
    }
}

fn get(url: String) -> ClientRequest {
    ClientRequest {
        method: Method::Get,
        url: Url::parse(&url).expect("an address"),
        fields: Fields::new(),
        body: RequestBody::Empty,
        timeout: Duration::from_secs(5),
        authorities: None,
        redirects: REDIRECTS,
    }
}

fn run<F: Future<Output = ()> + 'static>(body: F) {
    reactor::run(body).expect("a reactor");
}

async fn text(response: ClientResponse) -> String {
    String::from_utf8(response.body.bytes(1000).await.expect("a body").to_vec()).expect("text")
}

#[test]
fn bodies_of_every_framing_over_one_connection() {
    let (address, told) = server(vec![vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: v\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    ]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let mut answers = Vec::new();
        for path in ["/a?b", "/c", "/d", "/e"] {
            answers.push(text(client.send(get(format!("http://{address}{path}"))).await.expect("an answer")).await);
        }
        assert_eq!(answers, ["hello", "abcde", "", "until the end"]);
        let first = told.recv().expect("a request");
        assert_eq!(first, format!("GET /a?b HTTP/1.1\r\nhost: {address}\r\n\r\n"));
    });
}

#[test]
fn a_kept_connection_that_was_closed_costs_another_try() {
    let (address, told) =
        server(vec![vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"], vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let first = client.send(get(format!("http://{address}/"))).await.expect("an answer");
        assert_eq!(text(first).await, "1");
        assert_eq!(text(client.send(get(format!("http://{address}/"))).await.expect("an answer")).await, "2");
        told.recv().expect("the first");
        assert!(told.recv().expect("the second").starts_with("GET / "));
    });
}

/// A server that answers the first request, and closes without an answer when it has the second one, which came over the same connection;
/// whoever comes after that is answered. It tells what it was sent.
fn forgetful() -> (SocketAddr, mpsc::Receiver<String>) {
    let good: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
    server(vec![vec![good, b""], vec![good]])
}

#[test]
fn only_what_may_be_done_twice_is_sent_twice() {
    for (method, expected) in [(Method::Get, 3), (Method::Put, 3), (Method::Delete, 3), (Method::Post, 2), (Method::Patch, 2)] {
        let (address, told) = forgetful();
        let name = method.clone();
        run(async move {
            let client = Client::new(Box::new(Direct));
            text(client.send(get(format!("http://{address}/"))).await.expect("an answer")).await;
            let body = RequestBody::Bytes(Bytes::from_static(b"body"));
            let sent = client.send(ClientRequest { method, body, ..get(format!("http://{address}/")) }).await;
            assert_eq!(sent.is_ok(), expected == 3);
        });
        assert_eq!(told.try_iter().count(), expected, "{name}");
    }
}

#[test]
fn a_kept_connection_that_is_closed_already_gets_no_request() {
    let (address, told) =
        server(vec![vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"], vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        text(client.send(get(format!("http://{address}/"))).await.expect("an answer")).await;
        // Until the kernel knows of the end; the reactor has not been asked since.
        let kept = client.pool.take(&Url::parse(&format!("http://{address}/")).expect("an address"), None);
        if let Some(kept) = kept {
            assert_eq!(kept.stream.read(&mut [0; 1]).await.expect("readable"), 0);
            client.pool.put(&Url::parse(&format!("http://{address}/")).expect("an address"), None, kept);
        }
        let request = ClientRequest {
            method: Method::Post,
            body: RequestBody::Bytes(Bytes::from_static(b"body")),
            ..get(format!("http://{address}/"))
        };
        assert_eq!(text(client.send(request).await.expect("an answer")).await, "2");
        told.recv().expect("the first");
        assert!(told.recv().expect("the second").ends_with("content-length: 4\r\n\r\nbody"));
    });
}

#[test]
fn idle_connections_can_be_given_up() {
    let good: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
    let (address, _told) = server(vec![vec![good]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        assert!(!client.close_idle());
        text(client.send(get(format!("http://{address}/"))).await.expect("an answer")).await;
        assert!(client.close_idle());
        assert!(!client.close_idle());
    });
}

#[test]
fn redirects_are_followed_without_showing_secrets_to_others() {
    let (other, told_other) = server(vec![vec![b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend"]]);
    let moved: &'static [u8] =
        Box::leak(format!("HTTP/1.1 307 X\r\nLocation: http://{other}/y\r\nContent-Length: 0\r\n\r\n").into_bytes().into_boxed_slice());
    let (address, told) = server(vec![vec![b"HTTP/1.1 303 X\r\nLocation: /x?1\r\nContent-Length: 4\r\n\r\ngone", moved]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let mut request = get(format!("http://{address}/"));
        request.method = Method::Post;
        request.body = RequestBody::Bytes(Bytes::from_static(b"body"));
        request.fields.push("Authorization", "secret").expect("a field");
        request.fields.push("Content-Type", "text/plain").expect("a field");
        let response = client.send(request).await.expect("an answer");
        assert_eq!(response.url.to_string(), format!("http://{other}/y"));
        assert_eq!(text(response).await, "end");
        assert!(told.recv().expect("a request").starts_with("POST / "));
        let second = told.recv().expect("a request");
        assert!(second.starts_with("GET /x?1 ") && second.contains("authorization: secret") && !second.contains("content-type"));
        assert!(!told_other.recv().expect("a request").contains("secret"));
    });
}

#[test]
fn redirects_have_an_end() {
    let (address, _told) = server(vec![vec![b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n" as &[u8]; 5]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let mut request = get(format!("http://{address}/"));
        request.redirects = 3;
        assert!(matches!(client.send(request).await, Err(HttpError::TooManyRedirects(3))));
        let mut request = get(format!("http://{address}/"));
        request.redirects = 0;
        assert_eq!(client.send(request).await.expect("the redirect itself").head.status, 302);
    });
}

#[test]
fn a_body_can_be_streamed_out() {
    let (address, told) = server(vec![vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]]);
    run(async move {
        let pieces = ["abc", "", "de"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let mut request = get(format!("http://{address}/"));
        request.method = Method::Put;
        request.body = RequestBody::Stream(Box::pin(futures_lite::stream::iter(pieces)));
        assert_eq!(Client::new(Box::new(Direct)).send(request).await.expect("an answer").head.status, 200);
        assert!(told.recv().expect("a request").ends_with("\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));
    });
}

#[test]
fn broken_answers_are_errors() {
    let cases: [(&'static [u8], &str); 5] = [
        (b"", "the server closed the connection without an answer"),
        (b"SSH-2.0-x\r\n\r\n", "does not start with an HTTP/1.x status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "the answer ended too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "a chunk size is not a hexadecimal number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", "the answer ended too early"),
    ];
    for (answer, expected) in cases {
        let (address, _told) = server(vec![vec![answer]]);
        let said = RefCell::new(String::new());
        let said = reactor::run(async move {
            let client = Client::new(Box::new(Direct));
            match client.send(get(format!("http://{address}/"))).await {
                Ok(response) => said.replace(response.body.bytes(1000).await.expect_err("broken").to_string()),
                Err(error) => said.replace(error.to_string()),
            };
            said.take()
        });
        let said = said.expect("a reactor");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn limits_hold() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let silent_address = silent.local_addr().expect("an address");
    let (address, _told) = server(vec![vec![b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123456"]]);
    run(async move {
        let client = Client::new(Box::new(Direct));
        let mut request = get(format!("http://{silent_address}/"));
        request.timeout = Duration::from_millis(20);
        assert!(matches!(client.send(request).await, Err(HttpError::TimedOut(_))));
        let response = client.send(get(format!("http://{address}/"))).await.expect("an answer");
        assert!(matches!(response.body.bytes(5).await, Err(HttpError::TooLarge(5))));
        drop(silent);
    });
}
