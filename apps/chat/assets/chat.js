// The chat of one page: connects, takes up where it was, and brings together what the server tells and what somebody does.
import { alerts } from "./alerts.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { mentions } from "./lines.js";
import { key, memory } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";
import { openSettings, readySettings } from "./settings.js";
import { View } from "./view.js";

// Clocks and disks may bring two lines into another order within this many seconds.
const OVERLAP = 10;
// A connection that is back so soon was not worth a word.
const PATIENCE = 700;

const ERRORS = {
  empty: "Please write a name.",
  invalid: "A name has letters, digits, - _ ! and dots, and no spaces.",
  taken: "Somebody has this name already. Please choose another.",
};

const base = document.body.dataset.base;
const at = (id) => document.getElementById(id);
const me = { sid: undefined, name: undefined };
const rooms = new Map();
let current;
let late;
let firstTags = memory.get("rooms");

const connection = new Connection(`${location.origin.replace(/^http/u, "ws")}${base}/`);
const outbox = new Outbox(connection);
const view = new View(me);
const composer = new Composer(() => [...(current?.people.values() ?? [])].filter((one) => one.id !== me.sid).map((one) => one.username));

const isMine = (line) => line.sid === me.sid;
const mentionsMe = (line) => !isMine(line) && mentions(line, me.name);
const isLookedAt = (room) => room === current && !document.hidden && document.hasFocus() && view.isAtEnd;

function refresh() {
  view.rooms([...rooms.values()], current);
  const unread = [...rooms.values()].reduce((sum, room) => sum + room.unread, 0);
  alerts.title(unread, current?.tag);
}

function open(tag) {
  current?.markRead();
  if (current) current.mark = 0;
  current = rooms.get(tag) ?? rooms.values().next().value;
  memory.set("room", current?.tag);
  history.replaceState(null, "", current ? `#${encodeURIComponent(current.tag)}` : location.pathname);
  if (current) {
    current.mark = current.unread > 0 ? current.read : 0;
    composer.name(current.tag);
  }
  view.draw(current);
  view.people(current);
  view.waiting(outbox.messages, current);
  if (current && isLookedAt(current)) current.markRead();
  refresh();
}

// What comes over the connection, by type.
const packets = {
  tags({ tags }) {
    for (const tag of rooms.keys()) if (!tags.includes(tag)) rooms.delete(tag);
    const added = tags.filter((tag) => !rooms.has(tag));
    for (const tag of added) rooms.set(tag, new Room(tag));
    firstTags = tags;
    memory.set("rooms", tags);
    if (!me.ready) return;
    for (const tag of added) catchUp(rooms.get(tag), 0);
    if (added.length > 0) people();
    if (added.length > 0 || !rooms.has(current?.tag)) open(added[0] ?? current?.tag);
    else refresh();
  },
  msg(line) {
    if (line.mtype === "pub" || line.mtype === "status") outbox.remove(line._id.slice(line._id.indexOf(".") + 1));
    for (const tag of line.tags ?? [current?.tag]) if (rooms.has(tag)) arrived(rooms.get(tag), line);
    if (line.mtype === "status") {
      for (const room of rooms.values()) if (room.people.has(line.sid)) room.people.get(line.sid).statusmsg = line.text;
      view.people(current);
    }
  },
  cstatus({ username }) {
    me.name = username;
    memory.set("name", username);
    view.people(current);
  },
  joinsUser(packet) {
    moved(packet, "joins", (room) => room.people.set(packet.sid, { id: packet.sid, username: packet.username }));
  },
  partsUser(packet) {
    moved(packet, "parts", (room) => room.people.delete(packet.sid));
  },
  changedUsername({ sid, new: username }) {
    for (const room of rooms.values()) if (room.people.has(sid)) room.people.get(sid).username = username;
    view.people(current);
  },
  userlist({ tags, userlist }) {
    for (const tag of tags) {
      const here = userlist.filter((person) => person.tags.includes(tag)).map((person) => [person.id, { ...person }]);
      if (rooms.has(tag)) rooms.get(tag).people = new Map(here);
    }
    view.people(current);
  },
  kicked({ tags, reason, seconds }) {
    composer.say(`You were put out of ${tags.map((tag) => `#${tag}`).join(", ")}${reason ? `: ${reason}` : ""}. You can come back in ${seconds} s.`, 15);
  },
  gap({ tags }) {
    for (const tag of tags) if (rooms.has(tag)) catchUp(rooms.get(tag), rooms.get(tag).last);
    people();
  },
};

function arrived(room, line) {
  const how = room.add(line);
  if (how === "known" || room.reading) return;
  const counts = (line.mtype === "pub" || line.mtype === "status") && !isMine(line) && line.ts > room.read;
  const seen = isLookedAt(room);
  if (room === current) {
    if (how === "new" && !room.trim()) view.append(room);
    else view.draw(room, !view.isAtEnd);
  }
  if (seen) room.markRead();
  else if (counts) {
    room.unread += 1;
    if (mentionsMe(line)) room.mentions += 1;
    alerts.line(line, room.tag, mentionsMe(line), () => open(room.tag));
  }
  refresh();
}

// Somebody joined or left rooms: a line says so, together with those just before.
function moved({ sid, username: told, tags, ts }, notice, change) {
  for (const tag of tags) {
    const room = rooms.get(tag);
    const isNew = notice === "parts" || !room?.people.has(sid);
    if (!room || (notice === "parts" && !room.people.has(sid))) continue;
    const username = room.people.get(sid)?.username ?? told;
    change(room);
    if (!isNew || sid === me.sid || !username) continue;
    const last = room.lines.at(-1);
    const joins = last?.notice === notice && ts - last.ts < 120;
    if (joins && !last.names.includes(username)) last.names.push(username);
    else if (!joins) room.lines.push({ notice, names: [username], ts: Math.max(ts, last?.ts ?? 0) });
    if (room === current) joins ? view.amend(room) : view.append(room);
  }
  view.people(current);
}

function people() {
  if (rooms.size > 0) connection.request({ cmd: "getUserlist", tags: [...rooms.keys()] }).catch(() => {});
}

/** Reads what a room's history has after a time; with 0, only the newest of it. */
async function catchUp(room, after) {
  room.reading = true;
  try {
    if (after === 0) {
      const { more } = await connection.request({ cmd: "getHistory", tags: [room.tag] });
      room.more = Boolean(more);
      room.known = true;
      room.begin();
    } else {
      for (let lastTS = after - OVERLAP, more = true; more; ) ({ more, last: lastTS } = await connection.request({ cmd: "getHistory", tags: [room.tag], lastTS, oldest: true }));
    }
  } catch {
    return; // The connection broke; it begins anew when it is back.
  } finally {
    room.reading = false;
  }
  room.count(isMine, mentionsMe);
  if (room === current) {
    current.mark ||= room.unread > 0 ? room.read : 0;
    view.draw(room, !view.isAtEnd);
    if (isLookedAt(room)) room.markRead();
  }
  refresh();
}

async function older() {
  const room = current;
  if (!room?.more || room.reading) return;
  room.reading = true;
  try {
    const { more } = await connection.request({ cmd: "getHistory", tags: [room.tag], before: room.first });
    room.more = Boolean(more);
  } catch {
    return; // The connection broke; the button is still there.
  } finally {
    room.reading = false;
  }
  if (room === current) view.draw(room, true);
}

async function begin() {
  me.ready = false;
  const lasts = new Map([...rooms].map(([tag, room]) => [tag, room.last]));
  const hello = await connection.request({ cmd: "hello", key: key() });
  me.sid = hello.sid;
  me.name = hello.username;
  composer.longest = hello.limits.longest;
  firstTags ??= hello.tags ?? hello.rooms;
  const wanted = me.name ? undefined : (hello.lost ?? memory.get("name"));
  const error = wanted ? (await connection.request({ cmd: "setUsername", username: wanted })).error : undefined;
  if (me.name) return enter(lasts);
  view.show("enter");
  at("name-error").textContent = ERRORS[error] ?? "";
  at("name").value ||= wanted ?? "";
  at("name").focus();
}

/** The room that the address names. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1)).toLowerCase();
  } catch {
    return ""; // It is no address that this page made.
  }
}

async function enter(lasts = new Map()) {
  const tags = new Set(firstTags);
  const linked = named();
  if (linked) tags.add(linked);
  await connection.request({ cmd: "setTags", tags: [...tags] });
  view.show("chat");
  me.ready = true;
  if (current && rooms.has(current.tag)) refresh();
  else {
    open(rooms.has(linked) ? linked : memory.get("room"));
    if (matchMedia("(hover: hover)").matches) composer.focus();
  }
  people();
  await Promise.all([...rooms.values()].map((room) => catchUp(room, room.known ? (lasts.get(room.tag) ?? 0) : 0)));
  clearTimeout(late);
  view.link("open", "Connected");
  connection.settled();
  outbox.flush();
}

// A connection that broke in the midst of this begins it again.
const start = (step) => step().catch((error) => connection.isOpen && console.error(error));

connection.addEventListener("open", () => start(begin));
connection.addEventListener("packet", ({ detail }) => packets[detail.type]?.(detail));
connection.addEventListener("closed", () => {
  me.ready = false;
  late ??= setTimeout(() => view.link("closed", "No connection, trying again"), PATIENCE);
});
connection.addEventListener("open", () => {
  clearTimeout(late);
  late = undefined;
});
outbox.addEventListener("changed", () => view.waiting(outbox.messages, current));
outbox.addEventListener("fast", ({ detail: wait }) => composer.say(`Too fast: one message a second. Yours goes out in ${wait.toFixed(1)} s.`, wait + 1));
composer.addEventListener("say", ({ detail: text }) => {
  if (!current && !text.startsWith("/")) return;
  if (current) current.mark = 0;
  outbox.add(text, current ? [current.tag] : []);
  view.toEnd();
});

at("enter-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const error = await connection.request({ cmd: "setUsername", username: at("name").value }).then((answer) => answer.error, () => "lost");
  at("name-error").textContent = error === "lost" ? "There is no connection just now. Please try again." : (ERRORS[error] ?? "");
  if (error) at("name").focus();
  else start(enter);
});
at("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const tag = at("join").value.trim().replace(/^#/u, "");
  if (tag) join(tag);
  at("join").value = "";
});

function join(tag) {
  at("rooms").matches(":popover-open") && at("rooms").hidePopover();
  if (rooms.has(tag.toLowerCase())) open(tag.toLowerCase());
  else outbox.add(`/join ${tag}`, []);
  composer.focus();
}

document.addEventListener("click", ({ target }) => {
  const { room, leave, name, join: tag, retry, remove } = target.closest("[data-room], [data-leave], [data-name], [data-join], [data-retry], [data-remove]")?.dataset ?? {};
  if (room) {
    open(room);
    if (at("rooms").matches(":popover-open")) at("rooms").hidePopover();
  }
  if (leave) outbox.add(`/part ${leave}`, [leave]);
  if (tag) join(tag);
  if (name) {
    composer.text = `${composer.text}${composer.text && !composer.text.endsWith(" ") ? " " : ""}@${name} `;
    if (at("people").matches(":popover-open")) at("people").hidePopover();
    composer.focus();
  }
  if (retry) outbox.retry(retry);
  if (remove) outbox.remove(remove);
});

// Alt with the arrows goes from room to room.
document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!event.altKey || !step || rooms.size === 0) return;
  event.preventDefault();
  const tags = [...rooms.keys()];
  open(tags[(tags.indexOf(current?.tag) + step + tags.length) % tags.length]);
});

addEventListener("hashchange", () => named() && me.ready && join(named()));

function looked() {
  if (current && isLookedAt(current)) {
    current.markRead();
    refresh();
  }
}
addEventListener("focus", looked);
document.addEventListener("visibilitychange", looked);
at("scroll").addEventListener("scroll", () => {
  if (view.isAtEnd) at("down").hidden = true;
  looked();
});
at("older").addEventListener("click", older);
at("down").addEventListener("click", () => {
  view.toEnd();
  looked();
});
at("open-settings").addEventListener("click", () => openSettings(me.name));
readySettings((name) => connection.request({ cmd: "sendMessage", text: `/nick ${name}`, tags: [...rooms.keys()] }).then(({ error, wait }) => ERRORS[error] ?? (wait ? "Too fast: wait a second and try again." : undefined)));

connection.connect();
