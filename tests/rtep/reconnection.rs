//! A client whose server ends without a word and comes back.

use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::support::client::get;
use crate::support::server::send;
use crate::support::wait;
use crate::{Rtep, start};

const FAR: &str = r#"
local rtep = require("@skep/rtep")
local events = require("@skep/events")
local skep = require("@skep")
local app = {}
rtep.group("room", {
    add = function(session, arguments, name)
        session:send("room", { joined = arguments[1] })
        return true
    end,
})
rtep.operation("never", function()
    events.publish("asked", {})
    skep.sleep("10m")
end)
rtep.operation("double", function(_, request)
    return { n = request.n * 2 }
end)
function app.request(req)
    return "here"
end
return app
"#;

const NEAR: &str = r#"
local rtep = require("@skep/rtep")
local json = require("@skep/json")
local app = {}
local seen = { missed = 0, news = {}, joined = { a = 0, b = 0 } }
local client = rtep.client("far")
for _, name in { "room:a", "room:b", "chat" } do
    client:subscribe(name, function(news)
        if news.kind == "missed" then
            seen.missed += 1
        elseif news.data.joined then
            seen.joined[news.data.joined] += 1
        else
            table.insert(seen.news, news.data.n)
        end
    end)
end
function app.request(req)
    if req.path == "/never" then
        local done, why = pcall(client.request, client, "never", nil, { timeout = "1m" })
        return if done then "an answer" else tostring(why)
    elseif req.path == "/soon" then
        local done, why = pcall(client.request, client, "double", { n = 1 }, { timeout = "50ms" })
        return if done then "an answer" else tostring(why)
    elseif req.path == "/double" then
        return tostring(client:request("double", { n = 21 }, { timeout = "1m" }).n)
    end
    return json.encode(seen)
end
return app
"#;

#[test]
fn a_client_outlives_its_server_and_what_was_under_way_fails_in_words() {
    let mut far = start(2, "", "", Some(FAR));
    let clients = format!("clients: {{\"far\": Rtep(address: \"{}\", shortest_pause: \"10ms\", longest_pause: \"50ms\")}},", far.address);
    let near = start(1, "", &clients, Some(NEAR));
    let page = |path: &str| get(near.skep.address(), path).expect("an answer").text();
    let seen = || serde_json::from_str::<Value>(&page("/")).expect("JSON");
    // Both subscriptions to the group are to one event of many arguments, and each is told what either was sent.
    wait::until("both rooms to be joined", || seen()["joined"] == json!({"a": 2, "b": 2}));
    let mut lives = 1;
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let mut asked = Peer::connect(far.address);
        assert_eq!(asked.subscribe(&["asked"]), 1);
        let web = near.skep.address();
        let under_way: Vec<_> = (0..5).map(|_| thread::spawn(move || get(web, "/never").expect("an answer").text())).collect();
        (0..5).for_each(|_| assert_eq!(asked.event()["name"], "asked"));
        match signal {
            Signal::SIGKILL => far.skep.processes().into_iter().for_each(|pid| send(pid, signal)),
            _ => send(far.skep.master(), signal),
        }
        for call in under_way {
            let why = call.join().expect("no panic");
            assert!(why.contains("the connection broke") && why.contains(&far.address.to_string()), "{why}");
        }
        wait::until("the end of the server", || far.skep.processes().is_empty());
        let why = page("/soon");
        // A connection that came to nobody's hands any more may break first.
        assert!(why.contains("no response in time") || why.contains("the connection broke"), "{why}");
        // What is asked while there is no server waits for one.
        let patient = thread::spawn(move || get(web, "/double").expect("an answer").text());
        let before = seen()["missed"].as_u64().expect("a number");
        let Rtep { skep, address, policy } = far;
        far = Rtep { skep: skep.into_site().start(), address, policy };
        lives += 1;
        assert_eq!(patient.join().expect("no panic"), "42");
        wait::until("the rooms to be joined again", || seen()["joined"] == json!({"a": 2 * lives, "b": 2 * lives}));
        // A hub that ends before its workers is told of too.
        assert!(seen()["missed"].as_u64() >= Some(before + 3), "each subscription is told that events may be missing");
        let mut publisher = Peer::connect(far.address);
        assert_eq!(publisher.publish(&json!({"name": "chat", "n": lives})), 1);
        wait::until("news", || seen()["news"].as_array().is_some_and(|news| news.last() == Some(&json!(lives))));
    }
    assert_eq!(seen()["news"], json!([2, 3]), "nothing comes twice");
}
