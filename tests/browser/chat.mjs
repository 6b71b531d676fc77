// The chat, by two people in two browsers.
import { accessible, equal, fits, says } from "./suite.mjs";

const SIZES = { narrow: { width: 390, height: 844 }, wide: { width: 1280, height: 800 } };

// What a browser says of a connection that a worker ends, or that is tried while one begins.
const BROKEN = [/WebSocket connection/];

let number = 0;

/** A room that no other check uses. */
function fresh(name) {
  number += 1;
  return `${name}${number}`;
}

function called(name, room) {
  return name + room.match(/\d+$/u);
}

/** Comes to a room under a name with the number of the room, because a name stays somebody's for a minute after. */
async function enter(page, name, room) {
  await page.goto(`/chat/#${room}`);
  await page.fill("#name", called(name, room));
  await page.click("text=Join the chat");
  await settled(page, room);
}

async function settled(page, room) {
  await says(page, "#room-name", new RegExp(`^#${room}$`));
  await says(page, "#link-text", /^Connected$/);
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Waits until a line says this. */
async function sees(page, text) {
  await page.locator("#lines .line", { hasText: text }).first().waitFor();
}

/** The texts of all messages, in their order. */
function words(page) {
  return page.locator("#lines .pub .words").allTextContents();
}

/** Waits until nothing of this page waits to be sent. */
async function sent(page) {
  await page.waitForFunction(() => document.querySelectorAll("#pending > li").length === 0 && !sessionStorage.getItem(`skep-chat:${document.body.dataset.base}:outbox`)?.includes("text"));
}

async function talk(suite) {
  await suite.check("chat: two people talk", {}, async (page, open) => {
    const other = await open();
    const room = fresh("talk");
    await enter(page, "Ann", room);
    await enter(other, "Bob", room);
    const [ann, bob, robert] = ["Ann", "Bob", "Robert"].map((name) => called(name, room));
    await sees(page, `${bob} joined`);
    await says(page, "#people-count", /^2$/);
    await say(page, `hello @${bob}, see https://example.org/x?a=1, <b>please</b>`);
    await sees(other, "hello @Bob");
    equal(await other.getAttribute("#lines a", "href"), "https://example.org/x?a=1", "the link");
    equal(await other.locator("#lines .to-me").count(), 1, "lines that address Bob");
    equal(await page.locator("#lines .to-me").count(), 0, "lines that address Ann");
    equal((await words(other)).at(-1), `hello @${bob}, see https://example.org/x?a=1, <b>please</b>`, "the text");
    await say(other, "/me waves");
    await sees(page, `${bob} waves`);
    await says(page, "#people-list", new RegExp(`${ann}.*${bob}.*waves`));
    await sent(other);
    await page.waitForTimeout(1000);
    await say(other, `/nick ${robert}`);
    await sees(page, `${bob} is now known as ${robert}`);
    await says(page, "#people-list", new RegExp(robert));
    await say(other, "/thetime");
    await sees(other, "Current time: ");
    await say(other, "/part");
    await sees(page, `${robert} left`);
    await says(page, "#people-count", /^1$/);
    await other.click('[data-leave="hall"]');
    await says(other, "#room-name", /^No room$/);
    await other.reload();
    await says(other, "#room-name", /^No room$/);
    await other.fill("#join", room);
    await other.press("#join", "Enter");
    await settled(other, room);
    await says(page, "#people-count", /^2$/);
  });
  await suite.check("chat: who comes later sees what was said, and older lines on demand", {}, async (page, open) => {
    const room = fresh("history");
    await enter(page, "Historian", room);
    for (let line = 1; line <= 23; line += 1) await say(page, `line ${line}`);
    await sent(page).catch(() => {});
    await page.waitForFunction(() => document.querySelectorAll("#lines .pub").length === 23, null, { timeout: 60_000 });
    const other = await open();
    await enter(other, "Latecomer", room);
    await sees(other, "line 23");
    equal((await words(other)).join(), Array.from({ length: 20 }, (_, index) => `line ${index + 4}`).join(), "the newest twenty");
    equal(await other.locator("#start").isVisible(), false, "whether the room begins here");
    await other.click("text=Older messages");
    await other.waitForFunction(() => document.querySelectorAll("#lines .pub").length >= 23);
    equal((await words(other)).join(), Array.from({ length: 23 }, (_, index) => `line ${index + 1}`).join(), "all lines");
    await says(other, "#start", /begins/);
  });
  await suite.check("chat: a name is one's own, and is remembered with the rooms", {}, async (page, open) => {
    const room = fresh("names");
    await enter(page, "Zoë", room);
    const other = await open();
    await other.goto(`/chat/#${room}`);
    await other.fill("#name", "two words");
    await other.click("text=Join the chat");
    await says(other, "#name-error", /no spaces/);
    await other.fill("#name", called("ZOË", room));
    await other.click("text=Join the chat");
    await says(other, "#name-error", /already/);
    await say(page, `/join ${room}b`);
    await settled(page, `${room}b`);
    await page.goto("/chat/");
    await settled(page, `${room}b`);
    await says(page, "#people-list", /Zoë\d+ \(you\)/);
    equal(await page.locator("#room-list .room").count(), 3, "rooms");
  });
  await suite.check("chat: other rooms show what is unread", {}, async (page, open) => {
    const room = fresh("unread");
    const other = await open();
    await enter(page, "Reader", room);
    await enter(other, "Writer", room);
    await page.click('[data-room="hall"]');
    await says(page, "#room-name", /^#hall$/);
    await say(other, `are you there, @${called("Reader", room)}?`);
    await says(page, `[data-room="${room}"] .badge`, /^1 unread, you are mentioned$/);
    equal(await page.title(), "(1) #hall · Chat", "the title");
    await page.click(`[data-room="${room}"]`);
    await says(page, ".unread-mark", /New/);
    equal(await page.locator(`[data-room="${room}"] .badge`).count(), 0, "unread marks");
  });
}

async function order(suite) {
  await suite.check("chat: one message a second, which is said, and none is lost", {}, async (page, open) => {
    const room = fresh("fast");
    const other = await open();
    await enter(page, "Quick", room);
    await enter(other, "Calm", room);
    for (const text of ["one", "two", "three"]) await say(page, text);
    await says(page, "#notice", /Too fast: one message a second/);
    await sees(other, "three");
    equal((await words(other)).join(), "one,two,three", "what came");
    await sent(page);
    equal((await words(page)).join(), "one,two,three", "what stands at the writer's");
  });
  await suite.check("chat: moderators put people out and rename them", {}, async (page, open) => {
    const room = fresh("order");
    const other = await open();
    await enter(page, "Judge", room);
    await enter(other, "Rascal", room);
    await say(page, `/kick ${called("Rascal", room)} #${room}`);
    await sees(page, "Your powers are weak");
    await say(page, "/su wrong");
    await say(page, "/su open sesame");
    await sees(page, "You've got the power");
    await say(page, `/fchname ${called("Rascal", room)} ${called("Gentleman", room)}`);
    await sees(page, `is now known as ${called("Gentleman", room)}`);
    await say(page, `/kick gentle* #${room} mind your manners`);
    await sees(page, `Kicked: ${called("Gentleman", room)}, reason: mind your manners`);
    await says(page, "#people-count", /^1$/);
    await says(other, "#notice", /put out of .*mind your manners/);
    equal(await other.locator(`[data-room="${room}"]`).count(), 0, "the room of who was put out");
    await say(other, `/join ${room}`);
    await sees(other, "You were kicked from");
  });
  await suite.check("chat: names and commands are completed by keyboard", {}, async (page, open) => {
    const room = fresh("keys");
    const other = await open();
    await enter(page, "Typist", room);
    await enter(other, "Ulrike", room);
    await says(page, "#people-count", /^2$/);
    await page.focus("#text");
    await page.keyboard.type("hi @ul");
    await page.keyboard.press("Tab");
    equal(await page.inputValue("#text"), `hi @${called("Ulrike", room)} `, "the completed name");
    await page.keyboard.type("there");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("and here");
    await page.keyboard.press("Enter");
    await sees(other, `hi @${called("Ulrike", room)} there`);
    equal((await words(other)).at(-1), `hi @${called("Ulrike", room)} there\nand here`, "two lines");
    await page.keyboard.type("/he");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await sees(page, "/kick <name>");
  });
}

async function faults(suite, server) {
  await suite.check("chat: skep is reloaded in mid-talk; nothing is lost, nothing comes twice", { expected: BROKEN }, async (page, open) => {
    const room = fresh("reload");
    const other = await open();
    await enter(page, "Left", room);
    await enter(other, "Right", room);
    const texts = Array.from({ length: 8 }, (_, index) => `turn ${index + 1}`);
    for (const [index, text] of texts.entries()) {
      if (index === 2 || index === 5) await server.reload();
      await say(index % 2 ? other : page, text);
      await page.waitForTimeout(300);
    }
    for (const one of [page, other]) {
      await one.waitForFunction((count) => document.querySelectorAll("#lines .pub").length >= count, texts.length, { timeout: 60_000 });
      await sent(one);
      await settled(one, room);
      equal((await words(one)).toSorted().join(), texts.toSorted().join(), "what stands there");
    }
    equal((await words(page)).join(), (await words(other)).join(), "the order at both");
    await page.reload();
    await settled(page, room);
    equal((await words(page)).toSorted().join(), texts.toSorted().join(), "what is kept");
    equal(await page.locator("#lines .aside", { hasText: "left" }).count(), 0, "notices that somebody left");
  });
  await suite.check("chat: without a connection it says so, keeps what is written, and sends it later", { expected: BROKEN }, async (page, open) => {
    const room = fresh("offline");
    const other = await open();
    let broken = false;
    const sockets = [];
    await page.routeWebSocket(/.*/u, (socket) => {
      if (broken) socket.close();
      else sockets.push([socket, socket.connectToServer()]);
    });
    await enter(page, "Nomad", room);
    await enter(other, "Settler", room);
    broken = true;
    for (const socket of sockets.flat()) await socket.close();
    await says(page, "#link-text", /^No connection/);
    await say(page, "on the road");
    await says(page, "#pending", /on the road.*Waiting to be sent/);
    await say(other, "at home");
    await accessible(page);
    broken = false;
    await sees(other, "on the road");
    await settled(page, room);
    await sent(page);
    equal((await words(page)).join(), "at home,on the road", "what stands there");
    equal((await words(other)).join(), "at home,on the road", "what stands at the other");
  });
}

/** Some talk to look at. */
async function example(page, open) {
  const room = fresh("garden");
  const other = await open();
  await enter(page, "Ann", room);
  await enter(other, "Björn", room);
  await say(other, "Good morning! The linden are in flower at last.");
  await sees(page, "linden");
  await say(page, `@${called("Björn", room)} I saw it from the window. There is a page about it: https://example.org/linden`);
  await sees(other, "window");
  await say(other, "/me puts the kettle on");
  await sees(page, "kettle");
  await say(page, "Tea for two, please.");
  await sees(other, "Tea");
  await sent(page);
  await page.waitForTimeout(1000);
  await say(other, `Of course, @${called("Ann", room)}.\nHoney?`);
  await sees(page, "Honey?");
  await page.waitForTimeout(1000);
  await say(other, "We talk about the rest in #hall, with everybody who has a hive.");
  await sees(page, "everybody");
}

async function appearance(suite, pictures) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await suite.check(`chat: accessible, ${colorScheme}, ${size}`, { colorScheme, viewport }, async (page, open) => {
        const look = async (name) => {
          await fits(page);
          if (pictures) await page.screenshot({ path: `${pictures}/chat-${name}-${colorScheme}-${size}.png` });
          await accessible(page);
        };
        await page.goto("/chat/");
        await page.locator("#name").waitFor();
        await look("enter");
        await example(page, open);
        await look("talk");
        if (size === "narrow") {
          await page.click("#open-rooms");
          await look("rooms");
          await page.keyboard.press("Escape");
          await page.click("#open-people");
          await look("people");
          await page.keyboard.press("Escape");
        }
        await page.click("#open-settings");
        await look("settings");
      });
    }
  }
}

/** All checks of the chat; `pictures` is a folder for screenshots, if they are wanted. */
export async function chat(suite, server, pictures) {
  await talk(suite);
  await order(suite);
  await faults(suite, server);
  await appearance(suite, pictures);
}
