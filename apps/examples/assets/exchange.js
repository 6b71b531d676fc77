// Requests to the examples, and the list "On the wire" that shows each of them.
const list = document.querySelector("[data-exchanges]");
const MOST_SHOWN = 8;
const MOST_CHARACTERS = 4000;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Adds an exchange to the list; `headers` is anything that has name and value pairs. */
export function record({ method, path, sent = "", status, headers, text, millis }) {
  const item = document.createElement("li");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.append(element("b", method), element("span", path), element("span", status, status < 400 ? "ok" : "not-ok"), element("span", `${millis.toFixed(1)} ms`));
  const head = [...headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  const whole = [sent && `${sent}\n`, `${status}\n${head}`, text && `\n${text.slice(0, MOST_CHARACTERS)}${text.length > MOST_CHARACTERS ? "…" : ""}`];
  const pre = element("pre", whole.filter(Boolean).join("\n"));
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", `${method} ${path}, its reply`);
  details.append(summary, pre);
  item.append(details);
  list.prepend(item);
  while (list.children.length > MOST_SHOWN) list.lastChild.remove();
  document.querySelector("[data-wire]").hidden = false;
}

/** The path of an example below these pages: `live("hello")` is `/hello/live`. */
export const live = (name) => `${document.body.dataset.base}/${name}/live`;

/** Sends a request and records it. Gives status, headers, text, and the time in milliseconds. */
export async function exchange(method, path, { headers = {}, body, sent, quiet = false } = {}) {
  const started = performance.now();
  const reply = await fetch(path, { method, headers, body, cache: "no-store" });
  const text = await reply.text();
  const told = { method, path, sent: sent ?? (typeof body === "string" ? body : ""), status: reply.status, headers: reply.headers, text, millis: performance.now() - started };
  if (!quiet) record(told);
  return told;
}

/** What a person wants to read of a reply: JSON with indents, the text of HTML, anything else as it is. */
export function readable({ headers, text }) {
  const type = headers.get("content-type") ?? "";
  if (type.includes("json")) return JSON.stringify(JSON.parse(text), null, 2);
  if (type.includes("html")) return new DOMParser().parseFromString(text, "text/html").body.textContent.trim();
  return text;
}

/** Shows a reply, or what went wrong, in the example's output. */
export function show(reply) {
  const output = document.querySelector("[data-reply]");
  if (reply instanceof Error) {
    output.textContent = `No reply: ${reply.message}.`;
    output.dataset.state = "bad";
    return;
  }
  output.textContent = readable(reply);
  output.dataset.state = reply.status < 400 ? "good" : "bad";
}

/** Runs something when a button is pressed, and not again before it is done. */
export function press(button, run) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    try {
      await run(button);
    } catch (error) {
      show(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

/** A bar a worker: how many answers came from each. */
export function bars(counts) {
  const place = document.querySelector("[data-bars]");
  const most = Math.max(...counts.values());
  place.replaceChildren(
    ...[...counts].sort(([a], [b]) => a - b).map(([worker, count]) => {
      const row = document.createElement("li");
      const track = element("span", "", "coil-track");
      const fill = element("span", "", "coil-fill");
      fill.style.width = `${(100 * count) / most}%`;
      track.append(fill);
      row.append(element("span", `worker ${worker}`), track, element("span", count.toLocaleString("en")));
      return row;
    }),
  );
  place.hidden = false;
}

/** Sends a body with a bar that shows how much has gone; `fetch` cannot tell that. Gives what `exchange` gives. */
export function sendWithProgress(path, body, sent) {
  const progress = document.querySelector("[data-progress]");
  const track = progress.querySelector("[role=progressbar]");
  const at = (percent) => {
    track.setAttribute("aria-valuenow", percent);
    track.firstElementChild.style.width = `${percent}%`;
    progress.querySelector("[data-said]").textContent = `${percent} %`;
  };
  at(0);
  progress.hidden = false;
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && at(Math.floor((100 * event.loaded) / event.total)));
    request.addEventListener("error", () => reject(new Error("the connection broke")));
    request.addEventListener("load", () => {
      at(100);
      const headers = new Headers(request.getAllResponseHeaders().trim().split("\r\n").map((line) => line.split(/:\s*(.*)/s, 2)));
      const told = { method: "POST", path, sent, status: request.status, headers, text: request.responseText, millis: performance.now() - started };
      record(told);
      resolve(told);
    });
    request.send(body);
  });
}
