// Runs everything against one server: run.mjs [BINARY]. PICTURES names a folder for screenshots of the chat, ONLY a word in the names of checks. Ends in one line: N passed, N failed.
import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { chat } from "./chat.mjs";
import { EXAMPLES } from "./examples.mjs";
import { push } from "./push.mjs";
import { start } from "./server.mjs";
import { Suite, accessible, equal, fits, says } from "./suite.mjs";

const BINARY = resolve(process.argv[2] ?? fileURLToPath(new URL("../../dist/skep", import.meta.url)));
const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SIZES = { narrow: { width: 360, height: 740 }, wide: { width: 1600, height: 900 } };

async function index(suite) {
  await suite.check("index: the hive answers", {}, async (page) => {
    await page.goto("/");
    await says(page, "#answer", /Worker \d+ \(process \d+\) made this page in \d+ µs/);
    await page.click("text=Knock on the hive");
    await says(page, "#answer", /answered in [\d,]+ µs/);
    await page.click("text=Knock 100 times");
    await says(page, "[data-bars]", /worker \d+/);
    await says(page, "[data-count]", /^[\d,]*\d$/);
  });
  await suite.check("index: every example is there and every link leads somewhere", {}, async (page) => {
    await page.goto("/");
    const links = await page.locator(".entry").evaluateAll((entries) => entries.map((entry) => entry.getAttribute("href")));
    equal([...links].sort().join(" "), Object.keys(EXAMPLES).map((name) => `/${name}`).sort().join(" "), "the examples");
    for (const link of links) equal((await page.request.get(link)).status(), 200, link);
    equal((await page.request.get("/nothing")).status(), 404, "/nothing");
  });
  await suite.check("theme: the switch is remembered", { colorScheme: "light" }, async (page) => {
    await page.goto("/");
    await page.click(".theme");
    await page.goto("/hello");
    equal(await page.getAttribute("html", "data-theme"), "dark", "the theme of the next page");
    equal(await page.getAttribute(".theme", "aria-pressed"), "true", "the switch");
  });
  await suite.check("source: the page shows the file that runs", {}, async (page) => {
    await page.goto("/counter");
    await says(page, ".source code", /local cache = require\("@skep\/cache"\)/);
    await says(page, ".source .f", /^require$/);
  });
  await suite.check("keyboard: from the top to the first example", {}, async (page) => {
    await page.goto("/");
    await page.keyboard.press("Tab");
    equal(await page.evaluate(() => document.activeElement.className), "skip", "the first stop");
    await page.keyboard.press("Enter");
    equal(await page.evaluate(() => location.hash), "#main", "where it leads");
  });
}

async function examples(suite) {
  for (const [name, use] of Object.entries(EXAMPLES)) {
    await suite.check(name, { expected: use.expected }, async (page) => {
      await page.goto(`/${name}`);
      await use(page);
    });
  }
  await suite.check("below another path", {}, async (page) => {
    await page.goto("/below/here");
    await page.click("text=Knock on the hive");
    await says(page, "#answer", /answered in/);
    await page.click(".entry >> nth=0");
    await page.waitForURL("**/below/here/hello");
    await EXAMPLES.hello(page);
  });
  await suite.check("process, where it is allowed", {}, async (page) => {
    await page.goto("/permitted/process");
    await page.click("text=Run uname");
    await says(page, "[data-reply]", /"output": "Linux/);
  });
  await suite.check("a new application says hello", {}, async (page) => {
    await page.goto("/new");
    await page.fill("input", "Ada <3");
    await page.click("button");
    await says(page, "main", /Hello, Ada <3!/);
    await accessible(page);
  });
}

async function appearance(suite) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      for (const name of ["", ...Object.keys(EXAMPLES), "nothing"]) {
        const expected = name === "nothing" ? [/status of 404/] : [];
        await suite.check(`accessible: /${name}, ${colorScheme}, ${size}`, { colorScheme, viewport, expected }, async (page) => {
          await page.goto(`/${name}`);
          await page.locator(".theme").waitFor();
          await fits(page);
          await accessible(page);
        });
      }
    }
  }
}

await access(BINARY);
const server = await start(BINARY);
const browser = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox"] });
const suite = new Suite(browser, server.origin, process.env.CHECK);
try {
  const only = process.env.ONLY?.split(",") ?? ["examples", "push", "chat"];
  if (only.includes("examples")) {
    await index(suite);
    await examples(suite);
    await appearance(suite);
  }
  if (only.includes("push")) await push(suite, server);
  if (only.includes("chat")) await chat(suite, server, process.env.PICTURES);
} finally {
  await browser.close();
  await server.stop();
}
if (suite.failed > 0) console.log(`\nThe server's log:\n${server.log().split("\n").slice(-40).join("\n")}`);
console.log(`${suite.passed} passed, ${suite.failed} failed`);
process.exitCode = suite.failed > 0 || suite.passed === 0 ? 1 : 0;
