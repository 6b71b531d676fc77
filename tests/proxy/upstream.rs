//! Servers behind the proxy: scripted ones on threads, whose every byte a test decides, and the proxy in front of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::server::{Site, Skep};

/// A server whose connections a test serves itself.
pub struct Scripted {
    pub address: SocketAddr,
    /// Connections so far.
    pub connections: Arc<AtomicUsize>,
    /// Heads of requests so far, for who reads them with [`Exchange::head`].
    pub heads: Arc<Mutex<Vec<String>>>,
}

/// One connection of a scripted server.
pub struct Exchange {
    pub stream: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Serves each connection on a thread of its own.
    pub fn start(serve: impl Fn(Exchange) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (count, told, serve) = (connections.clone(), heads.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let exchange = Exchange { stream, heads: told.clone() };
                let serve = serve.clone();
                thread::spawn(move || serve(exchange));
            }
        });
        Self { address, connections, heads }
    }

    /// A server that answers every request with the same bytes, on connections that it keeps.
    pub fn answering(answer: &'static str) -> Self {
        Self::start(move |mut exchange| {
            while exchange.head().is_some() {
                if exchange.say(answer).is_err() {
                    return;
                }
            }
        })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Exchange {
    /// The next head, and nothing behind it; `None` at the end.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(self.stream.read(&mut byte), Ok(1)) {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// The next head that does not ask for `/`, which is answered: by that path the start of skep is told.
    pub fn odd_head(&mut self) -> Option<String> {
        loop {
            let head = self.head()?;
            if !head.starts_with("GET / ") {
                return Some(head);
            }
            self.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }

    /// Reads so many bytes; `false` when they do not come.
    pub fn body(&mut self, length: usize) -> bool {
        self.stream.read_exact(&mut vec![0; length]).is_ok()
    }

    pub fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }
}

/// Starts skep with one worker and one proxy; `options` stand behind its `to`, each with a comma.
pub fn proxy(to: &[SocketAddr], options: &str) -> Skep {
    let to: Vec<String> = to.iter().map(|address| format!("\"http://{address}\"")).collect();
    proxy_of(&to.join(", "), options, "(path: \"/\", app: \"proxy\")")
}

/// The same with fields of the server in front of it, each with its comma.
pub fn proxy_behind(fields: &str, to: &[SocketAddr], options: &str) -> Skep {
    let to: Vec<String> = to.iter().map(|address| format!("\"http://{address}\"")).collect();
    let site = configured(&to.join(", "), options, "(path: \"/\", app: \"proxy\")");
    let text = std::fs::read_to_string(site.config()).unwrap();
    site.write("config.ron", &text.replacen("\"web\": Http(", &format!("\"web\": Http({fields} "), 1));
    site.start()
}

/// The same with addresses as they are written, and routes.
pub fn proxy_of(to: &str, options: &str, routes: &str) -> Skep {
    configured(to, options, routes).start()
}

/// The same, not started yet.
pub fn configured(to: &str, options: &str, routes: &str) -> Site {
    let site = Site::new();
    site.configure(
        "start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1",
        &format!("\"proxy\": Proxy(to: [{to}], {options})"),
        &format!("{routes}, (path: \"/own\", reply: (body: \"own\"))"),
    );
    site
}
