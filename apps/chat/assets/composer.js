// The field for messages: grows with the text, sends with Enter, and completes names and commands.
import { element } from "./lines.js";

const COMMANDS = [
  ["/me ", "say what you do"],
  ["/nick ", "change your name"],
  ["/join ", "join a room"],
  ["/part", "leave this room"],
  ["/tags ", "be in these rooms only"],
  ["/thetime", "the time of the server"],
  ["/su ", "become a moderator"],
  ["/kick ", "put somebody out (moderators)"],
  ["/fchname ", "rename somebody (moderators)"],
  ["/help", "all commands"],
];
const MOST_OFFERS = 6;
const NEAR_LIMIT = 200;

/** Tells "say" (detail: the text). `names()` gives the names of who is here. */
export class Composer extends EventTarget {
  #field = document.getElementById("text");
  #list = document.getElementById("offers");
  #notice = document.getElementById("notice");
  #offers = [];
  #chosen = 0;
  #clear;
  longest = 2000;

  constructor(names) {
    super();
    this.names = names;
    const form = document.getElementById("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("input", () => this.#typed());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#field.addEventListener("blur", () => this.#offer([]));
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const option = event.target.closest("[role=option]");
      if (option) this.#take([...this.#list.children].indexOf(option));
    });
  }

  focus() {
    this.#field.focus();
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#typed();
    this.#offer([]);
  }

  name(room) {
    this.#field.placeholder = `Message #${room}`;
    document.getElementById("text-label").textContent = `Message to ${room}`;
  }

  /** Says something below the field for some seconds. */
  say(text, seconds) {
    this.#notice.textContent = text;
    clearTimeout(this.#clear);
    this.#clear = setTimeout(() => (this.#notice.textContent = ""), seconds * 1000);
  }

  #submit() {
    const text = this.#field.value.trim();
    if (!text) return;
    if ([...text].length > this.longest) {
      this.say(`A message has at most ${this.longest} characters; this one has ${[...text].length}.`, 6);
      return;
    }
    this.text = "";
    this.#notice.textContent = "";
    this.dispatchEvent(new CustomEvent("say", { detail: text }));
    this.focus();
  }

  #typed() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
    const left = this.longest - [...this.#field.value].length;
    if (left < NEAR_LIMIT) this.say(left < 0 ? `${-left} characters too many` : `${left} characters left`, 4);
    this.#complete();
  }

  #complete() {
    const before = this.#field.value.slice(0, this.#field.selectionStart);
    const command = before.match(/^\/\w*$/u);
    const name = before.match(/(?:^|\s)@([^\s@]*)$/u);
    if (command) {
      this.#offer(COMMANDS.filter(([text]) => text.startsWith(before.toLowerCase())).map(([text, about]) => ({ text, about, from: 0 })));
    } else if (name) {
      const begun = name[1].toLowerCase();
      const from = before.length - name[1].length - 1;
      this.#offer(this.names().filter((one) => one.toLowerCase().startsWith(begun)).map((one) => ({ text: `@${one} `, from })));
    } else {
      this.#offer([]);
    }
  }

  #offer(offers) {
    this.#offers = offers.slice(0, MOST_OFFERS);
    this.#chosen = 0;
    this.#list.hidden = this.#offers.length === 0;
    this.#list.replaceChildren(
      ...this.#offers.map(({ text, about }, index) => element("li", { role: "option", id: `offer-${index}` }, element("b", {}, text.trim()), about ? ` ${about}` : "")),
    );
    this.#mark();
  }

  #mark() {
    [...this.#list.children].forEach((option, index) => option.setAttribute("aria-selected", String(index === this.#chosen)));
    if (this.#list.hidden) this.#field.removeAttribute("aria-activedescendant");
    else this.#field.setAttribute("aria-activedescendant", `offer-${this.#chosen}`);
  }

  #take(index) {
    const { text, from } = this.#offers[index];
    const rest = this.#field.value.slice(this.#field.selectionStart);
    this.#field.value = this.#field.value.slice(0, from) + text + rest;
    this.#field.setSelectionRange(from + text.length, from + text.length);
    this.#offer([]);
  }

  #key(event) {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!this.#list.hidden && step) {
      this.#chosen = (this.#chosen + step + this.#offers.length) % this.#offers.length;
      this.#mark();
    } else if (!this.#list.hidden && (event.key === "Tab" || event.key === "Enter") && !event.shiftKey && !this.#isWhole()) {
      this.#take(this.#chosen);
    } else if (!this.#list.hidden && event.key === "Escape") {
      this.#offer([]);
    } else if (event.key === "Enter" && !event.shiftKey) {
      this.#submit();
    } else {
      return;
    }
    event.preventDefault();
  }

  // Whether what is chosen was typed already, so that Enter sends it.
  #isWhole() {
    const { text, from } = this.#offers[this.#chosen];
    return this.#field.value.slice(from, this.#field.selectionStart) === text.trim();
  }
}
