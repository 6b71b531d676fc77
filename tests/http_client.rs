//! The HTTP client against nginx, and against servers that behave badly.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

use std::any::Any;
use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skep::clients::http::{Client, ClientRequest, Connected, Connector, HttpError, REDIRECTS, RequestBody, Url};
use skep::codec::http::{Fields, Method, RequestHead, Version};
use skep::net::{Peer, Socket, Stream, TlsSettings, connect_tls_with};
use skep::reactor;
use skep::request::{Answer, Body, Handler, Onward, Origin, Request, RequestId, ResponseBody};
use skep::script::{Limits, Mode, ScriptApp, Services, Source};

/// The size of the large file.
const LARGE: usize = 3 << 20;

/// Counts the connections made, and those that are open.
#[derive(Default)]
struct Counts {
    made: Cell<usize>,
    open: Cell<usize>,
}

struct Place(Rc<Counts>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

struct Loopback(Rc<Counts>);

impl Connector for Loopback {
    fn connect<'a>(&'a self, url: &'a Url, authorities: Option<&'a str>) -> Pin<Box<dyn Future<Output = Result<Connected, String>> + 'a>> {
        Box::pin(async move {
            let connected = async {
                let socket = match url.socket() {
                    Some(path) => Socket::connect_unix(Path::new(path)).await?,
                    None => Socket::connect_tcp(SocketAddr::from(([127, 0, 0, 1], url.port()))).await?,
                };
                if !url.is_secure() {
                    return Ok(Stream::from(socket));
                }
                let settings = authorities.map_or_else(TlsSettings::shared, TlsSettings::with_authorities)?;
                connect_tls_with(socket, url.host(), settings.offering("http/1.1")).await
            };
            let stream = connected.await.map_err(|error: io::Error| error.to_string())?;
            self.0.made.set(self.0.made.get() + 1);
            self.0.open.set(self.0.open.get() + 1);
            Ok(Connected { stream, kept: Box::new(Place(self.0.clone())) as Box<dyn Any> })
        })
    }
}

/// Runs a test with a client; every socket must be gone with it.
fn with_client<F: Future<Output = ()> + 'static>(body: impl FnOnce(Rc<Client>, Rc<Counts>) -> F + 'static) {
    reactor::run(async move {
        let counts = Rc::new(Counts::default());
        let client = Rc::new(Client::new(Box::new(Loopback(counts.clone()))));
        body(client, counts.clone()).await;
        assert_eq!(counts.open.get(), 0, "sockets are left");
    })
    .unwrap();
}

fn get(url: &str) -> ClientRequest {
    ClientRequest {
        method: Method::Get,
        url: Url::parse(url).unwrap(),
        fields: Fields::new(),
        body: RequestBody::Empty,
        timeout: Duration::from_secs(20),
        authorities: None,
        redirects: REDIRECTS,
    }
}

async fn body_of(client: &Client, request: ClientRequest) -> Result<Bytes, HttpError> {
    client.send(request).await?.body.bytes(LARGE).await
}

/// nginx with a directory of its own, over TCP, TLS and a unix socket.
struct Nginx {
    folder: tempfile::TempDir,
    child: Child,
    plain: u16,
    secure: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority and a certificate of it for `localhost`.
fn make_certificates(folder: &Path) {
    fs::write(folder.join("leaf.ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    let steps = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key -out leaf.csr -subj /CN=localhost",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile leaf.ext",
    ];
    for step in steps {
        let status = Command::new("openssl").args(step.split(' ')).current_dir(folder).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "openssl {step}");
    }
}

fn nginx() -> Nginx {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    make_certificates(root);
    fs::create_dir(root.join("www")).unwrap();
    fs::write(root.join("www/large"), vec![b'x'; LARGE]).unwrap();
    fs::write(root.join("www/small"), "small").unwrap();
    fs::write(root.join("www/page.shtml"), "chunked").unwrap();
    let (plain, secure, at) = (free_port(), free_port(), root.display());
    let configuration = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
        events {{}}
        http {{
            access_log off; default_type text/html;
            client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
            server {{
                listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; listen unix:{at}/socket;
                ssl_certificate {at}/leaf.pem; ssl_certificate_key {at}/leaf.key;
                root {at}/www; ssi on; absolute_redirect off;
                location = /moved {{ return 302 /small; }}
                location = /refused {{ client_max_body_size 0; return 403; }}
                location = /limited {{ client_max_body_size 1m; root {at}/www; }}
            }}
        }}"
    );
    fs::write(root.join("nginx.conf"), configuration).unwrap();
    let child = Command::new("nginx").arg("-c").arg(root.join("nginx.conf")).arg("-e").arg(root.join("error.log")).spawn().unwrap();
    let server = Nginx { folder, child, plain, secure };
    let end = Instant::now() + Duration::from_secs(30);
    while [plain, secure].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
        assert!(Instant::now() < end, "nginx does not start");
        thread::yield_now();
    }
    server
}

#[test]
fn nginx_is_asked_over_one_connection() {
    let server = nginx();
    let base = format!("http://127.0.0.1:{}", server.plain);
    with_client(move |client, counts| async move {
        for _ in 0..5 {
            assert_eq!(body_of(&client, get(&format!("{base}/small"))).await.unwrap(), "small");
            assert_eq!(body_of(&client, get(&format!("{base}/moved"))).await.unwrap(), "small");
            let page = client.send(get(&format!("{base}/page.shtml"))).await.unwrap();
            assert_eq!(page.head.fields.get_str("transfer-encoding"), Some("chunked"));
            assert_eq!(page.body.bytes(100).await.unwrap(), "chunked");
            assert_eq!(body_of(&client, get(&format!("{base}/large"))).await.unwrap().len(), LARGE);
            let head = ClientRequest { method: Method::Head, ..get(&format!("{base}/large")) };
            assert_eq!(body_of(&client, head).await.unwrap(), "");
        }
        assert_eq!(counts.made.get(), 1);
        let socket = format!("http://unix:{}/socket:/small", server.folder.path().display());
        assert_eq!(body_of(&client, get(&socket)).await.unwrap(), "small");
        assert_eq!(counts.made.get(), 2);
        let streamed = client.send(get(&format!("{base}/large"))).await.unwrap();
        streamed.body.allow(1 << 20);
        assert!(matches!(streamed.body.bytes(LARGE).await, Err(HttpError::TooLarge(most)) if most == 1 << 20));
    });
}

#[test]
fn nginx_refuses_uploads_early() {
    let server = nginx();
    let authority: Rc<str> = fs::read_to_string(server.folder.path().join("ca.pem")).unwrap().into();
    let bases = [format!("http://127.0.0.1:{}", server.plain), format!("https://localhost:{}", server.secure)];
    with_client(move |client, counts| async move {
        let _server = server;
        for (number, base) in bases.iter().enumerate() {
            let post = |path: &str, body: RequestBody| ClientRequest {
                method: Method::Post,
                body,
                authorities: Some(authority.clone()),
                ..get(&format!("{base}{path}"))
            };
            // It refuses at once and reads the rest away, so that the connection serves the next request.
            let piece = Bytes::from(vec![b'x'; 1 << 20]);
            let pieces = futures_lite::StreamExt::take(futures_lite::stream::repeat(piece.clone()), 16);
            let pieces = futures_lite::StreamExt::map(pieces, Ok);
            let refused = client.send(post("/refused", RequestBody::Stream(Box::pin(pieces)))).await.unwrap();
            assert_eq!(refused.head.status, 403);
            refused.body.bytes(LARGE).await.unwrap();
            let small = ClientRequest { authorities: Some(authority.clone()), ..get(&format!("{base}/small")) };
            assert_eq!(body_of(&client, small).await.unwrap(), "small");
            assert_eq!(counts.made.get(), 2 * number + 1, "{base}");
            // It refuses and closes.
            let all = Bytes::from(vec![b'x'; 16 << 20]);
            let limited = client.send(post("/limited", RequestBody::Bytes(all))).await.unwrap();
            assert_eq!(limited.head.status, 413);
            limited.body.bytes(LARGE).await.unwrap();
            client.send(post("/refused", RequestBody::Empty)).await.unwrap().body.bytes(LARGE).await.unwrap();
            assert_eq!(counts.made.get(), 2 * number + 2, "{base}");
        }
    });
}

#[test]
fn certificates_are_checked() {
    let server = nginx();
    let authority: Rc<str> = fs::read_to_string(server.folder.path().join("ca.pem")).unwrap().into();
    let port = server.secure;
    let trusting =
        move |host: &str, pem: &str| ClientRequest { authorities: Some(pem.into()), ..get(&format!("https://{host}:{port}/small")) };
    with_client(move |client, counts| async move {
        let _server = server;
        let refused = |error: HttpError| error.to_string();
        let public = format!("https://localhost:{port}/small");
        assert_eq!(body_of(&client, get(&public)).await.map_err(refused), Err("the certificate is of no known authority".into()));
        for _ in 0..2 {
            assert_eq!(body_of(&client, trusting("localhost", &authority)).await.unwrap(), "small");
        }
        assert_eq!(counts.made.get(), 1);
        // The kept connection was checked against another authority, so it must not serve who trusts the public ones.
        assert_eq!(body_of(&client, get(&public)).await.map_err(refused), Err("the certificate is of no known authority".into()));
        assert_eq!(
            body_of(&client, trusting("127.0.0.1", &authority)).await.map_err(refused),
            Err("the certificate is for another name".into())
        );
        assert!(body_of(&client, trusting("localhost", "nothing")).await.unwrap_err().to_string().contains("no certificate in PEM"));
    });
}

/// A server whose connections are handled one after the other by these functions.
fn scripted(connections: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for handle in connections {
            handle(listener.accept().unwrap().0);
        }
    });
    format!("http://{address}")
}

fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        seen.push(byte[0]);
    }
}

#[test]
fn a_header_without_end_is_cut_off() {
    let url = scripted(vec![Box::new(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        while stream.write_all(b"x-more: and more and more\r\n").is_ok() {}
    })]);
    with_client(move |client, _| async move {
        let error = client.send(get(&url)).await.err().unwrap();
        assert_eq!(error.to_string(), "the header of the answer is too large");
    });
}

#[test]
fn what_nobody_asked_for_is_no_answer() {
    let (sent, received) = mpsc::channel();
    let url = scripted(vec![
        Box::new(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").unwrap();
            answer_unasked(&mut stream, &sent);
        }),
        Box::new(|mut stream| {
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2").unwrap();
        }),
    ]);
    with_client(move |client, counts| async move {
        assert_eq!(body_of(&client, get(&url)).await.unwrap(), "1");
        received.recv().unwrap();
        // One turn of the loop, in which the bytes are noticed.
        reactor::sleep(Duration::ZERO).await;
        assert_eq!(body_of(&client, get(&url)).await.unwrap(), "2");
        assert_eq!(counts.made.get(), 2);
    });
}

/// Sends an answer to no question, and tells.
fn answer_unasked(stream: &mut TcpStream, sent: &mpsc::Sender<()>) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged").unwrap();
    sent.send(()).unwrap();
}

#[test]
fn a_streamed_body_is_not_sent_again_after_a_redirect() {
    let url = scripted(vec![Box::new(|mut stream| {
        read_head(&mut stream);
        let mut rest = [0; 14];
        stream.read_exact(&mut rest).unwrap();
        stream.write_all(b"HTTP/1.1 307 X\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n").unwrap();
    })]);
    with_client(move |client, _| async move {
        let pieces = futures_lite::stream::iter([Ok(Bytes::from_static(b"body"))]);
        let request = ClientRequest { method: Method::Put, body: RequestBody::Stream(Box::pin(pieces)), ..get(&url) };
        assert_eq!(client.send(request).await.unwrap().head.status, 307);
    });
}

#[test]
fn a_body_that_fails_ends_the_request_at_once() {
    let url = scripted(vec![Box::new(|mut stream| {
        read_head(&mut stream);
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    })]);
    with_client(move |client, _| async move {
        let pieces = futures_lite::stream::iter([Err(io::Error::other("no more paper"))]);
        let request = ClientRequest { method: Method::Put, body: RequestBody::Stream(Box::pin(pieces)), ..get(&url) };
        assert_eq!(client.send(request).await.err().unwrap().to_string(), "no more paper");
    });
}

/// What an application answers to one request.
async fn answer_of(main: String, limits: Limits) -> String {
    let source = Source::memory([("main.luau", main)]);
    let loaded = ScriptApp::load("test", source, &serde_json::Value::Null, limits, Services::alone(), Mode::Development).await;
    let Ok(app) = loaded else { panic!("the application does not load") };
    let head = RequestHead::new(Method::Get, "/", Version::Http11).unwrap();
    let origin = Rc::new(Origin::new(Peer::Unknown, Peer::Unknown, "test".into()));
    let request = Request {
        id: RequestId(1),
        head,
        body: Body::empty(),
        origin,
        base_length: 0,
        uploads: Rc::default(),
        onward: Onward::default(),
        user: None,
    };
    let response = match app.clone().request(request) {
        Answer::Now(response) => response,
        Answer::Later(response) => response.await,
    };
    app.retire(Duration::from_secs(5)).await;
    let ResponseBody::Bytes(bytes) = response.body else { panic!("no text") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What an application that may only reach 127.0.0.1 gets when it asks for `url`: a message that begins with `http: `, or the status.
async fn confined_fetch(url: &str) -> String {
    let main = format!(
        "local http = require('@skep/http')
        return {{ request = function()
            local ok, said = pcall(http.get, {url:?}, {{ timeout = 10 }})
            return if ok then tostring(said.status) else tostring(said)
        end }}"
    );
    answer_of(main, Limits { networks: vec!["127.0.0.1/32".parse().unwrap()], ..Limits::default() }).await
}

#[test]
fn kept_connections_make_room_for_others() {
    let answer = |text: &'static str| -> Box<dyn FnOnce(TcpStream) + Send> {
        Box::new(move |mut stream| {
            read_head(&mut stream);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
            // It stays open until the client closes it.
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        })
    };
    let (one, other) = (scripted(vec![answer("one")]), scripted(vec![answer("other")]));
    let main = format!(
        "local http, skep = require('@skep/http'), require('@skep')
        return {{ request = function()
            local one, kept = http.get({one:?}).body, skep.worker().sockets
            return `{{one}} {{kept}} {{http.get({other:?}).body}} {{skep.worker().sockets}}`
        end }}"
    );
    let said = reactor::run(async move { answer_of(main, Limits { sockets: 1, ..Limits::default() }).await }).unwrap();
    assert_eq!(said, "one 1 other 1");
}

/// Answers at once, and then each piece of the body with the same piece, as long as there are any.
fn echo(mut stream: TcpStream) {
    read_head(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        seen.push(byte[0]);
        let is_last = seen.ends_with(b"0\r\n\r\n");
        if is_last || seen.ends_with(b";\r\n") {
            // The client may have gone, which the next read tells.
            let _ = stream.write_all(&std::mem::take(&mut seen));
        }
        if is_last {
            return;
        }
    }
}

#[test]
fn a_script_talks_and_listens_at_once() {
    let url = scripted(vec![Box::new(echo), Box::new(echo), Box::new(echo)]);
    let main = format!(
        "local http, skep = require('@skep/http'), require('@skep')
        local function pieces(most)
            local count = 0
            return function()
                count += 1
                skep.sleep('1ms')
                return if count <= most then `piece {{count}};` else nil
            end
        end
        return {{ request = function()
            local said = {{}}
            for chunk in http.post({url:?}, pieces(3), {{ stream = true }}):chunks() do
                table.insert(said, chunk)
            end
            local closed = http.post({url:?}, pieces(math.huge), {{ stream = true }})
            table.insert(said, closed:chunks()())
            closed:close()
            -- Left alone in the middle, with the function that makes the pieces waiting.
            table.insert(said, http.post({url:?}, pieces(math.huge), {{ stream = true }}):chunks()())
            return table.concat(said)
        end }}"
    );
    let said = reactor::run(async move { answer_of(main, Limits::default()).await }).unwrap();
    assert_eq!(said, "piece 1;piece 2;piece 3;piece 1;piece 1;");
}

#[test]
fn a_redirect_does_not_lead_out_of_the_allowed_networks() {
    let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
    let target = elsewhere.local_addr().unwrap();
    let url = scripted(vec![Box::new(move |mut stream| {
        read_head(&mut stream);
        write!(stream, "HTTP/1.1 302 X\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n").unwrap();
    })]);
    let said = reactor::run(async move { confined_fetch(&url).await }).unwrap();
    assert!(said.contains(&format!("http: this application may not connect to {target}")), "{said}");
    elsewhere.set_nonblocking(true).unwrap();
    assert_eq!(elsewhere.accept().err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
}
