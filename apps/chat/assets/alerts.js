// What calls somebody who looks elsewhere: the title, a sound, a notification. The last two only where they were asked for.
import { memory } from "./memory.js";

const TONES = [
  [740, 0],
  [988, 0.09],
];

let audio;

function play() {
  audio ??= new AudioContext();
  for (const [pitch, after] of TONES) {
    const at = audio.currentTime + after;
    const tone = new OscillatorNode(audio, { frequency: pitch, type: "sine" });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.12, at + 0.01);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.25);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.3);
  }
}

export const alerts = {
  get sound() {
    return memory.get("sound", false);
  },
  set sound(on) {
    memory.set("sound", on);
    // The sound that answers the switch is also what lets the browser play later ones.
    if (on) play();
  },

  get notify() {
    return memory.get("notify", false) && globalThis.Notification?.permission === "granted";
  },

  /** Asks the browser for leave to notify; whether it may. */
  async ask(on) {
    const may = on && globalThis.Notification ? (await Notification.requestPermission()) === "granted" : false;
    memory.set("notify", may);
    return may;
  },

  /** A line came that is not in view. */
  line(line, tag, isMention, open) {
    if (alerts.sound) play();
    if (!alerts.notify || !isMention) return;
    const shown = new Notification(`${line.from} in #${tag}`, { body: line.text, tag: line._id, icon: `${document.body.dataset.base}/assets/icon.svg` });
    shown.addEventListener("click", () => {
      focus();
      open();
      shown.close();
    });
  },

  /** What is unread stands in the title. */
  title(unread, room) {
    const count = unread > 0 ? `(${unread}) ` : "";
    document.title = `${count}${room ? `#${room} · ` : ""}${document.body.dataset.title}`;
  },
};
