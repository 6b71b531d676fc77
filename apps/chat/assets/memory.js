// What this browser remembers: who one is, where one was, and what was read. Storage may be forbidden; then it holds for this page only.
const held = new Map();

function read(storage, name) {
  try {
    return storage().getItem(name);
  } catch {
    return held.get(name) ?? null;
  }
}

function write(storage, name, text) {
  held.set(name, text);
  try {
    storage().setItem(name, text);
  } catch {
    // It is held above.
  }
}

const place = `skep-chat:${document.body.dataset.base}:`;

class Memory {
  constructor(storage) {
    this.storage = storage;
  }

  /** What is kept under a name, or `otherwise`. */
  get(name, otherwise) {
    try {
      return JSON.parse(read(this.storage, place + name)) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  set(name, value) {
    write(this.storage, place + name, JSON.stringify(value));
  }
}

/** For all pages of this browser, for good. */
export const memory = new Memory(() => localStorage);
/** For this tab, until it is closed. */
export const tab = new Memory(() => sessionStorage);

/** Random letters and digits that nobody guesses. */
export function secret() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The key by which the server knows this browser again. */
export function key() {
  const known = memory.get("key");
  if (known) return known;
  memory.set("key", secret());
  return memory.get("key");
}
