// Opens the stream of events and closes it again.
import { live, show } from "../exchange.js";

const button = document.querySelector("[data-switch]");
const time = document.querySelector("[data-time]");
const output = document.querySelector("[data-reply]");
let events;

function say(text, state) {
  output.textContent = text;
  output.dataset.state = state;
}

function stop(text) {
  events.close();
  events = undefined;
  button.textContent = "Start the clock";
  button.setAttribute("aria-pressed", "false");
  say(text, "");
}

button.addEventListener("click", () => {
  if (events) return stop("The connection is closed; the handler has ended.");
  events = new EventSource(live("clock"));
  button.textContent = "Stop the clock";
  button.setAttribute("aria-pressed", "true");
  say("Connecting.", "");
  events.addEventListener("tick", (event) => {
    const tick = JSON.parse(event.data);
    time.textContent = tick.time;
    if (tick.tick === 1) say(`Worker ${tick.worker} sends the time (UTC), one event a second.`, "good");
  });
  events.addEventListener("error", () => {
    if (events?.readyState === EventSource.CLOSED) show(new Error("the server refused the stream"));
    else if (events) say("The connection broke; your browser opens it again.", "bad");
  });
});
addEventListener("pagehide", () => events?.close());
