//! What Luau applications share with RTEP: events, groups, operations, a client.

use serde_json::json;

use crate::peer::Peer;
use crate::start;
use crate::support::client::get;
use crate::support::wait;

const SHARED: &str = r#"
local events = require("@skep/events")
local app = {}
local seen = {}
events.subscribe("from-rtep", function(event)
    if event.kind == "event" then
        table.insert(seen, event.data)
    end
end)
function app.request(req)
    if req.path == "/publish" then
        events.publish("from-luau", {text = "hi", name = "not this"})
        events.publish("from-luau", "plain")
        return "done"
    end
    return require("@skep/json").encode(seen)
end
return app
"#;

#[test]
fn luau_and_rtep_see_the_events_of_each_other() {
    let rtep = start(1, "", "", Some(SHARED));
    let mut peer = Peer::connect(rtep.address);
    assert_eq!(peer.subscribe(&["from-luau"]), 1);
    assert_eq!(get(rtep.skep.address(), "/publish").expect("an answer").text(), "done");
    let (first, second) = (peer.event(), peer.event());
    assert_eq!((&first["name"], &first["text"]), (&json!("from-luau"), &json!("hi")));
    assert_eq!((&second["name"], &second["data"]), (&json!("from-luau"), &json!("plain")));
    assert_eq!(peer.publish(&json!({"name": "from-rtep", "n": 1, "_ts": 0})), 1);
    wait::until("the event of RTEP", || get(rtep.skep.address(), "/").expect("an answer").text() == "[{\"n\":1}]");
}

const REGISTERS: &str = r#"
local rtep = require("@skep/rtep")
local skep = require("@skep")
local app = {}
rtep.operation("add", function(session, request)
    if type(request.a) ~= "number" then
        error("numbers only")
    end
    return {sum = request.a + request.b, id = session.id, op = "not this"}
end)
rtep.group("room", {
    add = function(session, arguments, name)
        if arguments[1] == "secret" then
            return false
        end
        session:send("welcome", {name = name, arguments = arguments})
        return true
    end,
    remove = function(session, arguments, name)
        require("@skep/events").publish("removed", {arguments = arguments})
    end,
})
rtep.operation("bye", function(session)
    session:close()
end)
function app.request(req)
    local done, why = pcall(rtep.operation, "late", function() end)
    return tostring(done)
end
return app
"#;

#[test]
fn applications_add_groups_and_operations_in_every_worker() {
    let rtep = start(2, "", "", Some(REGISTERS));
    let mut watcher = Peer::connect(rtep.address);
    assert_eq!(watcher.subscribe(&["removed"]), 1);
    for turn in 0..8 {
        let mut peer = Peer::connect(rtep.address);
        let response = peer.request(&json!({"op": "add", "a": turn, "b": 2}));
        assert_eq!((&response["sum"], &response["op"]), (&json!(turn + 2), &json!("add")));
        let response = peer.request(&json!({"op": "add"}));
        assert_eq!(response["error"], "the application failed", "{response}");
        assert_eq!(peer.subscribe(&["room:secret"]), -1);
        peer.send("{\"id\":50,\"type\":\"request\",\"request\":{\"op\":\"subscribeEvents\",\"events\":[\"room:a:b\",\"room\"]}}\n");
        for arguments in [json!(["a", "b"]), json!([])] {
            let event = peer.event();
            assert_eq!((&event["name"], &event["arguments"]), (&json!("welcome"), &arguments), "{event}");
        }
        assert_eq!(peer.packet()["response"]["status"], 1);
        assert_eq!(peer.publish(&json!({"name": "room:ignored", "n": turn})), 1);
        if turn % 2 == 0 {
            peer.request(&json!({"op": "unsubscribeEvents", "events": ["room:a:b"]}));
            assert_eq!(watcher.event()["arguments"], json!(["a", "b"]));
            drop(peer);
            assert_eq!(watcher.event()["arguments"], json!([]));
        } else {
            peer.request(&json!({"op": "bye"}));
            while peer.line().is_some() {}
            let both = [watcher.event()["arguments"].take(), watcher.event()["arguments"].take()];
            assert!(both.contains(&json!([])) && both.contains(&json!(["a", "b"])), "{both:?}");
        }
    }
    assert_eq!(get(rtep.skep.address(), "/").expect("an answer").text(), "false");
}

const CLIENT: &str = r#"
local rtep = require("@skep/rtep")
local json = require("@skep/json")
local app = {}
local seen = {}
local client = rtep.client("events")
client:subscribe("chat", function(news)
    table.insert(seen, if news.kind == "event" then news.data.n else news.kind)
end)
rtep.operation("double", function(_, request)
    return {n = request.n * 2}
end)
function app.request(req)
    if req.path == "/publish" then
        client:publish("chat", {n = #seen})
    elseif req.path == "/double" then
        return tostring(client:request("double", {n = 21}).n)
    elseif req.path == "/slow" then
        local done = pcall(client.request, client, "ping", nil, {timeout = 0})
        return tostring(done)
    end
    return json.encode(seen)
end
return app
"#;

#[test]
fn a_client_asks_publishes_subscribes_and_comes_back() {
    let clients = "clients: {\"events\": Rtep(address: \"ADDRESS\", shortest_pause: \"10ms\")},";
    let rtep = start(1, "", clients, Some(CLIENT));
    let page = |path: &str| get(rtep.skep.address(), path).expect("an answer").text();
    assert_eq!(page("/double"), "42");
    assert_eq!(page("/slow"), "false");
    let mut peer = Peer::connect(rtep.address);
    assert_eq!(peer.subscribe(&["chat"]), 1);
    page("/publish");
    assert_eq!(peer.event()["n"], 0);
    wait::until("the client's own event", || page("/") == "[0]");
    assert_eq!(peer.publish(&json!({"name": "chat", "n": "more"})), 1);
    wait::until("another's event", || page("/") == "[0,\"more\"]");
}
