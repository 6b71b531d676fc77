// Counts, one at a time or many at once, and tallies which worker answered.
import { bars, exchange, live, press } from "../exchange.js";

const answered = new Map();
const number = document.querySelector("[data-count]");
const output = document.querySelector("[data-reply]");

function show(told) {
  number.textContent = told.count.toLocaleString("en");
}

async function count(quiet) {
  const told = JSON.parse((await exchange("POST", live("counter"), { quiet })).text);
  answered.set(told.worker, (answered.get(told.worker) ?? 0) + 1);
  return told;
}

for (const button of document.querySelectorAll("[data-times]")) {
  press(button, async () => {
    const times = Number(button.dataset.times);
    const told = await Promise.all(Array.from({ length: times }, () => count(times > 1)));
    const counts = told.map((reply) => reply.count);
    show(told.find((reply) => reply.count === Math.max(...counts)));
    const twice = counts.length - new Set(counts).size;
    const workers = new Set(told.map((reply) => reply.worker)).size;
    output.textContent =
      times === 1
        ? `Worker ${told[0].worker} counted to ${told[0].count}.`
        : `${times} requests, ${workers} ${workers === 1 ? "worker" : "workers"}, ${twice} numbers given twice.`;
    output.dataset.state = twice === 0 ? "good" : "bad";
    bars(answered);
  });
}

exchange("GET", live("counter"), { quiet: true }).then((reply) => show(JSON.parse(reply.text)));
