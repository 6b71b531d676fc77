// The hive on the index: each knock is a request; the worker that answers lights its coil, and a bee leaves.
const base = document.body.dataset.base;
const hive = document.querySelector(".hive");
const coils = [...hive.querySelectorAll(".coil")].reverse();
const still = matchMedia("(prefers-reduced-motion: reduce)");
const part = (name) => document.querySelector(`[data-${name}]`);
const answered = new Map();
const SVG = "http://www.w3.org/2000/svg";
const MOST_BEES = 12;

function bee() {
  if (still.matches || hive.querySelectorAll(".bee").length >= MOST_BEES) return;
  const shape = document.createElementNS(SVG, "g");
  shape.setAttribute("class", "bee");
  shape.innerHTML =
    '<ellipse class="wing" cx="-1" cy="-7" rx="4" ry="6"/><ellipse class="wing" cx="5" cy="-7" rx="4" ry="6"/>' +
    '<ellipse rx="9" ry="6"/><path class="stripe" d="M-3-5V5M2-5.5V5.5"/>';
  hive.append(shape);
  const side = Math.random() < 0.5 ? -1 : 1;
  const at = (x, y, turn) => ({ transform: `translate(${x}px, ${y}px) rotate(${turn}deg)` });
  const high = 40 + Math.random() * 160;
  const flight = shape.animate(
    [at(200, 310, 0), at(200 + side * 60, 335, side * 12), at(200 + side * 175, 240 + Math.random() * 40, side * -25), { ...at(200 + side * 215, high, side * -60), opacity: 0 }],
    { duration: 1100 + Math.random() * 500, easing: "cubic-bezier(.4,.1,.6,1)" },
  );
  flight.finished.finally(() => shape.remove());
}

function light(worker) {
  const coil = coils[(worker - 1) % coils.length];
  coil.classList.add("lit");
  hive.classList.add("busy");
  clearTimeout(coil.timer);
  coil.timer = setTimeout(() => {
    coil.classList.remove("lit");
    hive.classList.remove("busy");
  }, 250);
}

async function knock() {
  const started = performance.now();
  const reply = await fetch(`${base}/knock`, { method: "POST", cache: "no-store" });
  if (!reply.ok) throw new Error(`the server answered ${reply.status}`);
  const told = await reply.json();
  told.millis = performance.now() - started;
  answered.set(told.worker, (answered.get(told.worker) ?? 0) + 1);
  light(told.worker);
  bee();
  return told;
}

function show(told) {
  document.getElementById("answer").innerHTML =
    "Worker <b data-worker></b> (process <b data-pid></b>) answered in <b data-micros></b> µs; <b data-millis></b> ms from here and back.";
  part("worker").textContent = told.worker;
  part("pid").textContent = told.pid;
  part("micros").textContent = told.micros.toLocaleString("en");
  part("millis").textContent = told.millis.toFixed(1);
  part("count").textContent = told.count.toLocaleString("en");
  part("noun").textContent = told.count === 1 ? "knock" : "knocks";
}

function bars() {
  const most = Math.max(...answered.values());
  const rows = [...answered].sort(([a], [b]) => a - b).map(([worker, count]) => {
    const row = document.createElement("li");
    const [name, track, number] = ["span", "span", "span"].map((kind) => document.createElement(kind));
    name.textContent = `worker ${worker}`;
    track.className = "coil-track";
    const fill = document.createElement("span");
    fill.className = "coil-fill";
    fill.style.width = `${(100 * count) / most}%`;
    track.append(fill);
    number.textContent = count.toLocaleString("en");
    row.append(name, track, number);
    return row;
  });
  part("bars").replaceChildren(...rows);
  part("bars").hidden = false;
}

for (const button of document.querySelectorAll("[data-knock]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const times = Number(button.dataset.knock);
      const told = await Promise.all(Array.from({ length: times }, knock));
      show(told.reduce((last, next) => (next.count > last.count ? next : last)));
      bars();
    } catch (error) {
      document.getElementById("answer").textContent = `Nobody answered: ${error.message}.`;
    } finally {
      button.disabled = false;
      button.focus();
    }
  });
}
