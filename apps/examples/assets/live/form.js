// Sends the form by either method, with the letters beyond ASCII as %uXXXX if wanted.
import { exchange, live, show } from "../exchange.js";

const form = document.getElementById("order");

const oldStyle = (text) => [...text].map((c) => (c.codePointAt(0) < 128 ? encodeURIComponent(c) : units(c))).join("");
const units = (c) => Array.from({ length: c.length }, (_, at) => `%u${c.charCodeAt(at).toString(16).toUpperCase().padStart(4, "0")}`).join("");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const encode = document.getElementById("old").checked ? oldStyle : encodeURIComponent;
  const body = [...fields].map(([name, value]) => `${name}=${encode(value)}`).join("&");
  const request = event.submitter?.formMethod === "get"
    ? exchange("GET", `${live("form")}?${body}`)
    : exchange("POST", live("form"), { headers: { "content-type": "application/x-www-form-urlencoded" }, body });
  request.then(show, show);
});
