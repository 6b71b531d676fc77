// The push as its users have it: messages on every open page at once, and nothing lost or doubled while the server is reloaded.
import { accessible, equal, fits, says } from "./suite.mjs";

export const SEND_TOKEN = "for-tests-0123456789";
const RELOADS = 4;
/** How far publishing may be ahead of the page. */
const AHEAD = 250;
const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", poll: "polling" };

async function send(page, message) {
  const headers = { authorization: `Bearer ${SEND_TOKEN}` };
  const reply = await page.request.post("/push/send", { headers, data: message });
  equal(reply.status(), 200, `the answer to ${JSON.stringify(message)}`);
  return reply.json();
}

async function enter(page, user, query = "") {
  await page.goto("/push/");
  await page.fill("#name", user);
  await page.click("text=Open my messages");
  await says(page, "h1", new RegExp(`^${user}`));
  if (query) await page.goto(`/push/${query}`);
  await page.locator(".link[data-state=open]").waitFor();
}

/** Listens in the page with the client itself, and keeps what comes. */
function listen(page, user, way) {
  return page.evaluate(
    async ([user, way]) => {
      const { connect } = await import("/push/skep.js");
      globalThis.seen = [];
      globalThis.gaps = 0;
      globalThis.opened = 0;
      const live = connect("/push/live", { transports: [way], state: (state) => (globalThis.opened += state === "open") });
      const ready = new Promise((ready) => {
        live.on(`push:${user}`, ({ data }) => data.kind === "message" && globalThis.seen.push(data.title), { ready, gap: () => (globalThis.gaps += 1) });
      });
      await ready;
    },
    [user, way],
  );
}

export async function push(suite, server) {
  await suite.check("push: over HTTPS the browser speaks WebSocket on a stream of HTTP/2", { ignoreHTTPSErrors: true, baseURL: server.secure, expected: [/a request elsewhere/] }, async (page) => {
    await enter(page, "hedda");
    const seen = async () => {
      const asked = (await server.requests()).filter(({ uri, protocol }) => uri.startsWith("/push/live") && protocol === "HTTP/2.0");
      return asked.map(({ status }) => status);
    };
    const { pages } = await send(page, { user: "hedda", title: "On a stream", text: "Of many.", icon: "bell" });
    equal(pages, 1, "the open pages");
    await says(page, ".message h2", /^On a stream$/);
    await page.waitForFunction(() => performance.getEntriesByType("resource").every(({ nextHopProtocol }) => nextHopProtocol === "h2"));
    equal((await seen()).join(" "), "200", "the requests for WebSocket over HTTP/2");
  });
  await suite.check("push: who is away gets it later, who is there at once, on every page", {}, async (page) => {
    await send(page, { user: "ann", title: "While you were away", text: "It waited.", icon: "gift" });
    await enter(page, "ann");
    await says(page, ".message h2", /^While you were away$/);
    const other = await page.context().newPage();
    await other.goto("/push/");
    await other.locator(".link[data-state=open]").waitFor();
    const { pages } = await send(page, { user: "ann", title: "<b>Now</b>", text: "5 < 6", icon: "bell", link: "/push/#there" });
    equal(pages, 2, "the open pages");
    for (const one of [page, other]) {
      await says(one, ".message h2", /^<b>Now<\/b>$/);
      equal(await one.title(), "(2) Messages for ann", "the title");
      equal(await one.getAttribute(".count", "aria-label"), "2 unread", "the count");
      await says(one, "[data-said]", /^<b>Now<\/b>\. 5 < 6$/);
    }
    equal(await page.getAttribute(".message a", "href"), "/push/#there", "the link");
    await page.click("text=Mark all as read");
    await other.waitForFunction(() => document.querySelector(".count").hidden);
    await other.reload();
    await says(other, ".message h2", /^<b>Now<\/b>$/);
    await other.waitForFunction(() => document.querySelectorAll(".message").length === 2 && !document.querySelector("[data-unread]"));
  });
  await suite.check("push: a page sends, by the keyboard", {}, async (page) => {
    await enter(page, "bea");
    await page.focus("#title");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("From bea, to bea");
    await page.keyboard.press("Enter");
    await says(page, "[data-sent]", /^On 1 open page, [\d,]+ ms\.$/);
    await says(page, ".message h2", /^From bea, to bea$/);
    await page.click("text=Sound");
    equal(await page.getAttribute("[data-sound]", "aria-pressed"), "true", "the sound");
  });
  await suite.check("push: nobody reads another's", { expected: [/status of 40[13]/] }, async (page) => {
    await enter(page, "cem");
    const statuses = await page.evaluate(async () => {
      const ask = async (path, options) => (await fetch(path, options)).status;
      const json = { method: "POST", headers: { "content-type": "application/json" } };
      return [
        await ask("/push/live?poll=1&topics=push%3Aann"),
        await ask("/push/session", { ...json, body: JSON.stringify({ token: "eyJ1c2VyIjoiYW5uIiwidW50aWwiOjk5OTk5OTk5OTl9.00" }) }),
        await ask("/push/token", { ...json, body: JSON.stringify({ user: "ann" }) }),
      ];
    });
    equal(statuses.join(" "), "403 403 401", "what is answered");
  });
  for (const [way, name] of Object.entries(TRANSPORTS)) {
    // A connection that the server ends is no error of the page.
    const expected = [/ERR_INCOMPLETE_CHUNKED_ENCODING|WebSocket connection to|ERR_CONNECTION|Failed to load/];
    await suite.check(`push: reloads under publishing, by ${name}`, { expected }, async (page) => {
      const user = `user-${way}`;
      await enter(page, user, `?by=${way}`);
      await says(page, "[data-link-text]", new RegExp(`^Live by ${name}$`));
      await listen(page, user, way);
      const sent = [];
      let over = false;
      const publishing = (async () => {
        while (!over) {
          // A page that follows: who publishes faster than a page can read fills its queue, and is told of it as it should be.
          if (sent.length % AHEAD === 0) await page.waitForFunction((least) => globalThis.seen.length >= least || globalThis.gaps > 0, sent.length - AHEAD);
          const title = `number ${sent.length}`;
          await send(page, { user, title });
          sent.push(title);
        }
      })();
      try {
        for (let round = 0; round < RELOADS; round += 1) {
          const before = await page.evaluate(() => [globalThis.opened, globalThis.seen.length]);
          await server.reload();
          // A poll that is cut short is no connection that breaks.
          if (way === "poll") before[0] = -1;
          await page.waitForFunction(([opened, seen]) => globalThis.opened > opened && globalThis.seen.length > seen, before);
        }
      } finally {
        over = true;
        await publishing;
      }
      await page.waitForFunction((count) => globalThis.seen.length >= count || globalThis.gaps > 0, sent.length);
      const [seen, gaps] = await page.evaluate(() => [globalThis.seen, globalThis.gaps]);
      equal(gaps, 0, "the gaps");
      equal(seen.join("\n"), sent.join("\n"), "what the page has seen");
    });
  }
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries({ narrow: { width: 360, height: 740 }, wide: { width: 1440, height: 900 } })) {
      await suite.check(`push: accessible, ${colorScheme}, ${size}`, { colorScheme, viewport }, async (page) => {
        await page.goto("/push/");
        await fits(page);
        await accessible(page);
        await enter(page, `ida-${colorScheme}-${size}`);
        for (const icon of ["mail", "heart", "alert"]) {
          await send(page, { user: `ida-${colorScheme}-${size}`, title: `A message with ${icon}`, text: "and a word".repeat(20), icon, link: "/push/" });
        }
        await says(page, ".count", /^3$/);
        await fits(page);
        await accessible(page);
        if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/push-${colorScheme}-${size}.png`, fullPage: true });
      });
    }
  }
}
