// Two requests: one that sleeps, and the one that wakes it.
import { exchange, live, press, show } from "../exchange.js";

const bed = document.querySelector("[data-bed]");
const wake = document.querySelector("[data-wake]");
const time = document.querySelector("[data-time]");
let number = "";

press(bed, async () => {
  number = crypto.randomUUID?.() ?? String(Math.random());
  wake.disabled = false;
  document.querySelector("[data-reply]").textContent = "Asleep.";
  const started = performance.now();
  const ticking = setInterval(() => (time.textContent = `${((performance.now() - started) / 1000).toFixed(1)} s`), 100);
  try {
    show(await exchange("GET", `${live("sleep")}?bed=${number}`));
  } finally {
    clearInterval(ticking);
    wake.disabled = true;
  }
});

press(wake, () => exchange("POST", live("sleep"), { body: new URLSearchParams({ bed: number }), sent: `bed=${number}` }));
