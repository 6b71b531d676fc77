//! The access log: what its lines say, and that each answered request has one, whole.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use serde_json::Value;

use crate::instance::{Instance, wait_for};

/// Takes what is sent and says so in its own log; streams its answer when it is asked to.
const APP: &str = r#"local log = require("@skep/log")

return {
    request = function(req)
        log.info("took", #req:body())
        if req.path == "/stream" then
            req:write("one")
            req:write("two")
            return
        end
        return "done!"
    end,
}
"#;

const CLIENTS: usize = 4;
const ROUNDS: usize = 500;

fn start(workers: usize) -> Instance {
    let instance = Instance::new("");
    fs::create_dir(instance.path("app")).expect("made");
    fs::write(instance.path("app/main.luau"), APP).expect("written");
    instance.write_config(&format!(
        r#"Config(
            auto_reload: false, log: (file: "skep.log"), access_log: (file: "access.log", format: Json), admin: (listen: []),
            workers: (start: {workers}, min: {workers}, max: {workers}, min_spare: 0, max_spare: {workers}),
            apps: {{ "shop": Script(path: "app") }},
            servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [
                (path: "/shop", app: "shop"), (path: "/", reply: (status: 200, body: "hello")),
            ]) }},
        )"#
    ));
    instance.start()
}

fn lines(instance: &Instance, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(instance.path(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Sends this on a connection of its own and reads to the end.
fn send(address: SocketAddr, request: &str) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(request.as_bytes()).expect("sent");
    stream.read_to_end(&mut Vec::new()).expect("an answer");
}

#[test]
fn lines_say_what_was_received_and_sent() {
    let instance = start(1);
    let address = instance.address("web");
    let more = "Host: test\r\nConnection: close\r\nUser-Agent: a \"test\"\r\n";
    send(address, &format!("POST /shop/buy?a=1 HTTP/1.1\r\n{more}Content-Length: 7\r\n\r\n1234567"));
    send(address, &format!("POST /shop/stream HTTP/1.1\r\n{more}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    send(address, &format!("HEAD / HTTP/1.1\r\n{more}\r\n"));
    send(address, "no request\r\n\r\n");
    wait_for("four lines", || lines(&instance, "access.log").len() == 4);
    let lines = lines(&instance, "access.log");
    let told = |line: &Value| {
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let number = |name: &str| line[name].as_u64().expect("a number");
        (text("method"), text("uri"), text("app"), number("status"), number("received"), number("bytes"))
    };
    let expect = |method: &str, uri: &str, app: &str, status, received, bytes| {
        (method.to_owned(), uri.to_owned(), app.to_owned(), status, received, bytes)
    };
    assert_eq!(told(&lines[0]), expect("POST", "/shop/buy?a=1", "shop", 200, 7, 5));
    assert_eq!(told(&lines[1]), expect("POST", "/shop/stream", "shop", 200, 3, 6));
    assert_eq!(told(&lines[2]), expect("HEAD", "/", "", 200, 0, 0));
    assert_eq!((&lines[3]["status"], &lines[3]["received"]), (&Value::from(400), &Value::from(0)));
    assert_eq!((&lines[0]["user_agent"], &lines[0]["server"]), (&Value::from("a \"test\""), &Value::from("web")));
    // The application's own lines carry the number that stands here.
    for (line, length) in lines.iter().zip([7, 3]) {
        let id = line["request_id"].as_str().expect("a text");
        instance.until_logged(&format!("app=shop request={id} took {length}"));
    }
}

/// Sends requests one after the other on one connection; each has a number of its own.
fn ask_often(address: SocketAddr, client: usize) {
    let mut stream = BufReader::new(TcpStream::connect(address).expect("connected"));
    for round in 0..ROUNDS {
        let request = format!("GET /{client}/{round}?{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(round));
        stream.get_mut().write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).expect("a line") > 0, "the connection stays");
        }
        let mut body = [0; 5];
        stream.read_exact(&mut body).expect("a body");
        assert_eq!(&body, b"hello");
    }
}

#[test]
fn no_line_is_lost_or_torn_while_logs_are_reopened() {
    let instance = start(3);
    let address = instance.address("web");
    let mut files = vec!["access.log".to_owned()];
    let clients: Vec<_> = (0..CLIENTS).map(|client| thread::spawn(move || ask_often(address, client))).collect();
    while clients.iter().any(|client| !client.is_finished()) && files.len() < 20 {
        let aside = format!("access.{}.log", files.len());
        fs::rename(instance.path("access.log"), instance.path(&aside)).expect("moved aside");
        files.push(aside);
        instance.ok(&["reopenlog"]);
        wait_for("a new file", || instance.path("access.log").exists());
    }
    clients.into_iter().for_each(|client| client.join().expect("every request was answered"));
    let all = || files.iter().flat_map(|file| lines(&instance, file)).collect::<Vec<Value>>();
    wait_for("a line for every request", || all().len() >= CLIENTS * ROUNDS);
    let all = all();
    let distinct: HashSet<&str> = all.iter().filter_map(|line| line["uri"].as_str()).collect();
    assert_eq!((all.len(), distinct.len()), (CLIENTS * ROUNDS, CLIENTS * ROUNDS));
}
