// A room as this page knows it: its lines in the order of the server's time, who is in it, and what was read.
import { memory } from "./memory.js";

const MOST_LINES = 500;

export class Room {
  /** Lines: packets of type "msg", or { notice: "joins" | "parts", … } which only this page has. */
  lines = [];
  people = new Map();
  /** Whether there is more before the first line. */
  more = false;
  /** Whether its history was read at all. */
  known = false;
  unread = 0;
  mentions = 0;
  #ids = new Set();

  constructor(tag) {
    this.tag = tag;
    this.read = memory.get("read", {})[tag] ?? 0;
  }

  /** The time of the last line that the server keeps, or 0. */
  get last() {
    return this.lines.findLast((line) => line._id)?.ts ?? 0;
  }

  get first() {
    return this.lines.find((line) => line._id)?.ts ?? 0;
  }

  has(id) {
    return this.#ids.has(id);
  }

  /** Takes a line in: "new" at the end, "between" others, or "known". */
  add(line) {
    if (line._id && this.#ids.has(line._id)) return "known";
    if (line._id) this.#ids.add(line._id);
    let at = this.lines.length;
    while (at > 0 && this.lines[at - 1].ts > line.ts) at -= 1;
    this.lines.splice(at, 0, line);
    if (at < this.lines.length - 1) return "between";
    return "new";
  }

  /** Forgets the oldest lines when they are too many; whether it did. */
  trim() {
    if (this.lines.length <= MOST_LINES) return false;
    for (const line of this.lines.splice(0, this.lines.length - MOST_LINES)) this.#ids.delete(line._id);
    this.more = true;
    return true;
  }

  /** Counts what was not read. */
  count(isMine, mentionsMe) {
    const unread = this.lines.filter((line) => line._id && line.ts > this.read && (line.mtype === "pub" || line.mtype === "status") && !isMine(line));
    this.unread = unread.length;
    this.mentions = unread.filter(mentionsMe).length;
  }

  /** Who is here for the first time has missed nothing. */
  begin() {
    if (this.read === 0) this.#readTo(this.last || 1);
  }

  /** Everything in it was seen. */
  markRead() {
    this.unread = 0;
    this.mentions = 0;
    if (this.last > this.read) this.#readTo(this.last);
  }

  #readTo(ts) {
    this.read = ts;
    memory.set("read", { ...memory.get("read", {}), [this.tag]: this.read });
  }
}
