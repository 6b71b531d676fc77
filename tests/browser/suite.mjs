// One check after the other, each in a browser context of its own; whatever the console complains about fails the check.
import axe from "axe-core";

const LIMIT = 20_000;
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export class Suite {
  passed = 0;
  failed = 0;

  /** Runs the checks with `only` in their names; without it, all. */
  constructor(browser, origin, only = "") {
    this.browser = browser;
    this.origin = origin;
    this.only = only;
  }

  /** Runs `body(page, open)`; `open()` gives a page of somebody else. `expected` are patterns of console messages that belong to the check. */
  async check(name, options, body) {
    if (!name.includes(this.only)) return;
    const { expected = [], ...context } = options;
    const places = [];
    const complaints = [];
    const complain = (text) => expected.some((pattern) => pattern.test(text)) || complaints.push(text);
    const open = async () => {
      const place = await this.browser.newContext({ baseURL: this.origin, reducedMotion: "reduce", ...context });
      places.push(place);
      place.setDefaultTimeout(LIMIT);
      const page = await place.newPage();
      page.on("console", (message) => ["error", "warning"].includes(message.type()) && complain(message.text()));
      page.on("pageerror", (error) => complain(error.message));
      page.on("request", (request) => request.url().startsWith(this.origin) || request.url().startsWith("data:") || complain(`a request elsewhere: ${request.url()}`));
      return page;
    };
    try {
      await body(await open(), open);
      if (complaints.length > 0) throw new Error(`the console says:\n    ${complaints.join("\n    ")}`);
      this.passed += 1;
      console.log(`ok    ${name}`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL  ${name}\n  ${error.message.split("\n").slice(0, 12).join("\n  ")}`);
    } finally {
      for (const place of places) await place.close();
    }
  }
}

/** Fails when the element's text does not come to match in time. */
export async function says(page, selector, pattern) {
  try {
    await page.waitForFunction(([selector, source]) => new RegExp(source, "su").test(document.querySelector(selector)?.textContent ?? ""), [selector, pattern.source]);
  } catch {
    const found = await page.locator(selector).first().textContent({ timeout: 1000 }).catch(() => "nothing of that kind");
    throw new Error(`${selector} should say ${pattern}, it says: ${found.trim().slice(0, 400)}`);
  }
}

/** Fails when axe finds something on the page. */
export async function accessible(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules, iframes: false }), RULES);
  const problems = found.violations.map((rule) => `${rule.id}: ${rule.help}: ${rule.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")}`);
  if (problems.length > 0) throw new Error(problems.join("\n"));
}

/** Fails when the page is wider than the window. */
export async function fits(page) {
  const [page_, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (page_ > window_) throw new Error(`the page is ${page_} px wide in a window of ${window_} px`);
}

export function equal(found, wanted, what) {
  if (found !== wanted) throw new Error(`${what} should be ${wanted}, it is ${found}`);
}
