// The connection to the server: made again when it breaks, and asked now and then whether it still lives.
const FIRST_DELAY = 150;
const LONGEST_DELAY = 10_000;
const ALIVE_EVERY = 20_000;
const ANSWER_LIMIT = 10_000;

/** Tells "open", "packet" (detail: the packet), "closed" (detail: milliseconds until it is tried again). */
export class Connection extends EventTarget {
  #socket;
  #waiting = new Map();
  #tries = 0;
  #number = 0;
  #retry;
  #alive;

  constructor(address) {
    super();
    this.address = address;
    addEventListener("online", () => this.#now());
    document.addEventListener("visibilitychange", () => document.hidden || this.#now());
    addEventListener("pagehide", () => this.#socket?.close());
    addEventListener("pageshow", (event) => event.persisted && this.#now());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#retry);
    const socket = (this.#socket = new WebSocket(this.address));
    // One that is neither made nor refused is given up.
    const limit = setTimeout(() => this.#ended(socket), ANSWER_LIMIT);
    socket.addEventListener("open", () => {
      clearTimeout(limit);
      if (socket !== this.#socket) return;
      this.#alive = setInterval(() => this.request({ cmd: "keepalive" }).catch(() => this.#ended(socket)), ALIVE_EVERY);
      this.dispatchEvent(new Event("open"));
    });
    socket.addEventListener("message", (event) => socket === this.#socket && this.#receive(event.data));
    socket.addEventListener("close", () => {
      clearTimeout(limit);
      this.#ended(socket);
    });
  }

  /** All is well: the next broken connection is tried again at once. */
  settled() {
    this.#tries = 0;
  }

  /** Sends a packet and gives its answer; rejects when the connection breaks before. */
  request(packet) {
    if (!this.isOpen) return Promise.reject(new Error("not connected"));
    this.#number += 1;
    const id = packet.id ?? `n${this.#number}`;
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => this.#ended(socket), ANSWER_LIMIT);
      const done = (settle) => (value) => {
        clearTimeout(limit);
        this.#waiting.delete(id);
        settle(value);
      };
      this.#waiting.set(id, { resolve: done(resolve), reject: done(reject) });
      socket.send(JSON.stringify({ ...packet, id }));
    });
  }

  #receive(text) {
    const packet = JSON.parse(text);
    if (packet.type === "cmdReply") this.#waiting.get(packet.id)?.resolve(packet);
    else this.dispatchEvent(new CustomEvent("packet", { detail: packet }));
  }

  #ended(socket) {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    clearInterval(this.#alive);
    socket.close();
    for (const one of [...this.#waiting.values()]) one.reject(new Error("the connection broke"));
    // Not everybody comes back in the same moment.
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#tries) * (0.5 + Math.random());
    this.#tries += 1;
    this.#retry = setTimeout(() => this.connect(), delay);
    this.dispatchEvent(new CustomEvent("closed", { detail: delay }));
  }

  #now() {
    if (!this.#socket && this.#tries > 0) this.connect();
  }
}
