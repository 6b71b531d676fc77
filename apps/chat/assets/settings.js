// The settings: name, appearance, notifications and sound.
import { alerts } from "./alerts.js";

const dialog = document.getElementById("settings");
const at = (id) => document.getElementById(id);
const THEME = "skep-theme";

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    if (name === "system") localStorage.removeItem(THEME);
    else localStorage.setItem(THEME, name);
  } catch {
    // Then it holds for this page only.
  }
}

/** Opens the dialog. */
export function openSettings(name) {
  at("new-name").value = name;
  at("notify").checked = alerts.notify;
  at("sound").checked = alerts.sound;
  at("settings-error").textContent = "";
  dialog.querySelector(`[name=theme][value=${theme()}]`).checked = true;
  dialog.showModal();
}

/** Makes the dialog work. `rename(name)` gives what is wrong with the name, if anything. */
export function readySettings(rename) {
  const apply = async () => {
    at("settings-error").textContent = (await rename(at("new-name").value).catch(() => "There is no connection just now.")) ?? "";
  };
  at("rename").addEventListener("click", apply);
  at("new-name").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    apply();
  });
  dialog.addEventListener("change", async ({ target }) => {
    if (target.name === "theme") setTheme(target.value);
    if (target.id === "sound") alerts.sound = target.checked;
    if (target.id === "notify") {
      const wanted = target.checked;
      target.checked = await alerts.ask(wanted);
      at("settings-error").textContent = wanted && !target.checked ? "The browser does not let this page notify you." : "";
    }
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
