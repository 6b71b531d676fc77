// Each example does what its page says, by the clicks of a visitor.
import { equal, says } from "./suite.mjs";

const REPLY = "[data-reply]";

// What the browser itself logs about a reply that is meant to be an error.
const REFUSED = [/status of 400/];
const BROKEN = [/status of 500/];

export const EXAMPLES = {
  hello: async (page) => {
    await page.fill("#name", "<b>Zoë & co</b>");
    await says(page, REPLY, /^Hello, <b>Zoë & co<\/b>!$/);
    await page.click("text=Greet me");
    await says(page, "[data-exchanges] .ok", /200/);
  },
  form: async (page) => {
    await page.click("text=Send by POST");
    await says(page, REPLY, /"method": "POST"/);
    await says(page, REPLY, /"city": "Genève"/);
    await page.check("#old");
    await page.fill("#name", "Ünï ☺ 🐝");
    await page.click("text=Send by GET");
    await says(page, REPLY, /"method": "GET"/);
    await says(page, REPLY, /"name": "Ünï ☺ 🐝"/);
    await says(page, REPLY, /"drinks": \[\s*"tea",\s*"mead"\s*\]/);
  },
  cookies: async (page) => {
    await page.click("text=What do you know?");
    await says(page, REPLY, /no flower/);
    await page.click("label:has-text('linden')");
    await page.click("text=Remember it");
    await says(page, REPLY, /linden, for a day/);
    await page.reload();
    await page.click("text=What do you know?");
    await says(page, REPLY, /says: linden/);
    await page.click("text=Forget it");
    await says(page, REPLY, /Forgotten/);
    await page.click("text=What do you know?");
    await says(page, REPLY, /no flower/);
  },
  json: Object.assign(
    async (page) => {
      await page.click("button.primary");
      await says(page, REPLY, /"mean": 3.875/);
      await page.click("text=Send a broken list");
      await says(page, REPLY, /line 1,? column/i);
      await page.click("text=Send a word among numbers");
      await says(page, REPLY, /item 2 is no number/);
    },
    { expected: REFUSED },
  ),
  error: Object.assign(
    async (page) => {
      await page.click("text=Make it fail");
      const failure = page.frameLocator("iframe");
      await failure.getByText("the queen is not at home").first().waitFor();
      await failure.getByText("examples/error.luau").first().waitFor();
    },
    { expected: BROKEN },
  ),
  upload: async (page) => {
    await page.click("text=Upload two made-up files");
    await says(page, REPLY, /"name": "recipe.txt"/);
    await says(page, REPLY, /"size": 3000000/);
    await says(page, REPLY, /"note": "from the garden"/);
    await page.setInputFiles("#files", { name: "küche.txt", mimeType: "text/plain", buffer: Buffer.from("abc") });
    await page.click("button.primary");
    await says(page, REPLY, /"name": "küche.txt"/);
    await says(page, REPLY, /ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/);
    equal(await page.getAttribute("[role=progressbar]", "aria-valuenow"), "100", "the progress");
  },
  stream: async (page) => {
    await page.click("text=Send them");
    await says(page, "[data-facts]", /10,000,000.*as your browser says/);
  },
  download: async (page) => {
    await page.click("[data-ask=all]");
    await says(page, REPLY, /^ABOUT SKEPS/);
    await page.click("[data-ask=range]");
    await says(page, "[data-facts]", /206.*bytes 0-99\//);
    await page.click("[data-ask=same]");
    await says(page, REPLY, /Not changed/);
    const [saved] = await Promise.all([page.waitForEvent("download"), page.click("text=Save it")]);
    equal(saved.suggestedFilename(), "about skeps.txt", "the name of the saved file");
  },
  sleep: async (page) => {
    await page.click("text=Send a request to bed");
    await says(page, REPLY, /Asleep/);
    await page.click("text=Wake it");
    await says(page, REPLY, /^Woken after \d+\.\d s, in worker \d+\.$/);
  },
  clock: async (page) => {
    await page.click("text=Start the clock");
    await says(page, REPLY, /Worker \d+ sends/);
    const first = await page.textContent("[data-time]");
    await page.waitForFunction((first) => document.querySelector("[data-time]").textContent !== first, first);
    await page.click("text=Stop the clock");
    await says(page, REPLY, /closed/);
  },
  timer: async (page) => {
    await page.click("text=Watch it");
    await says(page, "[data-by]", /worker \d+, process \d+/);
    const first = await page.textContent("[data-count]");
    await page.waitForFunction((first) => document.querySelector("[data-count]").textContent !== first, first);
    await page.click("text=Stop watching");
  },
  counter: async (page) => {
    await page.click("text=Count one");
    await says(page, REPLY, /Worker \d+ counted to \d+/);
    const before = Number((await page.textContent("[data-count]")).replaceAll(",", ""));
    await page.click("text=Count fifty at once");
    await says(page, REPLY, /50 requests, \d+ workers?, 0 numbers given twice/);
    equal(await page.textContent("[data-count]"), (before + 50).toLocaleString("en"), "the count");
  },
  fetch: async (page) => {
    await page.click("text=Let it ask itself");
    await says(page, REPLY, /"status": 200/);
    await says(page, REPLY, /Hello, you!/);
  },
  process: async (page) => {
    await page.click("text=Run uname");
    await says(page, REPLY, /"allowed": false/);
    await page.locator("[data-when-refused]").waitFor();
  },
};
