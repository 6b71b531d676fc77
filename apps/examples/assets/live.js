// What all example pages share: forms that are sent without leaving the page, the copy button, the strip of examples.
import { exchange, show } from "./exchange.js";

const TYPING_PAUSE = 120;

async function send(form, submitter) {
  const method = (submitter?.getAttribute("formmethod") ?? form.method).toUpperCase();
  const fields = new URLSearchParams(new FormData(form, submitter));
  if (submitter?.name === "forget") fields.delete("flower");
  const path = new URL(form.action).pathname;
  const inQuery = method === "GET" && fields.size > 0;
  const reply = await exchange(method, inQuery ? `${path}?${fields}` : path, method === "GET" ? {} : { body: fields, sent: String(fields) });
  show(reply);
  refused(reply);
}

// The explanation that belongs to a reply with `allowed: false`.
function refused({ text, headers }) {
  const notice = document.querySelector("[data-when-refused]");
  if (notice && headers.get("content-type")?.includes("json")) notice.hidden = JSON.parse(text).allowed !== false;
}

for (const form of document.querySelectorAll("form[data-live]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, event.submitter).catch(show);
  });
  if (form.dataset.live === "typing") {
    let pause;
    form.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => send(form).catch(show), TYPING_PAUSE);
    });
  }
}

const copy = document.querySelector("[data-copy]");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector(".source code").textContent);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
}

const strip = document.querySelector(".contents");
const current = strip?.querySelector("[aria-current]");
if (current && strip.scrollWidth > strip.clientWidth) strip.scrollLeft = current.offsetLeft - strip.clientWidth / 2 + current.offsetWidth / 2;
