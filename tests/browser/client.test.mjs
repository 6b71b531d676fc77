// The client for pages against a server that is made up: node --test client.test.mjs
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { connect } from "../../src/script/live/skep.js";

/** Sockets, event streams and questions as the client made them, and a clock that is moved by hand. */
class World {
  sockets = [];
  streams = [];
  asked = [];
  location = { href: "http://here.test/page" };
  hooks = new Map();
  document = { visibilityState: "visible" };

  constructor(...ways) {
    const world = this;
    class Socket {
      sent = [];
      constructor(url) {
        this.url = new URL(url);
        world.sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close() {
        this.closed = true;
      }
    }
    class Stream {
      constructor(url) {
        this.url = new URL(url);
        world.streams.push(this);
      }
      close() {
        this.closed = true;
      }
    }
    if (ways.includes("websocket")) this.WebSocket = Socket;
    if (ways.includes("sse")) this.EventSource = Stream;
    this.AbortController = AbortController;
    this.setTimeout = (...rest) => setTimeout(...rest);
    this.clearTimeout = (timer) => clearTimeout(timer);
    this.fetch = (url, options) => new Promise((done, fail) => {
      options.signal?.addEventListener("abort", () => fail(new Error("aborted")));
      this.asked.push({ url: new URL(url), options, answer: (status, value) => done({ ok: status < 400, status, json: async () => value }), fail });
    });
  }

  addEventListener(name, hook) {
    this.hooks.set(name, hook);
  }

  removeEventListener(name) {
    this.hooks.delete(name);
  }
}

const event = (topic, offset, data = offset, epoch = "7") => ({ type: "event", topic, epoch, offset, at: 1, data });
const ready = (topic, offset, recovered, epoch = "7") => ({ type: "ready", topic, epoch, offset, ...(recovered !== undefined && { recovered }) });
const say = (link, ...messages) => messages.forEach((message) => link.onmessage({ data: JSON.stringify(message) }));
const settle = () => new Promise((done) => setImmediate(done));

let live;
beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => {
  live?.close();
  mock.timers.reset();
});

function begin(world, topics = ["a"], options = {}) {
  const seen = [];
  const told = [];
  live = connect("/live", { world, ...options });
  for (const topic of topics) {
    live.on(topic, (event) => seen.push(event.data), {
      ready: (notice) => told.push(["ready", notice.topic, notice.recovered]),
      gap: (notice) => told.push(["gap", notice.topic, notice.count]),
      refused: (notice) => told.push(["refused", notice.topic, notice.reason]),
    });
  }
  mock.timers.tick(0);
  return { seen, told };
}

test("topics and places go with the address, and doubles are dropped", () => {
  const world = new World("websocket");
  const { seen } = begin(world, ["a", "b,c"]);
  const [first] = world.sockets;
  assert.equal(first.url.protocol, "ws:");
  assert.equal(first.url.searchParams.get("topics"), "a,b%2Cc");
  assert.equal(first.url.searchParams.get("since"), null);
  first.onopen();
  say(first, ready("a", 3), ready("b,c", 0), event("a", 4), event("a", 5), event("a", 4), event("b,c", 1));
  first.onclose({ code: 1006 });
  assert.equal(live.state, "waiting");
  mock.timers.tick(500);
  const second = world.sockets[1];
  assert.equal(second.url.searchParams.get("since"), "a@7:5,b%2Cc@7:1");
  second.onopen();
  say(second, ready("a", 6, true), event("a", 5), event("a", 6), event("a", 7));
  assert.deepEqual(seen, [4, 5, 1, 6, 7]);
});

test("what is lost is told with its number where that is known", () => {
  const world = new World("websocket");
  const { told } = begin(world);
  world.sockets[0].onopen();
  say(world.sockets[0], ready("a", 3));
  world.sockets[0].onclose({ code: 1006 });
  mock.timers.tick(500);
  world.sockets[1].onopen();
  say(world.sockets[1], ready("a", 10, false));
  world.sockets[1].onclose({ code: 1006 });
  mock.timers.tick(500);
  world.sockets[2].onopen();
  say(world.sockets[2], ready("a", 2, false, "8"), { type: "missed", topic: "a", count: 3 }, { type: "gap", topic: "a", epoch: "9", offset: 4 });
  assert.deepEqual(told, [
    ["ready", "a", undefined],
    ["ready", "a", false], ["gap", "a", 7],
    ["ready", "a", false], ["gap", "a", undefined],
    ["gap", "a", 3], ["gap", "a", undefined],
  ]);
  assert.deepEqual(live.position("a"), { epoch: "9", offset: 4 });
});

test("waits grow, with jitter, up to a limit", () => {
  const world = new World("websocket");
  begin(world, ["a"], { transports: ["websocket"], longest: 4000 });
  for (const most of [500, 1000, 2000, 4000, 4000, 4000]) {
    const count = world.sockets.length;
    world.sockets.at(-1).onclose({ code: 1006 });
    mock.timers.tick(most / 2 - 1);
    assert.equal(world.sockets.length, count, "not before half of it");
    mock.timers.tick(most / 2 + 1);
    assert.equal(world.sockets.length, count + 1, "when it is over");
  }
});

test("a server that restarts is asked again after a random short time", () => {
  for (const code of [1001, 1012]) {
    const world = new World("websocket");
    begin(world, ["a"], { longest: 60_000 });
    world.sockets[0].onopen();
    say(world.sockets[0], ready("a", 0));
    const random = mock.method(Math, "random", () => 0.1);
    world.sockets[0].onclose({ code });
    mock.timers.tick(150);
    random.mock.restore();
    assert.equal(world.sockets.length, 2);
    live.close();
  }
});

test("a way that never works gives way to the next one", async () => {
  const world = new World("websocket", "sse");
  const { seen } = begin(world);
  world.sockets[0].onclose({ code: 1006 });
  mock.timers.tick(500);
  world.sockets[1].onclose({ code: 1006 });
  mock.timers.tick(1000);
  assert.equal(live.transport, "sse");
  world.streams[0].onopen();
  say(world.streams[0], ready("a", 1), event("a", 2));
  world.streams[0].onerror();
  assert.ok(world.streams[0].closed);
  mock.timers.tick(500);
  assert.equal(world.streams[1].url.searchParams.get("since"), "a@7:2");
  world.streams[1].onerror();
  mock.timers.tick(1000);
  world.streams[2].onerror();
  mock.timers.tick(2000);
  assert.equal(live.transport, "poll");
  const [poll] = world.asked;
  assert.equal(poll.url.searchParams.get("poll"), "1");
  assert.equal(poll.url.searchParams.get("since"), "a@7:2");
  poll.answer(200, { messages: [ready("a", 2, true), event("a", 3)], next: "a@7:3" });
  await settle();
  assert.equal(live.state, "open");
  assert.equal(world.asked[1].url.searchParams.get("since"), "a@7:3");
  assert.deepEqual(seen, [2, 3]);
});

test("a way that works but for what is asked gives way as well", () => {
  const world = new World("websocket", "sse");
  begin(world);
  for (let count = 0; count < 2; count += 1) {
    world.sockets[count].onopen();
    world.sockets[count].onclose({ code: 1011 });
    mock.timers.tick(1000);
  }
  assert.equal(live.transport, "sse");
});

test("a goodbye of an event stream is a restart", () => {
  const world = new World("sse");
  begin(world);
  world.streams[0].onopen();
  const random = mock.method(Math, "random", () => 0);
  say(world.streams[0], { type: "goodbye", reason: "restart" });
  mock.timers.tick(0);
  random.mock.restore();
  assert.equal(world.streams.length, 2);
});

test("no network, no tries; it is back, and so are we", () => {
  const world = new World("websocket");
  begin(world);
  world.sockets[0].onopen();
  world.hooks.get("offline")();
  assert.equal(live.state, "waiting");
  world.hooks.get("online")();
  assert.equal(world.sockets.length, 2);
});

test("a silent connection is asked whether it lives", () => {
  const world = new World("websocket");
  begin(world);
  const [socket] = world.sockets;
  socket.onopen();
  mock.timers.tick(25_000);
  assert.deepEqual(socket.sent, [{ type: "ping" }]);
  say(socket, { type: "pong" });
  mock.timers.tick(24_000);
  assert.equal(socket.sent.length, 1);
  mock.timers.tick(1000);
  mock.timers.tick(10_000);
  assert.equal(live.state, "waiting");
});

test("topics come and go on one connection", () => {
  const world = new World("websocket");
  const { seen } = begin(world);
  const [socket] = world.sockets;
  const early = live.on("early", () => {});
  early();
  live.on("late", (event) => seen.push(event.data));
  socket.onopen();
  const end = live.on("more*", (event) => seen.push(event.data));
  end();
  assert.deepEqual(socket.sent.map(({ type, topic }) => `${type} ${topic}`), ["subscribe late", "subscribe more*", "unsubscribe more*"]);
  say(socket, event("more:1", 1), event("late", 1));
  assert.deepEqual(seen, [1]);
});

test("patterns get what they match, and are told that they cannot recover", () => {
  const world = new World("websocket");
  const { seen, told } = begin(world, ["n*"]);
  world.sockets[0].onopen();
  say(world.sockets[0], { type: "ready", topic: "n*" }, event("n1", 1), event("n2", 1), event("m", 1));
  world.sockets[0].onclose({ code: 1006 });
  mock.timers.tick(500);
  assert.equal(world.sockets[1].url.searchParams.get("since"), "n*@0:0");
  say(world.sockets[1], { type: "gap", topic: "n*" });
  assert.deepEqual(seen, [1, 1]);
  assert.deepEqual(told.at(-1), ["gap", "n*", undefined]);
});

test("publications are acknowledged, refused, or unknown", async () => {
  const world = new World("websocket");
  begin(world);
  const [socket] = world.sockets;
  socket.onopen();
  const done = live.publish("a", { x: 1 });
  const { id } = socket.sent[0];
  assert.deepEqual(socket.sent[0], { type: "publish", topic: "a", data: { x: 1 }, id });
  say(socket, { type: "published", id, topic: "a", epoch: "7", offset: 9 });
  assert.deepEqual(await done, { epoch: "7", offset: 9 });
  const refused = live.publish("a", 2);
  say(socket, { type: "error", id: socket.sent[1].id, reason: "not allowed" });
  await assert.rejects(refused, /not allowed/);
  const late = live.publish("a", 3);
  mock.timers.tick(10_000);
  await assert.rejects(late, /unknown/);
  const cut = live.publish("a", 4);
  socket.onclose({ code: 1006 });
  await assert.rejects(cut, /unknown/);
  const posted = live.presence("a");
  assert.equal(world.asked[0].options.method, "POST");
  world.asked[0].answer(200, { type: "presence", members: [{ id: "ann" }] });
  assert.deepEqual(await posted, [{ id: "ann" }]);
});

test("what is refused is told and not asked for again", () => {
  const world = new World("websocket");
  const { told } = begin(world, ["a", "b"]);
  world.sockets[0].onopen();
  say(world.sockets[0], { type: "refused", topic: "b", reason: "not allowed" });
  assert.deepEqual(told, [["refused", "b", "not allowed"]]);
  world.sockets[0].onclose({ code: 1006 });
  mock.timers.tick(500);
  assert.equal(world.sockets[1].url.searchParams.get("topics"), "a");
});

test("a page begins where it was before", () => {
  const world = new World("websocket");
  live = connect("/live", { world });
  live.on("a", () => {}, { since: { epoch: "7", offset: 3 } });
  mock.timers.tick(0);
  assert.equal(world.sockets[0].url.searchParams.get("since"), "a@7:3");
});

test("closed is closed", () => {
  const world = new World("websocket");
  begin(world);
  world.sockets[0].onopen();
  live.close();
  assert.ok(world.sockets[0].closed);
  assert.equal(world.hooks.size, 0);
  mock.timers.tick(100_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(live.state, "closed");
});
