//! `@skep/lock` through a client of lock servers of another skep.

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::support::server::{free_address, send};
use crate::support::{client as http, wait};
use crate::{start, start_with};

const SCRIPT: &str = r#"
local lock = require("@skep/lock")
local json = require("@skep/json")
local skep = require("@skep")
local lost = false
local app, pages = {}, {}

local function far(options)
    options = options or {}
    options.client = "far"
    return options
end

function pages.leases()
    local mine = assert(lock.acquire("a b", far({ lease = "5s" })))
    local other, why = lock.acquire("a b", far())
    assert(not other and why == "busy", why)
    assert(lock.acquire("a b"), "here it is another lock")
    local listed = lock.list("a", far({ limit = 5 }))
    assert(#listed == 1 and listed[1].name == "a b" and listed[1].token == mine.token)
    local task = skep.spawn(function()
        local second = assert(lock.acquire("a b", far({ wait = "5s" })))
        assert(second.token > mine.token)
    end)
    while lock.list("a", far())[1].waiting == 0 do
        skep.sleep("5ms")
    end
    assert(mine:renew() and mine:release())
    task:wait()
    local s1, s2 = lock.acquire("s", far({ shared = true })), lock.acquire("s", far({ shared = true }))
    assert(s1 and s2)
    return "ok"
end

function pages.jobs()
    local outcome
    local waiting
    local told, ours = lock.job("j", far(), function(token)
        assert(token > 0)
        assert(lock.job("j", far(), error) == "busy")
        waiting = skep.spawn(function()
            outcome = lock.job("j", far({ wait = true }), error)
        end)
        while lock.list("j", far())[1].waiting == 0 do
            skep.sleep("5ms")
        end
    end)
    assert(told == "done" and ours)
    waiting:wait()
    return assert(outcome == "done" and "ok", outcome)
end

function pages.keep()
    skep.spawn(function()
        local mine = assert(lock.acquire("kept", far()))
        mine:onlost(function()
            lost = true
        end)
        while not lost do
            skep.sleep("5ms")
        end
        assert(mine.lost)
    end)
    while #lock.list("kept", far()) == 0 do
        skep.sleep("5ms")
    end
    return "ok"
end

function pages.lost()
    return tostring(lost)
end

function pages.try()
    local mine, why = lock.acquire("tried", far())
    return why or "ok"
end

function app.request(req)
    local page = pages[string.sub(req.path, 2)]
    return if page then page() else "here"
end

return app
"#;

#[test]
fn applications_use_the_locks_of_another_skep() {
    let far = start(2, "");
    let more = format!("clients: {{\"far\": Lock(servers: [\"{}\"], tags: true, prefix: \"p:\")}}", far.address);
    let near = start_with(1, &more, "\"hold\": Script(path: \"apps/hold\")", Some(SCRIPT));
    let get = |page: &str| http::get(near.skep.address(), page).expect("an answer").text();
    assert_eq!(get("/leases"), "ok");
    assert_eq!(get("/jobs"), "ok");
    assert_eq!(get("/keep"), "ok");
    let mut other = Client::extended(far.address);
    assert_eq!(other.ask("lock p:kept"), ["BUSY", "p:kept"]);
    for worker in far.skep.status().workers {
        send(worker.pid, Signal::SIGKILL);
    }
    wait::until("the loss to be told", || get("/lost") == "true");
    wait::until("the servers to be reached again", || get("/try") == "ok");
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let more = format!("clients: {{\"far\": Lock(servers: [\"{}\"])}}", free_address());
    let near = start_with(1, &more, "\"hold\": Script(path: \"apps/hold\")", Some(SCRIPT));
    assert_eq!(http::get(near.skep.address(), "/try").expect("an answer").text(), "unavailable");
}
