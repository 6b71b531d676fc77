//! The push with users of its own: who may send, who may read, and old clients over XMLSocket.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::server::{Site, Skep, free_address, send};
use crate::{alone, support};

const SEND: &str = "the-back-end-s-token";

struct Push {
    skep: Skep,
    raw: SocketAddr,
}

impl Push {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(fields: &str) -> Self {
        let (site, raw) = (Site::new(), free_address());
        let config = format!(r#"{{"send_token": "{SEND}", "secret": "sixteen or more.", "domain": "*.example.org"}}"#);
        let address = site.address;
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn),\n\
                 workers: (start: 2, min: 2, max: 2, min_spare: 0, max_spare: 2), admin: (listen: []), {fields}\n\
                 apps: {{\"push\": Script(path: \"embedded:push\", config: {config})}},\n\
                 servers: {{\"web\": Http(listen: [\"{address}\"], routes: [(path: \"/\", app: \"push\")]),\n\
                 \"flash\": Script(listen: [\"{raw}\"], app: \"push\")}})\n"
            ),
        );
        let skep = site.start();
        skep.settled(2);
        Self { skep, raw }
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> (u16, Value) {
        let mut client = Client::connect(self.skep.address()).expect("a connection");
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(format!("{head}{body}").as_bytes()).expect("sent");
        let reply = client.read_reply().expect("a reply");
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text())))
    }

    fn send(&self, message: &Value) -> (u16, Value) {
        self.ask("POST", "/send", SEND, Some(message))
    }

    fn token(&self, user: &str) -> String {
        let (status, answer) = self.ask("POST", "/token", SEND, Some(&json!({ "user": user })));
        assert_eq!(status, 200);
        answer["token"].as_str().expect("a token").to_owned()
    }
}

/// An old client: documents that end with a NUL.
struct Flash(BufReader<TcpStream>);

impl Flash {
    fn connect(address: SocketAddr, first: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(support::wait::PATIENCE)).expect("a time limit");
        let mut flash = Self(BufReader::new(stream));
        flash.say(first);
        flash
    }

    fn say(&mut self, document: &str) {
        self.0.get_mut().write_all(format!("{document}\0").as_bytes()).expect("sent");
    }

    /// The next document; empty at the end.
    fn document(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_until(0, &mut bytes).expect("a document");
        String::from_utf8(bytes).expect("text").trim_end_matches('\0').to_owned()
    }

    /// The next document without a word.
    fn document_after(&mut self, word: &str) -> String {
        loop {
            let document = self.document();
            if !document.contains(word) {
                return document;
            }
        }
    }
}

#[test]
fn only_the_back_end_sends_and_only_the_user_reads() {
    let _alone = alone();
    let push = Push::start();
    let message = json!({"user": "ann", "title": "Hello", "text": "a < b", "icon": "gift", "link": "/there", "id": "7"});
    assert_eq!(push.ask("POST", "/send", "the-back-end's-tokem", Some(&message)).0, 401);
    assert_eq!(push.ask("POST", "/token", "nothing", Some(&json!({"user": "ann"}))).0, 401);
    let (ann, bob) = (push.token("ann"), push.token("bob"));
    assert_eq!(push.ask("POST", "/send", &ann, Some(&message)).0, 401, "a user is no back end");
    assert_eq!(push.send(&message), (200, json!({"id": "7", "sent": true, "pages": 0})));
    assert_eq!(push.send(&message), (200, json!({"id": "7", "sent": false, "pages": 0})), "the same once more is not sent");
    for (field, wrong) in [
        ("user", json!("")),
        ("title", json!(7)),
        ("icon", json!("skull")),
        ("link", json!("javascript:alert(1)")),
        ("link", json!("//elsewhere")),
    ] {
        let mut message = json!({"user": "ann", "title": "x"});
        message[field] = wrong;
        assert_eq!(push.send(&message).0, 400, "{message}");
    }
    let (status, inbox) = push.ask("GET", "/inbox", &ann, None);
    assert_eq!((status, inbox["messages"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(inbox["messages"][0]["data"]["title"], "Hello");
    assert_eq!(push.ask("GET", "/inbox", &bob, None).1["messages"], json!([]));
    let (body, signature) = ann.split_once('.').expect("two parts");
    let last = if signature.ends_with('0') { "1" } else { "0" };
    for forged in [format!("{body}.{}{last}", &signature[..signature.len() - 1]), format!("{}.{signature}", &body[1..]), format!("{body}.")]
    {
        assert_eq!(push.ask("GET", "/inbox", &forged, None).0, 401, "{forged}");
        assert_eq!(push.ask("POST", "/session", "", Some(&json!({ "token": forged }))).0, 403);
    }
    assert_eq!(push.ask("POST", "/session", "", Some(&json!({"user": "ann"}))).0, 403, "only a demo believes what visitors say");
    assert_eq!(push.ask("GET", "/live?poll=1&topics=push%3Aann", &bob, None).0, 403);
    assert_eq!(
        push.ask("POST", "/live", &ann, Some(&json!({"type": "publish", "topic": "push:ann", "data": 1}))).0,
        404,
        "who listens publishes nothing"
    );
    let at = inbox["messages"][0]["at"].clone();
    assert_eq!(push.ask("POST", "/read", &ann, Some(&json!({ "at": at }))).0, 200);
    assert_eq!(push.ask("GET", "/inbox", &ann, None).1["read"], at);
    for wrong in [json!({}), json!({"at": -1}), json!({"at": 1e12}), json!([])] {
        assert_eq!(push.ask("POST", "/read", &ann, Some(&wrong)).0, 400, "{wrong}");
    }
}

#[test]
fn old_clients_get_the_same_and_what_they_missed() {
    let _alone = alone();
    let push = Push::start();
    push.send(&json!({"user": "ann", "title": "before", "text": "a < b"}));
    let token = push.token("ann");
    let mut policy = Flash::connect(push.raw, "<policy-file-request/>");
    assert!(policy.document().contains(r#"<allow-access-from domain="*.example.org""#));
    assert_eq!(policy.document(), "", "that is all");
    let mut stranger = Flash::connect(push.raw, r#"{"token": "e30.00"}"#);
    assert_eq!(stranger.document(), r#"{"type":"error","reason":"not allowed"}"#);
    assert_eq!(stranger.document(), "");

    let mut json = Flash::connect(push.raw, &format!(r#"{{"token": "{token}"}}"#));
    let welcome: Value = serde_json::from_str(&json.document()).expect("JSON");
    assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("ann")));
    let mut xml = Flash::connect(push.raw, &format!(r#"<auth token="{token}"/>"#));
    assert_eq!(xml.document(), r#"<welcome user="ann"/>"#);
    support::wait::until("both to be there", || {
        // Counted after it was sent: who came in between is there and has not got it.
        let (_, sent) = push.send(&json!({"user": "ann", "title": "knock", "text": "knock"}));
        sent["pages"] == 2
    });
    push.send(&json!({"user": "ann", "title": "5 > \"4\"", "text": "x < y", "icon": "bell"}));
    let message: Value = serde_json::from_str(&json.document_after("knock")).expect("JSON");
    assert_eq!((&message["title"], &message["text"], &message["icon"]), (&json!("5 > \"4\""), &json!("x < y"), &json!("bell")));
    let document = xml.document_after("knock");
    assert!(document.contains(r#"title="5 &gt; &quot;4&quot;" icon="bell">x &lt; y</message>"#), "{document}");

    let epoch = message["place"].as_str().expect("a place").split(':').next().expect("an epoch").to_owned();
    let mut back = Flash::connect(push.raw, &format!(r#"<auth since="{epoch}:0" token="{token}"/>"#));
    assert_eq!(back.document(), r#"<welcome user="ann"/>"#);
    assert!(back.document().contains(">a &lt; b</message>"), "what it missed comes first");
    let mut lost = Flash::connect(push.raw, &format!(r#"{{"token": "{token}", "since": "7:1"}}"#));
    lost.document();
    assert_eq!(lost.document(), r#"{"type":"gap"}"#);
    let began = std::time::Instant::now();
    push.skep.order("reload");
    push.skep.settled(2);
    while !back.document().is_empty() {}
    assert!(began.elapsed() < Duration::from_secs(20), "connections end when their worker goes");
}

fn titles(push: &Push, token: &str) -> Vec<String> {
    let (_, inbox) = push.ask("GET", "/inbox", token, None);
    let messages = inbox["messages"].as_array().expect("a list");
    messages.iter().map(|message| message["data"]["title"].as_str().expect("a title").to_owned()).collect()
}

#[test]
fn what_was_taken_is_kept_whatever_is_killed() {
    let _alone = alone();
    let push = Push::start();
    let token = push.token("ann");
    let mut expected = Vec::new();
    for round in 0..4 {
        for number in 0..5 {
            let title = format!("{round}.{number}");
            let message = json!({"user": "ann", "title": title, "id": title});
            // As a back end does: again with the same id until it is taken.
            support::wait::until("the message to be taken", || {
                let mut client = Client::connect(push.skep.address()).expect("a connection");
                let body = message.to_string();
                let head =
                    format!("POST /send HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {SEND}\r\nContent-Type: application/json\r\n");
                let sent = client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
                sent.and_then(|()| client.read_reply()).is_ok_and(|reply| reply.status == 200)
            });
            expected.push(title);
        }
        let status = push.skep.status();
        let victim = if round % 2 == 0 { status.hub.expect("a hub").pid } else { status.workers[0].pid };
        send(victim, Signal::SIGKILL);
        support::wait::until("another process", || {
            let status = push.skep.status();
            let mut all = status.workers.iter().map(|worker| worker.pid).chain(status.hub.iter().map(|hub| hub.pid));
            status.workers.len() == 2 && status.hub.is_some() && all.all(|pid| pid != victim)
        });
    }
    assert_eq!(titles(&push, &token), expected);
    let at = push.ask("GET", "/inbox", &token, None).1["messages"][3]["at"].clone();
    assert_eq!(push.ask("POST", "/read", &token, Some(&json!({ "at": at }))).0, 200);
    let Push { skep, raw } = push;
    let skep = skep.into_site().start();
    skep.settled(2);
    let push = Push { skep, raw };
    assert_eq!(titles(&push, &token), expected, "also after a restart");
    assert_eq!(push.ask("GET", "/inbox", &token, None).1["read"], at);
}

#[test]
fn two_machines_are_one_push() {
    let _alone = alone();
    let redis = Redis::start();
    let (here, there) = (Push::start_with(&redis.fields()), Push::start_with(&redis.fields()));
    let token = here.token("ann");
    let mut page = Flash::connect(there.raw, &format!(r#"{{"token": "{token}"}}"#));
    page.document();
    support::wait::until("the page to be known there", || {
        let (_, sent) = here.send(&json!({"user": "ann", "title": "knock"}));
        sent["pages"] == 1
    });
    here.send(&json!({"user": "ann", "title": "over", "id": "1"}));
    let message: Value = serde_json::from_str(&page.document_after("knock")).expect("JSON");
    assert_eq!(message["title"], "over", "a page of the other machine has it at once");
    for push in [&here, &there] {
        support::wait::until("the message to be kept on both", || titles(push, &token).last().is_some_and(|last| last == "over"));
    }
    assert_eq!(there.send(&json!({"user": "ann", "title": "over", "id": "1"})).1["sent"], false, "the same once more, elsewhere");
    let (_, inbox) = there.ask("GET", "/inbox", &token, None);
    let at = inbox["messages"].as_array().expect("a list").last().expect("a message")["at"].clone();
    assert_eq!(there.ask("POST", "/read", &token, Some(&json!({ "at": at }))).0, 200);
    support::wait::until("the mark on the other machine", || here.ask("GET", "/inbox", &token, None).1["read"] == at);
}
