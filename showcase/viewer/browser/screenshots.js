// Pictures of every view, from a fresh showcase: node screenshots.js [FOLDER]
// The README shows some of them; look at each before it is committed.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, open } from "./browser.js";
import { showcase } from "./showcase.js";

const folder = process.argv[2] ?? fileURLToPath(new URL("../../../docs/images/", import.meta.url));
await mkdir(folder, { recursive: true });
const world = await showcase();
const browser = await launch();
try {
  const page = await open(browser, { viewport: { width: 1280, height: 760 }, colorScheme: "light" });
  const take = async (name, from = page) => {
    await from.evaluate(() => document.activeElement?.blur());
    await from.waitForTimeout(400);
    await from.screenshot({ path: `${folder}/${name}.png` });
    console.log(`${name}.png`);
  };
  const post = async (method, state = "joined") => {
    await page.selectOption("#token", method);
    await page.click("text=Post an order");
    const link = page.locator(".watch a");
    await link.waitFor();
    const id = (await link.getAttribute("href")).split("/").pop();
    await page.waitForSelector(`li[data-trace="${id}"][data-state=${state}]`, { timeout: 60_000 });
    await page.evaluate(() => document.querySelector(".watch").replaceChildren());
    return id;
  };
  const change = async (name, value) => {
    await page.selectOption(`select[name=${name}]`, value);
    await page.waitForSelector(`.controls:not([aria-busy]) select[name=${name}]:not([disabled])`, { timeout: 60_000 });
  };
  await page.goto(world.url);
  await page.waitForSelector("li[data-state=joined]");
  const failing = await post("pm_fail_twice");
  const slow = await post("pm_many_methods");
  await page.selectOption("#token", "pm_ok");
  await page.click("text=Post 20");
  await page.waitForSelector(".controls:not([aria-busy])");
  await page.waitForFunction(() => document.querySelectorAll("li[data-state=joined]").length > 20, undefined, { timeout: 60_000 });
  await change("processParent", "link");
  const linked = await post("pm_ok");
  await change("processParent", "creation-context");
  await change("propagation", "false");
  const orphan = await post("pm_ok", "orphaned");
  await page.waitForSelector("li[data-state=orphaned]:has-text('process orders')");
  await take("list");
  await change("propagation", "true");
  await page.goto(world.firstTrace);
  await page.waitForSelector(".row");
  await take("trace");
  await page.click(".row:has-text('process orders')");
  await page.waitForSelector(".panel h2");
  await take("span");
  for (const [name, id] of [["slow-checkout", slow], ["failing-payment", failing], ["orphan", orphan], ["link", linked]]) {
    await page.goto(`${world.url}/traces/${id}`);
    await page.waitForSelector(".row");
    await take(name);
  }
  await page.goto(`${world.url}/topology`);
  await page.waitForSelector(".node");
  await take("topology");
  await page.goto(`${world.url}/queue-wait`);
  await page.waitForSelector(".point");
  await take("queue-wait");
  const dark = await open(browser, { viewport: { width: 1280, height: 760 }, colorScheme: "dark" });
  await dark.goto(world.firstTrace);
  await dark.waitForSelector(".row");
  await take("trace-dark", dark);
  const narrow = await open(browser, { viewport: { width: 375, height: 760 }, colorScheme: "light" });
  await narrow.goto(world.url);
  await narrow.waitForSelector("li[data-state=joined]");
  await take("list-narrow", narrow);
  await narrow.goto(world.firstTrace);
  await narrow.waitForSelector(".row");
  await take("trace-narrow", narrow);
} finally {
  await browser.close();
  await world.end();
}
