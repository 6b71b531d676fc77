// Asks for the file whole, in part, or only if it changed, and shows what the head of the reply says.
import { exchange, live, press, show } from "../exchange.js";

const SHOWN = ["content-type", "content-length", "content-range", "etag", "last-modified"];
const facts = document.querySelector("[data-facts]");
let etag = "";

function fact(name, value) {
  const [term, text] = ["dt", "dd"].map((kind) => document.createElement(kind));
  term.textContent = name;
  text.textContent = value;
  facts.append(term, text);
}

const headers = {
  all: () => ({}),
  range: () => ({ range: "bytes=0-99" }),
  same: () => ({ "if-none-match": etag }),
};

async function ask(kind) {
  if (kind === "same" && !etag) await ask("all");
  const reply = await exchange("GET", live("download"), { headers: headers[kind](), sent: Object.entries(headers[kind]()).map((pair) => pair.join(": ")).join("\n") });
  etag = reply.headers.get("etag") ?? etag;
  facts.replaceChildren();
  fact("status", reply.status);
  for (const name of SHOWN) if (reply.headers.has(name)) fact(name, reply.headers.get(name));
  show(reply.status === 304 ? { ...reply, text: "Not changed, so nothing was sent." } : reply);
}

for (const button of document.querySelectorAll("[data-ask]")) press(button, () => ask(button.dataset.ask));
