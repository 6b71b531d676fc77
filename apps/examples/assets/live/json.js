// Sends what is in the box, or one of the broken bodies.
import { exchange, live, press, show } from "../exchange.js";

const box = document.getElementById("body");
const send = async () => show(await exchange("POST", live("json"), { headers: { "content-type": "application/json" }, body: box.value }));

document.getElementById("numbers").addEventListener("submit", (event) => {
  event.preventDefault();
  send().catch(show);
});
for (const button of document.querySelectorAll("[data-body]")) {
  press(button, () => {
    box.value = button.dataset.body;
    return send();
  });
}
