// What is on the screen: the list of rooms, the lines of the one that is open, and who is in it.
import { cell, element, elements, hue, pending } from "./lines.js";

const NEAR_END = 90;
const at = (id) => document.getElementById(id);

export class View {
  #scroll = at("scroll");
  #lines = at("lines");
  #drawn = [];

  constructor(me) {
    this.me = me;
    // What makes the page lower, as a keyboard on the screen does, does not hide what was in view.
    new ResizeObserver(() => this.#stuck && this.toEnd()).observe(this.#scroll);
    this.#scroll.addEventListener("scroll", () => (this.#stuck = this.isAtEnd));
  }

  #stuck = true;

  get isAtEnd() {
    return this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < NEAR_END;
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#stuck = true;
    at("down").hidden = true;
  }

  /** Shows the chat, or where one chooses a name. */
  show(part) {
    at("enter").hidden = part !== "enter";
    at("chat").hidden = part !== "chat";
    document.querySelector(".skip").hidden = part !== "chat";
  }

  link(state, text) {
    at("link").dataset.state = state;
    at("enter-state").textContent = state === "open" ? "" : text;
    if (at("link-text").textContent !== text) at("link-text").textContent = text;
  }

  /** Draws all lines of a room anew; nothing of it is read out. `keep` stays where it was on the screen. */
  draw(room, keep = false) {
    const [before, top] = [this.#scroll.scrollHeight, this.#scroll.scrollTop];
    at("log").setAttribute("aria-live", "off");
    this.#drawn = room?.lines ?? [];
    let marked = false;
    const all = this.#drawn.flatMap((line, index) => {
      const isFirstUnread = !marked && room.mark > 0 && line._id && line.ts > room.mark && line.sid !== this.me.sid;
      marked ||= isFirstUnread;
      return elements(line, this.#drawn[index - 1], this.me, isFirstUnread);
    });
    this.#lines.replaceChildren(...all);
    at("older").hidden = !room?.more;
    at("start").hidden = !room || room.more || !room.known;
    at("start").textContent = room ? `This is where #${room.tag} begins.` : "";
    if (keep) this.#scroll.scrollTop = top + this.#scroll.scrollHeight - before;
    else this.toEnd();
    setTimeout(() => at("log").setAttribute("aria-live", "polite"));
  }

  /** Adds the last line of a room that is drawn; it is read out. */
  append(room) {
    const line = room.lines.at(-1);
    const wasAtEnd = this.#stuck;
    this.#lines.append(...elements(line, room.lines.at(-2), this.me, false));
    if (wasAtEnd) this.toEnd();
    else at("down").hidden = false;
  }

  /** Draws the last line anew. */
  amend(room) {
    this.#lines.lastElementChild?.remove();
    this.append(room);
  }

  waiting(messages, room) {
    const own = messages.filter((message) => room && message.tags.includes(room.tag) && !message.text.startsWith("/"));
    at("pending").replaceChildren(...own.map(pending));
    if (own.length > 0 && this.#stuck) this.toEnd();
  }

  rooms(rooms, current) {
    const entry = (room) => {
      const open = element("button", { type: "button", class: "room", "data-room": room.tag, "aria-current": room === current ? "true" : undefined }, element("span", { class: "tagname" }, `#${room.tag}`));
      if (room.unread > 0) {
        const kind = room.mentions > 0 ? "badge to-me" : "badge";
        open.append(" ", element("span", { class: kind }, String(room.unread), element("span", { class: "unseen" }, room.mentions > 0 ? " unread, you are mentioned" : " unread")));
      }
      return element("li", {}, open, element("button", { type: "button", class: "leave", "data-leave": room.tag, "aria-label": `Leave ${room.tag}` }, "×"));
    };
    const focused = document.activeElement?.dataset?.room;
    at("room-list").replaceChildren(...rooms.map(entry));
    if (focused) at("room-list").querySelector(`[data-room="${CSS.escape(focused)}"]`)?.focus();
    const elsewhere = rooms.filter((room) => room !== current);
    const unread = elsewhere.reduce((sum, room) => sum + room.unread, 0);
    at("all-unread").hidden = unread === 0;
    at("all-unread").textContent = unread > 99 ? "99+" : String(unread);
    at("all-unread").classList.toggle("to-me", elsewhere.some((room) => room.mentions > 0));
    at("open-rooms").setAttribute("aria-label", unread > 0 ? `Rooms, ${unread} unread` : "Rooms");
    at("room-name").textContent = current ? `#${current.tag}` : "No room";
  }

  people(room) {
    const people = [...(room?.people.values() ?? [])].sort((one, other) => one.username.localeCompare(other.username));
    const entry = ({ id, username, statusmsg }) => {
      const isMe = id === this.me.sid;
      const name = element("span", { class: "who" }, username, isMe ? element("span", { class: "you" }, " (you)") : undefined);
      name.style.setProperty("--hue", hue(id));
      const about = statusmsg ? element("span", { class: "status" }, statusmsg) : undefined;
      return element("li", {}, element("button", { type: "button", class: "person", "data-name": username, title: isMe ? undefined : `Write to ${username}` }, cell(id, username), element("span", { class: "about" }, name, about)));
    };
    at("people-list").replaceChildren(...people.map(entry));
    at("people-count").textContent = people.length > 0 ? String(people.length) : "";
    at("open-people").setAttribute("aria-label", `People in this room: ${people.length}`);
  }
}
