// Looks every second who ran the timer last.
import { exchange, live } from "../exchange.js";

const button = document.querySelector("[data-switch]");
const part = (name) => document.querySelector(`[data-${name}]`);
let watching;

async function look() {
  try {
    const told = JSON.parse((await exchange("GET", live("timer"), { quiet: true })).text);
    part("asked").textContent = `worker ${told.asked}`;
    if (!told.tick) return;
    part("count").textContent = told.tick.count.toLocaleString("en");
    part("ago").textContent = `${Math.max(0, told.now - told.tick.at).toFixed(1)} s ago`;
    const by = `worker ${told.tick.worker}, process ${told.tick.pid}`;
    if (part("by").textContent !== by) {
      part("by").textContent = by;
      part("said").textContent = `Now run by ${by}.`;
    }
  } catch (error) {
    part("said").textContent = `No reply: ${error.message}.`;
  }
}

function watch(on) {
  clearInterval(watching);
  watching = on ? setInterval(look, 1000) : undefined;
  button.textContent = on ? "Stop watching" : "Watch it";
  button.setAttribute("aria-pressed", String(on));
  if (on) look();
}

button.addEventListener("click", () => watch(!watching));
