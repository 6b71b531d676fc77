//! Events that go straight to connections.

use serde_json::{Value, json};

use crate::peer::Peer;
use crate::served::{prepare, start};
use crate::support::client;

/// Subscribes as the client says; publishes what is posted.
pub const APP: &str = r#"
local events = require("@skep/events")
local json = require("@skep/json")
local app = {}

function app.request(req)
    local topic, count = req.get.topic, tonumber(req.get.count or 1)
    for number = 1, count do
        -- What was published before the answer is in its place before whatever another worker publishes after it.
        local wait = number == count or number % 100 == 0
        events.publish(topic, { text = req.get.text, number = number }, { history = { count = 100 }, wait = wait })
    end
    return "published"
end

function app.websocket(ws)
    for message in ws:messages() do
        local wish = json.decode(message)
        if wish.unsubscribe then
            ws:send(tostring(ws:unsubscribe(wish.unsubscribe)))
        else
            local ok, why = pcall(ws.subscribe, ws, wish.topic, wish.options)
            if not ok then
                ws:send(why)
            end
        end
    end
end

return app
"#;

fn next(peer: &mut Peer) -> Value {
    let line = peer.line();
    serde_json::from_str(&line).unwrap_or(Value::String(line))
}

#[test]
fn events_come_in_their_envelope_and_can_be_recovered() {
    let skep = prepare(APP, "", "start: 2, min: 2, max: 2").start();
    let publish =
        |text: &str| assert_eq!(client::get(skep.address(), &format!("/app?topic=news&text={text}")).unwrap().text(), "published");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.text(r#"{"topic":"news"}"#).unwrap();
    let ready = next(&mut peer);
    assert_eq!((&ready["type"], &ready["topic"]), (&json!("ready"), &json!("news")));
    publish("one");
    let first = next(&mut peer);
    assert_eq!(
        (&first["type"], &first["topic"], &first["data"]),
        (&json!("event"), &json!("news"), &json!({ "text": "one", "number": 1 }))
    );
    assert!(first["offset"].is_u64() && first["epoch"].is_string() && first["at"].is_f64(), "{first}");
    drop(peer);
    publish("two");
    publish("three");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    let since = json!({ "topic": "news", "options": { "since": { "epoch": first["epoch"], "offset": first["offset"] } } });
    peer.text(&since.to_string()).unwrap();
    assert_eq!(next(&mut peer)["recovered"], json!(true));
    assert_eq!(next(&mut peer)["data"]["text"], json!("two"));
    assert_eq!(next(&mut peer)["data"]["text"], json!("three"));
    peer.text(r#"{"unsubscribe":"news"}"#).unwrap();
    assert_eq!(next(&mut peer), json!(true));
    peer.text(r#"{"topic":"news","options":{"raw":true}}"#).unwrap();
    peer.text(r#"{"topic":"","options":{}}"#).unwrap();
    assert!(peer.line().contains("websocket: "), "a name that is none");
    publish("four");
    assert_eq!(next(&mut peer), json!({ "text": "four", "number": 1 }));
}

#[test]
fn who_is_present_is_told() {
    let skep = start(APP, "");
    let mut first = Peer::connect(skep.address(), "/app").unwrap();
    first.text(r#"{"topic":"room","options":{"watch":true}}"#).unwrap();
    assert_eq!(next(&mut first)["type"], json!("ready"));
    let mut second = Peer::connect(skep.address(), "/app").unwrap();
    second.text(r#"{"topic":"room","options":{"presence":{"id":"ann","info":{"age":7}}}}"#).unwrap();
    assert_eq!(next(&mut second)["type"], json!("ready"));
    let expected = json!({ "type": "joined", "topic": "room", "member": { "id": "ann", "info": { "age": 7 } } });
    assert_eq!(next(&mut first), expected);
}

#[test]
fn who_cannot_follow_is_told_how_much_it_has_missed() {
    let skep = start(APP, "queue: \"64 KiB\", queue_messages: 100");
    let mut slow = Peer::connect(skep.address(), "/app").unwrap();
    slow.text(r#"{"topic":"flood"}"#).unwrap();
    assert_eq!(next(&mut slow)["type"], json!("ready"));
    let text = "x".repeat(4000);
    let count = 4000;
    let done = client::get(skep.address(), &format!("/app?topic=flood&text={text}&count={count}")).unwrap();
    assert_eq!(done.text(), "published");
    let (mut seen, mut missed, mut last) = (0u64, 0u64, 0);
    while seen + missed < count {
        let message = next(&mut slow);
        match message["type"].as_str() {
            Some("event") => {
                let number = message["data"]["number"].as_u64().unwrap();
                assert_eq!(number, last + 1, "nothing is left out without a word");
                last = number;
                seen += 1;
            }
            Some("missed") => {
                missed += message["count"].as_u64().unwrap();
                last += message["count"].as_u64().unwrap();
            }
            other => panic!("{other:?}: {message}"),
        }
    }
    assert!(missed > 0 && seen > 0, "{seen} seen, {missed} missed");
}
