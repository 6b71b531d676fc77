// What was written and is not yet known to be kept by the server. Sent one after the other, and again after a broken connection; the server knows each
// by its id, so that nothing comes twice.
import { secret, tab } from "./memory.js";

const AGAIN = 2000;

const REASONS = {
  notThere: "You are not in this room any more.",
  tooLong: "This message is too long.",
  noName: "Choose a name first.",
  empty: "There is nothing in this message.",
};

/** Tells "changed", and "fast" (detail: seconds to wait) when the server wants a pause. */
export class Outbox extends EventTarget {
  /** { id, text, tags, failed } in the order they were written. */
  messages = tab.get("outbox", []);
  #busy = false;

  constructor(connection) {
    super();
    this.connection = connection;
  }

  add(text, tags) {
    const message = { id: secret(), text, tags };
    this.messages.push(message);
    this.#changed();
    this.flush();
    return message;
  }

  remove(id) {
    if (!this.messages.some((message) => message.id === id)) return;
    this.messages = this.messages.filter((message) => message.id !== id);
    this.#changed();
  }

  retry(id) {
    const message = this.messages.find((message) => message.id === id);
    if (message) delete message.failed;
    this.#changed();
    this.flush();
  }

  /** Sends what waits. */
  async flush() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next; (next = this.messages.find((message) => !message.failed)); ) await this.#send(next);
    } catch {
      // The connection broke; when it is back, `flush` is called again.
    } finally {
      this.#busy = false;
    }
  }

  async #send(message) {
    const { error, wait } = await this.connection.request({ cmd: "sendMessage", id: message.id, text: message.text, tags: message.tags });
    if (error === "tooFast") {
      this.dispatchEvent(new CustomEvent("fast", { detail: wait }));
      await new Promise((done) => setTimeout(done, wait * 1000 + 20));
    } else if (error === "failed") {
      await new Promise((done) => setTimeout(done, AGAIN));
    } else if (REASONS[error] && !message.text.startsWith("/")) {
      message.failed = REASONS[error];
      this.#changed();
    } else {
      this.remove(message.id);
    }
  }

  #changed() {
    tab.set("outbox", this.messages);
    this.dispatchEvent(new Event("changed"));
  }
}
