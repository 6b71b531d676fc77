// @ts-check
/**
 * Events of a skep application, for pages: by WebSocket, Server-Sent Events or long polling, whichever works.
 *
 * A connection that breaks is made again, and what was missed meanwhile comes then, in order and once. When something is missing for good,
 * that is told by a "gap". An ES module without dependencies.
 *
 *     import { connect } from "./skep.js";
 *     const live = connect("/live");
 *     live.on("news", (event) => show(event.data), { gap: () => location.reload() });
 *
 * @module
 */

/**
 * @typedef {{epoch: string, offset: number}} Position A place in a topic.
 * @typedef {{type: "event", topic: string, epoch: string, offset: number, at: number, data: any}} LiveEvent Something that was published.
 * @typedef {{id: string, info?: any}} Member Somebody who is present.
 * @typedef {"websocket" | "sse" | "poll"} Transport A way to the server.
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State Where a connection stands; "waiting": for the next try.
 */

/**
 * What is told of a topic besides its events.
 * @typedef {object} TopicHandlers
 * @property {(notice: {topic: string, recovered?: boolean}) => void} [ready] It is listened to from now on. `recovered`: after an interruption, whether all of what was missed comes now.
 * @property {(notice: {topic: string, count?: number}) => void} [gap] Events are missing for good; how many, where that is known. Read again what matters.
 * @property {(notice: {topic: string, member: Member}) => void} [joined] Somebody came.
 * @property {(notice: {topic: string, member: Member}) => void} [left] Somebody left.
 * @property {(notice: {topic: string, reason: string}) => void} [refused] It may not be listened to, or not any more.
 * @property {Position} [since] Begin after this place, which the page remembers from before.
 */

/**
 * @typedef {object} Options
 * @property {Transport[]} [transports] The ways to try, best first.
 * @property {number} [longest] The longest wait between two tries, milliseconds: 30,000.
 * @property {number} [timeout] How long making a connection and an answer may take, milliseconds: 10,000.
 * @property {(state: State, transport: Transport) => void} [state] Told when the connection's state changes.
 * @property {(notice: any) => void} [notice] Gets every other message of the server.
 * @property {typeof globalThis} [world] Where WebSocket, EventSource, fetch and the rest are found; for tests.
 */

/** Why an answer did not come. */
export class LiveError extends Error {
  name = "LiveError";
}

/** Waits grow from here, milliseconds. */
const SHORTEST = 500;
/** How long after a restart of the server pages come back, at most: not all at once. */
const SPREAD = 1500;
/** Silence after which a WebSocket is asked whether it lives, and how long it may take to say so. */
const SILENCE = 25_000;
/** A WebSocket that fails so often before it ever worked gives way to the next transport. */
const PATIENCE = 2;
/** Close codes by which a server that goes says: come back. */
const RESTARTS = [1001, 1012, 1013];

/** @param {string} text */
const escapeName = (text) => encodeURIComponent(text).replace(/[!'()]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

/** @param {string} topic @param {Position} position */
const placeText = (topic, position) => `${escapeName(topic)}@${position.epoch}:${position.offset}`;

class Topic {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.pattern = name.endsWith("*");
    /** @type {Set<{event: (event: LiveEvent) => void, handlers: TopicHandlers}>} */
    this.listeners = new Set();
    /** @type {Position | undefined} What was seen. */
    this.seen = undefined;
    /** Whether it was ever listened to. */
    this.known = false;
  }

  /** @param {string} name */
  matches(name) {
    return this.pattern ? name.startsWith(this.name.slice(0, -1)) : name === this.name;
  }

  /** @returns {Position | undefined} */
  since() {
    return this.pattern ? (this.known ? { epoch: "0", offset: 0 } : undefined) : this.seen;
  }
}

/** One connection to a server, with as many topics as are listened to. */
export class Live {
  /** @type {Map<string, Topic>} */ #topics = new Map();
  /** @type {Map<number, {done: (message: any) => void, fail: (error: Error) => void, timer: any}>} */ #asked = new Map();
  /** @type {URL} */ #url;
  /** @type {Transport[]} */ #transports;
  /** @type {typeof globalThis} */ #world;
  /** @type {Options} */ #options;
  /** @type {{close: () => void, send?: (message: object) => void, change: () => void} | undefined} */ #link;
  /** @type {State} */ #state = "closed";
  #way = 0;
  #failures = 0;
  #tries = 0;
  #lastId = 0;
  /** @type {any} */ #timer = undefined;
  #over = false;
  /** @type {(() => void)[]} */ #unhook = [];

  /**
   * @param {string | URL} address
   * @param {Options} [options]
   */
  constructor(address, options = {}) {
    this.#options = options;
    this.#world = options.world ?? globalThis;
    this.#url = new URL(address, this.#world.location?.href);
    this.#transports = options.transports ?? ["websocket", "sse", "poll"];
    const online = () => this.#hurry();
    const offline = () => this.#drop();
    const shown = () => this.#world.document?.visibilityState === "visible" && this.#hurry();
    const target = /** @type {any} */ (this.#world);
    for (const [on, name, what] of [[target, "online", online], [target, "offline", offline], [target.document, "visibilitychange", shown]]) {
      on?.addEventListener?.(name, what);
      this.#unhook.push(() => on?.removeEventListener?.(name, what));
    }
    // Topics that are named right behind this line go with the first connection.
    this.#timer = this.#world.setTimeout(() => this.#open(), 0);
    this.#set("connecting");
  }

  /** Where the connection stands. @returns {State} */
  get state() {
    return this.#state;
  }

  /** The way in use. @returns {Transport} */
  get transport() {
    return this.#transports[this.#way];
  }

  /**
   * Listens to a topic, or with `name*` to all that begin so.
   * @param {string} topic
   * @param {(event: LiveEvent) => void} event Called with each event, in order and once.
   * @param {TopicHandlers} [handlers]
   * @returns {() => void} Ends it.
   */
  on(topic, event, handlers = {}) {
    let entry = this.#topics.get(topic);
    const isNew = !entry;
    if (!entry) {
      entry = new Topic(topic);
      entry.seen = handlers.since;
      this.#topics.set(topic, entry);
    }
    const listener = { event, handlers };
    entry.listeners.add(listener);
    if (isNew) this.#subscribe(entry);
    const there = entry;
    return () => {
      if (there.listeners.delete(listener) && there.listeners.size === 0 && this.#topics.get(topic) === there) {
        this.#topics.delete(topic);
        if (this.#link?.send) this.#link.send({ type: "unsubscribe", topic });
        else this.#link?.change();
      }
    };
  }

  /**
   * Publishes; settles when the server has it, or says why not. After a time-out it may have been published all the same.
   * @param {string} topic
   * @param {any} data
   * @returns {Promise<Position>}
   */
  async publish(topic, data) {
    const { epoch, offset } = await this.#ask({ type: "publish", topic, data });
    return { epoch, offset };
  }

  /**
   * Who is present at a topic.
   * @param {string} topic
   * @returns {Promise<Member[]>}
   */
  async presence(topic) {
    return (await this.#ask({ type: "presence", topic })).members;
  }

  /** What was seen of a topic, to begin there another time. @param {string} topic @returns {Position | undefined} */
  position(topic) {
    return this.#topics.get(topic)?.seen;
  }

  /** Ends the connection for good. */
  close() {
    this.#over = true;
    this.#world.clearTimeout(this.#timer);
    this.#unhook.forEach((undo) => undo());
    this.#end();
    this.#set("closed");
    this.#failAll("the connection was closed");
  }

  /** @param {State} state */
  #set(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.state?.(state, this.transport);
  }

  #end() {
    const link = this.#link;
    this.#link = undefined;
    link?.close();
  }

  /** @param {string} why */
  #failAll(why) {
    for (const [id, { fail, timer }] of this.#asked) {
      this.#world.clearTimeout(timer);
      this.#asked.delete(id);
      fail(new LiveError(why));
    }
  }

  /** @param {Topic} topic */
  #subscribe(topic) {
    if (!this.#link) return;
    const since = topic.since();
    if (this.#link.send) this.#link.send({ type: "subscribe", topic: topic.name, ...(since && { since: placeText(topic.name, since) }) });
    else this.#link.change();
  }

  /** The network is back, or the page is looked at again: no more waiting. */
  #hurry() {
    if (this.#over || this.#state !== "waiting") return;
    this.#world.clearTimeout(this.#timer);
    this.#tries = 0;
    this.#open();
  }

  /** The network is gone: nothing will tell the connection. */
  #drop() {
    if (this.#over || this.#state === "waiting") return;
    this.#end();
    this.#again(false);
  }

  /** The address with what is wanted. @param {string} [kind] */
  #address(kind) {
    const url = new URL(this.#url);
    const names = [...this.#topics.keys()];
    if (names.length > 0) url.searchParams.set("topics", names.map(escapeName).join(","));
    const places = [...this.#topics.values()].flatMap((topic) => {
      const since = topic.since();
      return since ? [placeText(topic.name, since)] : [];
    });
    if (places.length > 0) url.searchParams.set("since", places.join(","));
    if (kind === "poll") url.searchParams.set("poll", "1");
    if (kind === "websocket") url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  }

  #open() {
    if (this.#over) return;
    this.#end();
    const way = this.transport;
    const there = { websocket: "WebSocket", sse: "EventSource", poll: "fetch" }[way];
    if (!(there in this.#world) && this.#way + 1 < this.#transports.length) {
      this.#way += 1;
      this.#open();
      return;
    }
    this.#set("connecting");
    try {
      if (way === "websocket") this.#link = this.#websocket();
      else if (way === "sse") this.#link = this.#sse();
      else this.#link = this.#poll();
    } catch {
      this.#failed();
    }
  }

  /** The connection works: the server has said something. */
  #works() {
    this.#tries = 0;
    this.#failures = 0;
  }

  /** The connection was not made. After a few times the next way is tried, and after the last one the first again. */
  #failed() {
    this.#end();
    this.#failures += 1;
    if (this.#failures >= PATIENCE && this.#transports.length > 1) {
      this.#failures = 0;
      this.#way = (this.#way + 1) % this.#transports.length;
    }
    this.#again(false);
  }

  /** @param {boolean} soon The server said that it is back at once. */
  #again(soon) {
    if (this.#over) return;
    this.#failAll("the connection broke: whether it took effect is unknown");
    this.#set("waiting");
    const most = soon ? SPREAD : Math.min(this.#options.longest ?? 30_000, SHORTEST * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 20);
    // Anywhere in the upper part, so that pages that were cut off together do not come back together.
    const wait = soon ? Math.random() * most : most * (0.5 + Math.random() / 2);
    this.#world.clearTimeout(this.#timer);
    this.#timer = this.#world.setTimeout(() => this.#open(), wait);
  }

  #websocket() {
    const socket = new this.#world.WebSocket(this.#address("websocket"));
    let mine = true;
    let opened = false;
    let works = false;
    /** @type {any} */
    let timer;
    const asked = new Set(this.#topics.keys());
    const done = (/** @type {boolean} */ soon) => {
      if (!mine) return;
      mine = false;
      this.#world.clearTimeout(timer);
      this.#link = undefined;
      socket.close();
      if (works) this.#again(soon);
      else this.#failed();
    };
    const heard = () => {
      this.#world.clearTimeout(timer);
      timer = this.#world.setTimeout(() => {
        socket.send('{"type":"ping"}');
        timer = this.#world.setTimeout(() => done(false), this.#options.timeout ?? 10_000);
      }, SILENCE);
    };
    timer = this.#world.setTimeout(() => done(false), this.#options.timeout ?? 10_000);
    socket.onopen = () => {
      if (!mine) return;
      opened = true;
      heard();
      // Topics that came or went while the connection was made.
      for (const topic of this.#topics.values()) if (!asked.delete(topic.name)) this.#subscribe(topic);
      for (const topic of asked) socket.send(JSON.stringify({ type: "unsubscribe", topic }));
      this.#set("open");
    };
    socket.onmessage = (/** @type {{data: any}} */ message) => {
      if (!mine) return;
      heard();
      works = true;
      this.#works();
      this.#take(message.data);
    };
    socket.onclose = (/** @type {{code: number}} */ event) => done(RESTARTS.includes(event.code));
    return {
      close: () => {
        mine = false;
        this.#world.clearTimeout(timer);
        socket.close();
      },
      send: (/** @type {object} */ message) => {
        if (opened) socket.send(JSON.stringify(message));
      },
      change: () => {},
    };
  }

  #sse() {
    const source = new this.#world.EventSource(this.#address(), { withCredentials: true });
    let mine = true;
    let works = false;
    /** @type {any} */
    const timer = this.#world.setTimeout(() => done(false), this.#options.timeout ?? 10_000);
    const done = (/** @type {boolean} */ soon) => {
      if (!mine) return;
      mine = false;
      this.#world.clearTimeout(timer);
      this.#link = undefined;
      source.close();
      if (works) this.#again(soon);
      else this.#failed();
    };
    source.onopen = () => {
      if (!mine) return;
      this.#world.clearTimeout(timer);
      this.#set("open");
    };
    source.onmessage = (/** @type {{data: string}} */ message) => {
      if (!mine) return;
      works = true;
      this.#works();
      if (this.#take(message.data) === "goodbye") done(true);
    };
    // The browser would come back by itself, but with the topics and places of the beginning.
    source.onerror = () => done(false);
    return {
      close: () => {
        mine = false;
        this.#world.clearTimeout(timer);
        source.close();
      },
      change: () => this.#reopen(),
    };
  }

  /** Topics have changed, and this way only learns of it anew. */
  #reopen() {
    this.#world.clearTimeout(this.#timer);
    this.#timer = this.#world.setTimeout(() => this.#open(), 0);
  }

  #poll() {
    let mine = true;
    const abort = new this.#world.AbortController();
    const run = async () => {
      let opened = false;
      while (mine) {
        // Longer than the server may wait.
        const timer = this.#world.setTimeout(() => abort.abort(), 70_000);
        try {
          const reply = await this.#world.fetch(this.#address("poll"), { signal: abort.signal, credentials: "same-origin", cache: "no-store" });
          if (reply.status === 403) this.#refusedAll((await reply.json()).reason);
          if (!reply.ok) throw new LiveError(`status ${reply.status}`);
          const { messages } = await reply.json();
          if (!mine) return;
          opened = true;
          this.#works();
          this.#set("open");
          for (const message of messages) this.#handle(message);
        } catch {
          if (!mine) return;
          mine = false;
          this.#link = undefined;
          return opened ? this.#again(false) : this.#failed();
        } finally {
          this.#world.clearTimeout(timer);
        }
      }
    };
    run();
    return {
      close: () => {
        mine = false;
        abort.abort();
      },
      change: () => this.#reopen(),
    };
  }

  /** @param {string} reason */
  #refusedAll(reason) {
    for (const topic of [...this.#topics.values()]) this.#handle({ type: "refused", topic: topic.name, reason });
  }

  /** @param {any} text */
  #take(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return "";
    }
    this.#handle(message);
    return message.type;
  }

  /** The listeners of what a message is about. @param {string | undefined} name @param {(handlers: TopicHandlers, event: (event: LiveEvent) => void) => void} visit */
  #each(name, visit) {
    for (const topic of [...this.#topics.values()]) {
      if (name !== undefined && topic.name !== name && !topic.matches(name)) continue;
      for (const { handlers, event } of [...topic.listeners]) visit(handlers, event);
    }
  }

  /** @param {any} message */
  #handle(message) {
    switch (message.type) {
      case "event":
        return this.#event(message);
      case "ready":
        return this.#ready(message);
      case "gap":
      case "missed": {
        const topic = this.#topics.get(message.topic);
        if (topic && message.epoch !== undefined) topic.seen = { epoch: message.epoch, offset: message.offset };
        return this.#each(message.topic, (handlers) => handlers.gap?.(message));
      }
      case "joined":
      case "left":
        return this.#each(message.topic, (handlers) => handlers[/** @type {"joined" | "left"} */ (message.type)]?.(message));
      case "refused":
      case "closed":
        this.#each(message.topic, (handlers) => handlers.refused?.(message));
        // It is asked for again with the next connection if the subscription has ended by itself, and forgotten when it was refused.
        if (message.type === "refused") this.#topics.delete(message.topic);
        else if (this.#topics.has(message.topic)) this.#subscribe(/** @type {Topic} */ (this.#topics.get(message.topic)));
        return;
      case "published":
      case "presence":
      case "error": {
        const asked = this.#asked.get(message.id);
        if (!asked) break;
        this.#asked.delete(message.id);
        this.#world.clearTimeout(asked.timer);
        return message.type === "error" ? asked.fail(new LiveError(message.reason)) : asked.done(message);
      }
      case "pong":
      case "goodbye":
        return;
    }
    this.#options.notice?.(message);
  }

  /** @param {any} message */
  #ready(message) {
    const topic = this.#topics.get(message.topic);
    if (!topic) return;
    const before = topic.seen;
    const { epoch, offset } = message;
    topic.known = true;
    if (!topic.pattern && epoch !== undefined && message.recovered !== true) topic.seen = { epoch, offset };
    for (const { handlers } of [...topic.listeners]) {
      handlers.ready?.(message);
      if (message.recovered !== false) continue;
      const count = before && before.epoch === epoch && offset >= before.offset ? offset - before.offset : undefined;
      // Nothing was published meanwhile: nothing is missing.
      if (count !== 0) handlers.gap?.({ topic: topic.name, ...(count !== undefined && { count }) });
    }
  }

  /** @param {LiveEvent} event */
  #event(event) {
    const topic = this.#topics.get(event.topic);
    const { epoch, offset } = event;
    const isDouble = topic?.seen && topic.seen.epoch === epoch && offset <= topic.seen.offset;
    if (topic && !isDouble) {
      topic.seen = { epoch, offset };
      for (const listener of [...topic.listeners]) listener.event(event);
    }
    for (const pattern of [...this.#topics.values()]) {
      if (!pattern.pattern || !pattern.matches(event.topic)) continue;
      for (const listener of [...pattern.listeners]) listener.event(event);
    }
  }

  /** @param {any} message @returns {Promise<any>} */
  #ask(message) {
    const id = ++this.#lastId;
    const asked = { ...message, id };
    if (this.#over) return Promise.reject(new LiveError("the connection was closed"));
    const limit = this.#options.timeout ?? 10_000;
    if (!this.#link?.send || this.#state !== "open") return this.#post(asked, limit);
    return new Promise((done, fail) => {
      const timer = this.#world.setTimeout(() => {
        this.#asked.delete(id);
        fail(new LiveError("no answer in time: whether it took effect is unknown"));
      }, limit);
      this.#asked.set(id, { done, fail, timer });
      this.#link?.send?.(asked);
    });
  }

  /** @param {object} message @param {number} limit */
  async #post(message, limit) {
    const abort = new this.#world.AbortController();
    const timer = this.#world.setTimeout(() => abort.abort(), limit);
    try {
      const reply = await this.#world.fetch(this.#url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(message),
        credentials: "same-origin",
        signal: abort.signal,
      });
      const answer = await reply.json();
      if (!reply.ok) throw new LiveError(answer.reason ?? `status ${reply.status}`);
      return answer;
    } catch (error) {
      if (error instanceof LiveError) throw error;
      throw new LiveError("no answer: whether it took effect is unknown");
    } finally {
      this.#world.clearTimeout(timer);
    }
  }
}

/**
 * Connects to an address that answers with `live.serve` and `live.websocket`.
 * @param {string | URL} address
 * @param {Options} [options]
 */
export function connect(address, options) {
  return new Live(address, options);
}
