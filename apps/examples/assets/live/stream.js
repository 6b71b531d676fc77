// Sends bytes that are made here, and compares the sum that the server made while they arrived with its own.
import { live, sendWithProgress } from "../exchange.js";

const MEGABYTE = 1_000_000;
const facts = document.querySelector("[data-facts]");

function makeUp(length) {
  const bytes = new Uint8Array(length);
  let state = length;
  for (let at = 0; at < length; at++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    bytes[at] = state >> 16;
  }
  return bytes;
}

function adler32(bytes) {
  let low = 1;
  let high = 0;
  for (let at = 0; at < bytes.length; ) {
    for (const end = Math.min(at + 3800, bytes.length); at < end; at++) {
      low += bytes[at];
      high += low;
    }
    low %= 65521;
    high %= 65521;
  }
  return (high * 65536 + low).toString(16).padStart(8, "0");
}

function list(rows) {
  const made = document.createElement("dl");
  made.className = "facts";
  for (const [name, value] of rows) {
    const [term, text] = ["dt", "dd"].map((kind) => document.createElement(kind));
    term.textContent = name;
    text.textContent = value;
    made.append(term, text);
  }
  facts.replaceChildren(made);
}

document.getElementById("flow").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const bytes = makeUp(new FormData(event.target).get("size") * MEGABYTE);
    const reply = await sendWithProgress(live("stream"), bytes, `${bytes.length.toLocaleString("en")} bytes`);
    const told = JSON.parse(reply.text);
    const own = adler32(bytes);
    list([
      ["Bytes", told.bytes.toLocaleString("en")],
      ["Came in", `${told.chunks.toLocaleString("en")} chunks, the largest of ${told.largest.toLocaleString("en")} bytes`],
      ["Adler-32", `${told.adler32}, ${told.adler32 === own ? "as your browser says" : `but your browser says ${own}`}`],
      ["Took", `${told.seconds.toFixed(2)} s, ${(told.bytes / MEGABYTE / told.seconds).toFixed(0)} MB/s`],
      ["Memory", `${(told.memory / MEGABYTE).toFixed(1)} MB for the whole application in that worker`],
    ]);
  } catch (error) {
    list([["No reply", error.message]]);
  }
});
