// Uploads the chosen files, or two that are made up here, with a bar for the progress.
import { live, press, sendWithProgress, show } from "../exchange.js";

const form = document.getElementById("parcel");

async function upload(data) {
  const names = data.getAll("files[]").map((file) => file.name);
  show(await sendWithProgress(live("upload"), data, `multipart/form-data: ${names.join(", ")}`));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const data = new FormData(form);
  if (document.getElementById("files").files.length === 0) data.delete("files[]");
  upload(data).catch(show);
});

press(document.querySelector("[data-made-up]"), () => {
  const data = new FormData();
  data.append("note", form.elements.note.value);
  data.append("files[]", new File(["Straw, bramble, patience.\n"], "recipe.txt", { type: "text/plain" }));
  data.append("files[]", new File([new Uint8Array(3_000_000)], "three megabytes.bin"));
  return upload(data);
});
