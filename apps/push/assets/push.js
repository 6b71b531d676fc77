// @ts-check
// The page: what is kept is asked for, what comes is shown, and what is read is told to the user's other pages.
const { base = "", user = "" } = document.body.dataset;
/** @type {typeof import("../../../src/script/live/skep.js")} */
const { connect } = await import(`${location.origin}${base}/skep.js`);

/** @typedef {{at: number, data: {id: string, title: string, text: string, icon?: string, link?: string}}} Message */

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);
const TITLE = document.title;
// The most that stand on the page.
const MOST = 200;

const ICONS = {
  mail: "M3 6h18v12H3zM3 7l9 7 9-7",
  bell: "M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zM10 21h4",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
  heart: "M12 20S4 15 4 9.5A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.5C20 15 12 20 12 20z",
  gift: "M4 9h16v4H4zM5.5 13v7h13v-7M12 9v11M12 9c-5 0-5-5-2.5-5S12 9 12 9s0-5 2.5-5S17 9 12 9",
  alert: "M12 4 2.5 20h19zM12 10v5M12 17.5v.5",
  check: "M4.5 12.5 10 18 20 6.5",
};

/** @param {string | undefined} name */
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  path.setAttribute("d", ICONS[/** @type {keyof typeof ICONS} */ (name)] ?? ICONS.bell);
  return svg;
}

/** @param {string} path @param {object} [body] @param {Record<string, string>} [headers] */
async function post(path, body = {}, headers = {}) {
  const reply = await fetch(base + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

for (const place of document.querySelectorAll("[data-icon]")) place.append(icon(/** @type {HTMLElement} */ (place).dataset.icon));

// Who the page belongs to.

/** @param {object} who */
async function enter(who) {
  try {
    await post("/session", who);
    location.replace(`${base}/`);
  } catch (error) {
    const wrong = find("[data-wrong]");
    if (!wrong) return;
    wrong.textContent = `That did not work: ${/** @type {Error} */ (error).message}.`;
    wrong.hidden = false;
  }
}

// A site links here with the token behind the hash, which no server and no log sees.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname);
  await enter({ token });
}
find("[data-enter]")?.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  enter({ user: find("#name").value.trim() });
});
find("[data-leave]")?.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  await post("/leave");
  location.replace(`${base}/`);
});

// The messages.

/** @type {Map<string, {message: Message, item: HTMLElement}>} */
const shown = new Map();
/** Up to when everything is read, seconds since 1970. */
let readTo = 0;

/** @param {Message} message */
const isRead = (message) => message.at <= readTo;
const unread = () => [...shown.values()].filter(({ message }) => !isRead(message));

/** @param {number} at */
function time(at) {
  const date = new Date(at * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }).format(date);
}

function refresh() {
  const count = unread().length;
  for (const { message, item } of shown.values()) item.toggleAttribute("data-unread", !isRead(message));
  const badge = find("[data-count]");
  badge.hidden = count === 0;
  badge.textContent = count === 0 ? "" : `${count}`;
  badge.setAttribute("aria-label", `${count} unread`);
  badge.setAttribute("role", "img");
  find("[data-read]").disabled = count === 0;
  find("[data-empty]").hidden = shown.size > 0;
  document.title = count === 0 ? TITLE : `(${count}) ${TITLE}`;
}

/** @param {Message} message @param {boolean} isNew */
function show(message, isNew) {
  if (shown.has(message.data.id)) return false;
  const item = find("#message").content.firstElementChild.cloneNode(true);
  item.dataset.id = message.data.id;
  item.querySelector(".mark").append(icon(message.data.icon));
  item.querySelector("h2").textContent = message.data.title;
  item.querySelector(".text").textContent = message.data.text;
  const when = item.querySelector("time");
  when.dateTime = new Date(message.at * 1000).toISOString();
  when.textContent = time(message.at);
  if (message.data.link) {
    const link = item.querySelector("a");
    link.href = message.data.link;
    link.hidden = false;
    link.setAttribute("aria-label", `Open: ${message.data.title}`);
  }
  item.classList.toggle("new", isNew);
  // Newest first, whatever the order of arrival.
  const list = find("[data-messages]");
  const before = [...list.children].find((other) => (shown.get(other.dataset.id)?.message.at ?? 0) <= message.at);
  list.insertBefore(item, before ?? null);
  shown.set(message.data.id, { message, item });
  while (list.children.length > MOST) {
    shown.delete(list.lastElementChild.dataset.id);
    list.lastElementChild.remove();
  }
  return true;
}

/** What is kept: asked for at the beginning, and when something was missed. */
async function load() {
  const reply = await fetch(`${base}/inbox`, { cache: "no-store" });
  if (reply.status === 401) return location.replace(`${base}/`);
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  const { messages, read } = await reply.json();
  if (read) readTo = Math.max(readTo, read);
  for (const message of messages) show(message, false);
  refresh();
}

// The sound: two notes, made here. Browsers allow it once the page was clicked.

/** @type {AudioContext | undefined} */
let audio;
const sound = find("[data-sound]");
const remembered = () => {
  try {
    return localStorage.getItem("push-sound") === "on";
  } catch {
    return false; // Storage may be forbidden; then the sound is off at first.
  }
};
function chime() {
  if (sound.getAttribute("aria-pressed") !== "true") return;
  audio ??= new AudioContext();
  const now = audio.currentTime;
  for (const [index, pitch] of [659.25, 987.77].entries()) {
    const tone = new OscillatorNode(audio, { type: "sine", frequency: pitch });
    const level = new GainNode(audio, { gain: 0 });
    const from = now + index * 0.11;
    level.gain.setValueAtTime(0, from);
    level.gain.linearRampToValueAtTime(0.12, from + 0.012);
    level.gain.exponentialRampToValueAtTime(0.0005, from + 0.5);
    tone.connect(level).connect(audio.destination);
    tone.start(from);
    tone.stop(from + 0.55);
  }
}

/** @param {string} state @param {string} way */
function link(state, way) {
  const place = find("[data-link]");
  place.dataset.state = state;
  const by = { websocket: "WebSocket", sse: "event stream", poll: "polling" }[way];
  find("[data-link-text]").textContent = { open: `Live by ${by}`, connecting: "Connecting", waiting: "Not connected, trying again", closed: "Closed" }[state] ?? state;
}

function listen() {
  sound.setAttribute("aria-pressed", String(remembered()));
  sound.addEventListener("click", () => {
    const on = sound.getAttribute("aria-pressed") !== "true";
    sound.setAttribute("aria-pressed", String(on));
    try {
      localStorage.setItem("push-sound", on ? "on" : "off");
    } catch {
      // Then it holds for this page only.
    }
    chime();
  });
  find("[data-read]").addEventListener("click", () => {
    const last = unread().reduce((/** @type {Message | undefined} */ last, { message }) => (last && last.at > message.at ? last : message), undefined);
    if (last) post("/read", { at: last.at }).catch(() => {});
  });
  find("[data-gap-close]").addEventListener("click", () => (find("[data-gap]").hidden = true));

  const ways = new URLSearchParams(location.search).get("by")?.split(",");
  const live = connect(`${base}/live`, { state: link, ...(ways && { transports: /** @type {any} */ (ways) }) });
  let begun = false;
  live.on(
    `push:${user}`,
    ({ data }) => {
      if (data.kind === "read") {
        readTo = Math.max(readTo, data.at);
      } else if (data.kind === "message" && show({ at: data.ts, data }, true)) {
        find("[data-said]").textContent = `${data.title}. ${data.text}`;
        chime();
      }
      refresh();
    },
    {
      // The first time nothing is recovered: what is kept is asked for when nothing can slip in between any more.
      ready: ({ recovered }) => {
        if (recovered !== true) load().catch(() => {});
        begun = true;
      },
      gap: () => {
        find("[data-gap]").hidden = !begun;
        load().catch(() => {});
      },
      refused: () => location.replace(`${base}/`),
    },
  );
}

function sender() {
  const form = find("[data-send]");
  if (!form) return;
  const message = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const curl = () => {
    const quoted = JSON.stringify(message()).replaceAll("'", "'\\''");
    find("[data-curl]").textContent = `curl ${location.origin}${base}/send \\\n  -H 'Authorization: Bearer SEND_TOKEN' \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
  };
  form.addEventListener("input", curl);
  curl();
  form.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const said = find("[data-sent]");
    const started = performance.now();
    try {
      const { pages } = await post("/send", message());
      const took = Math.round(performance.now() - started);
      said.textContent = `${pages === 0 ? "Kept: no page is open" : `On ${pages} open ${pages === 1 ? "page" : "pages"}`}, ${took} ms.`;
    } catch (error) {
      said.textContent = `Not sent: ${/** @type {Error} */ (error).message}.`;
    }
  });
}

if (user) {
  refresh();
  listen();
  sender();
}

export {};
