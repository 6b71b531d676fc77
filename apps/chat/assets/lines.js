// Lines of a room as elements: grouped by author, with days, links and names marked.
const GROUP_SPAN = 300;
const LINKS = /(https?:\/\/[^\s<>"]+)|(?<![^\s(])@([\p{L}\p{N}\-_!.]+)|(?<![^\s(])#([\p{L}\p{N}\-_.]+)/gu;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** The cell of honeycomb that stands for somebody. */
export function cell(sid, name) {
  const made = element("span", { class: "cell", "aria-hidden": "true" }, [...(name ?? "?")][0].toUpperCase());
  made.style.setProperty("--hue", hue(sid ?? name ?? ""));
  return made;
}

/** A colour for somebody, the same on every page. */
export function hue(text) {
  let sum = 7;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  return String(sum / 10);
}

function time(ts) {
  const date = new Date(ts * 1000);
  return element("time", { datetime: date.toISOString(), title: whole.format(date) }, clock.format(date));
}

function link(address) {
  // What ends a sentence does not belong to the address.
  const [, bare, rest] = address.match(/^(.*?)([.,:;!?'")\]]*)$/su);
  return [element("a", { href: bare, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, bare), rest];
}

/** A text with what it links to, who it addresses and which rooms it names. */
export function marked(text, me) {
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(LINKS)) {
    const [all, address, name, tag] = found;
    pieces.push(text.slice(at, found.index));
    at = found.index + all.length;
    if (address && URL.canParse(address)) pieces.push(...link(address));
    else if (name) pieces.push(...mention(name, me));
    else if (tag) pieces.push(element("button", { type: "button", class: "tag", "data-join": tag }, all));
    else pieces.push(all);
  }
  pieces.push(text.slice(at));
  return pieces;
}

// A name may end in a dot or an exclamation mark; most often the sentence does.
function mention(word, me) {
  const isMe = (name) => Boolean(me) && name.toLowerCase() === me.toLowerCase();
  const bare = isMe(word) ? word : word.replace(/[.!]+$/u, "");
  return [element("span", { class: isMe(bare) ? "mention me" : "mention" }, `@${bare}`), word.slice(bare.length)];
}

/** Whether a line addresses somebody of this name. */
export function mentions(line, me) {
  return Boolean(me) && (line.to ?? []).some((name) => name.toLowerCase() === me.toLowerCase());
}

/** Whether a line goes on where the one before ended. */
function continues(line, before) {
  return before?.mtype === "pub" && line.mtype === "pub" && before.sid === line.sid && before.from === line.from && line.ts - before.ts < GROUP_SPAN && sameDay(line, before);
}

function sameDay(one, other) {
  return new Date(one.ts * 1000).toDateString() === new Date(other.ts * 1000).toDateString();
}

function dayName(ts) {
  const date = new Date(ts * 1000);
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return "Today";
  return days === 1 ? "Yesterday" : day.format(date);
}

function message(line, before, me) {
  const follows = continues(line, before);
  const name = element("span", { class: follows ? "unseen" : "from" }, line.from);
  if (!follows) name.style.setProperty("--hue", hue(line.sid ?? line.from));
  const kind = ["line", "pub", follows ? "follows" : "first", mentions(line, me.name) && line.sid !== me.sid ? "to-me" : "", line.sid === me.sid ? "mine" : ""];
  return element(
    "li",
    { class: kind.filter(Boolean).join(" ") },
    follows ? undefined : cell(line.sid, line.from),
    element("div", { class: "said" }, element("p", { class: "head" }, name, " ", time(line.ts)), element("p", { class: "words" }, ...marked(line.text, me.name))),
  );
}

function action(line, me) {
  const name = element("b", {}, line.from);
  return element("li", { class: `line did ${line.mtype === "status" ? "status" : "aside"}` }, element("p", {}, name, " ", ...marked(line.text, me.name), " ", time(line.ts)));
}

function notice(line) {
  const verb = line.notice === "joins" ? "joined" : "left";
  const text = line.notice ? `${line.names.join(", ")} ${verb}` : line.text.replace(/^\s*\*\s*/u, "");
  return element("li", { class: line.notice ? "line aside" : "line aside told" }, element("p", {}, text, " ", time(line.ts)));
}

/** The elements of a line: a new day before it if one begins, and the mark before what was not read. */
export function elements(line, before, me, isFirstUnread) {
  const made = [];
  if (!before || !sameDay(line, before)) made.push(element("li", { class: "day" }, element("span", {}, dayName(line.ts))));
  if (isFirstUnread) made.push(element("li", { class: "unread-mark" }, element("span", {}, "New")));
  if (line.mtype === "pub") made.push(message(line, made.length > 0 ? undefined : before, me));
  else if (line.mtype === "status" || line.mtype === "astatus") made.push(action(line, me));
  else made.push(notice(line));
  return made;
}

/** A message that waits to be sent, or that was refused. */
export function pending(message) {
  const state = message.failed
    ? element("span", { class: "failed" }, message.failed, " ", element("button", { type: "button", "data-retry": message.id }, "Try again"), " ", element("button", { type: "button", "data-remove": message.id }, "Remove"))
    : element("span", { class: "waits" }, "Waiting to be sent");
  return element("li", { class: "line pending", "data-pending": message.id }, element("div", { class: "said" }, element("p", { class: "words" }, message.text), element("p", { class: "head" }, state)));
}
