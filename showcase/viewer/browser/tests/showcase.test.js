// The page beside the whole pipeline: what a newcomer does with it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { findings } from "../axe.js";
import { launch, open } from "../browser.js";
import { showcase } from "../showcase.js";

let world, browser;
before(async () => { [world, browser] = await Promise.all([showcase(), launch()]); });
after(async () => { await browser?.close(); await world?.end(); });

const onPage = (name, options, work) => test(name, async () => {
  const page = await open(browser, options);
  await work(page);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

/** Posts an order by a click; gives the id of its trace, which the page links. */
async function post(page, method = "pm_ok") {
  await page.selectOption("#token", method);
  const before = await page.locator(".watch a").getAttribute("href", { timeout: 100 }).catch(() => null);
  await page.click("text=Post an order");
  await page.waitForFunction((before) => {
    const link = document.querySelector(".watch a");
    return link && link.getAttribute("href") !== before;
  }, before);
  return (await page.locator(".watch a").getAttribute("href")).split("/").pop();
}

async function change(page, name, value) {
  await page.selectOption(`select[name=${name}]`, value);
  await page.waitForSelector(`.controls:not([aria-busy]) select[name=${name}]:not([disabled])`, { timeout: 60_000 });
  assert.equal(await page.locator(`select[name=${name}]`).inputValue(), value);
  assert.equal(await page.locator(".watch.failure").count(), 0, await page.locator(".watch").innerText());
}

const spansOf = async (traceId) => {
  const answer = await (await fetch(`${world.url}/api/v3/traces/${traceId}`)).json();
  return answer.result.resourceSpans.flatMap((resource) => resource.scopeSpans.flatMap((scope) => scope.spans));
};
const value = (span, key) => span.attributes?.find((pair) => pair.key === key)?.value;

onPage("an order is posted by a click, its row appears and joins", {}, async (page) => {
  await page.goto(world.url);
  const id = await post(page);
  const row = page.locator(`li[data-trace="${id}"]`);
  await row.waitFor();
  await page.waitForSelector(`li[data-trace="${id}"][data-state=joined]`);
  await page.waitForFunction((id) => document.querySelector(`li[data-trace="${id}"]`).innerText.includes("joined 2/2"), id);
  assert.match(await row.innerText(), /POST \/orders[\s\S]*16 spans/);
  await page.waitForFunction(() => document.getElementById("announcement").textContent.includes("Your order's trace is joined"));
  assert.deepEqual(await findings(page), []);
});

onPage("the queue-wait bar has the attribute's value, and its length on the time line", {}, async (page) => {
  await page.goto(world.firstTrace);
  await page.waitForSelector(".row");
  const spans = await spansOf(world.firstTrace.split("/").pop());
  const waited = spans.filter((span) => value(span, "kafka.record.queue_time_ms"));
  assert.equal(waited.length, 2);
  const starts = spans.map((span) => BigInt(span.startTimeUnixNano));
  const ends = spans.map((span) => BigInt(span.endTimeUnixNano));
  const whole = Number(ends.reduce((a, b) => (a > b ? a : b)) - starts.reduce((a, b) => (a < b ? a : b)));
  for (const span of waited) {
    const ms = value(span, "kafka.record.queue_time_ms").intValue;
    const bar = page.locator(`#span-${span.spanId} .queue`);
    assert.equal(await bar.getAttribute("data-queue-wait-ms"), ms);
    assert.match(await page.locator(`#span-${span.spanId}`).getAttribute("aria-label"), new RegExp(`queue wait ${ms} ms`));
    assert.match(await page.locator(`#span-${span.spanId} .track`).innerText(), new RegExp(`queue wait ${ms} ms`));
    assert.match(await bar.getAttribute("title"), /CreateTime/);
    const share = parseFloat(await bar.evaluate((element) => element.style.width)) / 100;
    assert.ok(Math.abs(share - Number(ms) * 1e6 / whole) < 0.01, `${share} of the width for ${ms} ms of ${whole} ns`);
    assert.match(await bar.evaluate((element) => getComputedStyle(element).backgroundImage), /repeating-linear-gradient/);
  }
  const names = await page.locator(".row").evaluateAll((rows) => rows.map((row) => row.getAttribute("aria-level") + " " + row.querySelector(".span-name").textContent));
  assert.deepEqual(names, [
    "1 POST /orders", "2 validate order", "2 INSERT orders", "2 send orders", "3 process orders", "4 SELECT processed_orders",
    "4 settle payment", "5 POST /payments", "6 POST /payments", "7 SELECT payments", "7 POST /authorize", "7 INSERT payments",
    "4 INSERT processed_orders", "4 send order-status", "5 process order-status", "6 UPDATE orders",
  ]);
  assert.deepEqual(await findings(page), []);
});

onPage("the critical path goes through the queue to the gateway, and says so in words", {}, async (page) => {
  await page.goto(world.url);
  const id = await post(page, "pm_many_methods");
  await page.waitForFunction((id) => document.querySelector(`li[data-trace="${id}"]`)?.innerText.includes("joined 2/2"), id);
  await page.click(`li[data-trace="${id}"] a`);
  const first = page.locator(".where li").first();
  await first.waitFor();
  assert.match(await first.innerText(), /^9\d % 2\.\d+ s payments: POST \/authorize$/);
  assert.ok(await page.locator(".where li", { hasText: "in the queue before" }).count() > 0);
  await first.locator("a").click();
  await page.waitForSelector(".panel h2:has-text('POST /authorize')");
  assert.match(page.url(), new RegExp(`/traces/${id}#[0-9a-f]{16}$`));
});

onPage("a span's panel has its attributes by group, its logs and its links; a permalink opens it cold", {}, async (page) => {
  await page.goto(world.firstTrace);
  await page.click(".row:has-text('process orders')");
  const panel = page.locator(".panel");
  await panel.locator("summary:has-text('Messaging')").waitFor();
  for (const text of ["Application (1)", "Resource", "orders[", "c-7", "in the queue (CreateTime)", "→ links orders-api: send orders"]) {
    assert.ok((await panel.innerText()).includes(text), `${text} in ${await panel.innerText()}`);
  }
  assert.deepEqual(await findings(page), []);
  const address = page.url();
  const cold = await open(browser);
  await cold.goto(address);
  await cold.waitForSelector(".panel h2:has-text('process orders')");
  assert.equal(await cold.locator(".row.selected .span-name").innerText(), "process orders");
  // The link leads to the sender, and from there back.
  await cold.click(".panel .links a");
  await cold.waitForSelector(".panel h2:has-text('send orders')");
  await cold.click(".panel .links a:has-text('process orders')");
  await cold.waitForSelector(".panel h2:has-text('process orders')");
  assert.equal(cold.url(), address);
  assert.deepEqual(cold.complaints, []);
  await cold.context().close();
});

onPage("a log record of a service stands beside its span", {}, async (page) => {
  await page.goto(world.url);
  const id = await post(page, "pm_down");
  await page.waitForFunction((id) => document.querySelector(`li[data-trace="${id}"] .badge.error`), id);
  await page.goto(`${world.url}/traces/${id}`);
  const answer = await (await fetch(`${world.url}/api/live/traces/${id}`)).json();
  const log = answer.logs.find((log) => log.spanId);
  assert.ok(log, "the services send logs with span ids");
  await page.goto(`${world.url}/traces/${id}#${log.spanId}`);
  await page.waitForSelector(".panel .logs li");
  assert.ok((await page.locator(".panel .logs").innerText()).includes(log.body.stringValue));
  assert.ok(await page.locator(".row .is-error").count() > 0);
});

onPage("by keyboard alone: search, go down, open, look, close, go back", {}, async (page) => {
  await page.goto(world.url);
  await page.waitForSelector("li[data-state=joined]");
  await page.keyboard.press("/");
  await page.keyboard.type("many_nothing_has_this");
  await page.waitForSelector("text=None of the");
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.press("Escape");
  await page.waitForSelector("li[data-state=joined]");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".row.selected");
  for (const _ of [1, 2, 3, 4]) await page.keyboard.press("j");
  await page.keyboard.press("k");
  const name = await page.locator(".row.selected .span-name").innerText();
  await page.keyboard.press("Enter");
  await page.waitForSelector(`.panel h2:has-text("${name}")`);
  await page.keyboard.press("c");
  assert.equal(await page.locator(".critical").count(), 0);
  await page.keyboard.press("+");
  assert.ok(parseFloat(await page.locator(".row .bar").first().evaluate((bar) => bar.style.left)) < 0);
  await page.keyboard.press("0");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".panel").isVisible(), false);
  await page.keyboard.press("?");
  assert.equal(await page.locator("dialog").evaluate((dialog) => dialog.open), true);
  assert.deepEqual(await findings(page), []);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.waitForSelector(".traces");
  assert.equal(new URL(page.url()).pathname, "/");
});

onPage("at 375 pixels nothing sticks out, and an order can be followed", { viewport: { width: 375, height: 700 } }, async (page) => {
  const fits = async () => assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 375, page.url());
  await page.goto(world.url);
  const id = await post(page);
  await page.waitForSelector(`li[data-trace="${id}"][data-state=joined]`);
  await fits();
  await page.click(`li[data-trace="${id}"] a`);
  await page.waitForSelector(".row .queue");
  await fits();
  await page.click(".row:has-text('process orders')");
  await page.waitForSelector(".panel h2");
  await fits();
  for (const path of ["/topology", "/queue-wait"]) {
    await page.goto(world.url + path);
    await page.waitForSelector(".table td");
    await fits();
    assert.deepEqual(await findings(page), []);
  }
});

onPage("topology and queue waits lead to the traces behind them", {}, async (page) => {
  await page.goto(`${world.url}/topology`);
  await page.waitForSelector(".node");
  const nodes = await page.locator(".node").evaluateAll((nodes) => nodes.map((node) => node.getAttribute("aria-label").split(":")[0]).sort());
  assert.deepEqual(nodes.filter((node) => !node.endsWith(".dlq")), ["service order-processor", "service orders-api", "service payments", "topic order-status", "topic orders"]);
  const row = (await page.locator("tbody tr").allInnerTexts()).find((row) => row.startsWith("topic orders\t"));
  assert.match(row, /order-processor\t[\d.,]+\t.*ms/);
  assert.deepEqual(await findings(page), []);
  await page.click(".node.topic[aria-label^='topic orders:'] rect");
  await page.waitForSelector(".traces li");
  assert.equal(new URL(page.url()).search, "?topic=orders");
  await page.goto(`${world.url}/queue-wait`);
  await page.waitForSelector(".point");
  assert.deepEqual(await page.locator("tbody td:first-child").allInnerTexts().then((texts) => texts.map((text) => text.trim())), ["order-status", "orders"]);
  assert.deepEqual(await findings(page), []);
  await page.click("tbody a");
  await page.waitForSelector(".panel .wait");
});

onPage("with propagation off the first hop is two orphaned halves that say why, beside an order that joined", {}, async (page) => {
  await page.goto(world.url);
  const joined = await post(page);
  await page.waitForSelector(`li[data-trace="${joined}"][data-state=joined]`);
  await change(page, "propagation", "false");
  const watch = await page.locator(".watch").innerText();
  for (const piece of ["the two halves of its first hop, POST /orders and process orders,", "A third piece, process order-status,"]) {
    assert.ok(watch.includes(piece), watch);
  }
  const before = new Set(await page.locator(".traces li").evaluateAll((rows) => rows.map((row) => row.dataset.trace)));
  const id = await post(page);
  assert.match(await page.locator(".watch").innerText(), /Look for three orphans that say why/);
  const sender = page.locator(`li[data-trace="${id}"][data-state=orphaned]`);
  await sender.waitFor();
  assert.equal(await sender.locator(".reason").innerText(), "group order-processor processed this record without its trace context: none was written into the record's headers, or propagation is off where it was processed");
  // Three pieces, and no more: what each is called, its state, and its reason.
  const pieces = () => page.locator(".traces li").evaluateAll((rows, before) => rows.filter((row) => !before.includes(row.dataset.trace))
    .map((row) => [row.querySelector(".root").textContent, row.dataset.state, row.querySelector(".reason")?.textContent]).sort(), [...before]);
  await page.waitForFunction((before) => [...document.querySelectorAll(".traces li")].filter((row) => !before.includes(row.dataset.trace) && row.dataset.state === "orphaned").length === 3, [...before]);
  const none = "no trace context in the record's headers: its sender wrote none, or propagation is off where it was processed";
  assert.deepEqual(await pieces(), [
    ["POST /orders", "orphaned", await sender.locator(".reason").innerText()],
    ["process order-status", "orphaned", none],
    ["process orders", "orphaned", none],
  ]);
  assert.equal(await page.locator(`li[data-trace="${joined}"]`).getAttribute("data-state"), "joined");
  assert.deepEqual(await findings(page), []);
  await sender.locator("a").click();
  await page.waitForSelector(".reasons .orphaned");
  assert.deepEqual(await findings(page), []);
  await page.click("text=See the other half →");
  await page.waitForSelector(".panel h2:has-text('process orders')");
  await page.click(".reasons >> text=See the other half →");
  await page.waitForSelector(".panel h2:has-text('send orders')");
  assert.ok(page.url().includes(id));
  await page.goto(world.url);
  await page.waitForSelector("#token");
  await change(page, "propagation", "true");
  const healed = await post(page);
  await page.waitForSelector(`li[data-trace="${healed}"][data-state=joined]`);
});

onPage("in link mode a link leads into the other trace, and back", {}, async (page) => {
  await page.goto(world.url);
  await page.waitForSelector("#token");
  await change(page, "processParent", "link");
  const id = await post(page);
  await page.waitForSelector(`li[data-trace="${id}"][data-state=joined]`);
  await page.click(`li[data-trace="${id}"] a`);
  const back = page.locator(".row:has-text('send orders') a.far");
  await back.waitFor();
  await back.click();
  await page.waitForSelector(".panel h2:has-text('process orders')");
  assert.ok(!page.url().includes(id), "another trace");
  await page.waitForSelector(".row .queue");
  assert.deepEqual(await findings(page), []);
  await page.click(".row:has-text('process orders') a.far");
  await page.waitForSelector(".panel h2:has-text('send orders')");
  assert.ok(page.url().includes(id), "there and back");
  await page.goto(world.url);
  await page.waitForSelector("#token");
  await change(page, "processParent", "creation-context");
});

onPage("a paused consumer lets orders wait; resumed, they join and say how long it was", {}, async (page) => {
  await page.goto(world.url);
  await page.waitForSelector("#token");
  await change(page, "consumerRunning", "false");
  const id = await post(page);
  await page.waitForSelector(`li[data-trace="${id}"][data-state=waiting]`);
  await page.waitForSelector(`li[data-trace="${id}"][data-state=orphaned]`, { timeout: 30_000 });
  assert.match(await page.locator(`li[data-trace="${id}"] .reason`).innerText(), /for more than 10 s nothing of group order-processor/);
  await change(page, "consumerRunning", "true");
  await page.waitForSelector(`li[data-trace="${id}"][data-state=joined]`, { timeout: 60_000 });
  const waited = /in queue ([\d.]+) s/.exec(await page.locator(`li[data-trace="${id}"]`).innerText());
  assert.ok(Number(waited[1]) >= 10, waited[0]);
});

onPage("unsampled orders leave nothing", {}, async (page) => {
  await page.goto(world.url);
  await page.waitForSelector("#token");
  await change(page, "sampling", "0");
  const unseen = await post(page);
  await change(page, "sampling", "1");
  const seen = await post(page);
  await page.waitForSelector(`li[data-trace="${seen}"][data-state=joined]`);
  assert.equal(await page.locator(`li[data-trace="${unseen}"]`).count(), 0);
});

test("other sites can neither read nor use the controls", async () => {
  const config = await (await fetch(`${world.url}/api/live/config`)).json();
  const page = new URL(world.url).origin;
  const ask = async (headers, path = "/control", options = {}) => (await fetch(config.controlUrl + path, { headers, ...options })).status;
  assert.equal(await ask({ origin: page }), 200);
  for (const origin of ["http://example.com", "null", "http://127.0.0.1:1", page.replace("http:", "https:")]) {
    assert.equal(await ask({ origin }), 403, origin);
  }
  assert.equal(await ask({}), 403);
  const body = JSON.stringify({ payment_method: "pm_ok", count: 1 });
  assert.equal(await ask({ origin: "http://example.com", "content-type": "application/json" }, "/control/orders", { method: "POST", body }), 403);
  // What a page may send elsewhere without asking first is not taken.
  assert.equal(await ask({ origin: page, "content-type": "text/plain" }, "/control/orders", { method: "POST", body }), 415);
  const foreign = await open(browser);
  await foreign.goto("data:text/html,<p>elsewhere</p>");
  const answers = await foreign.evaluate(async ([control, viewer]) => Promise.all([
    fetch(`${control}/control/orders`, { method: "POST", headers: { "content-type": "application/json" }, body: '{"payment_method":"pm_ok","count":1}' }),
    fetch(`${control}/control`), fetch(`${viewer}/api/live/traces`),
  ].map((answer) => answer.then(() => "answered", () => "refused"))), [config.controlUrl, world.url]);
  assert.deepEqual(answers, ["refused", "refused", "refused"]);
  await foreign.context().close();
});

test("the address in the answer to an order opens its trace", async () => {
  const response = await fetch(`${world.ordersApi}/orders`, {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ customer: { id: "c-7", name: "Ada", email: "ada@example.org" }, currency: "EUR", payment_method: "pm_ok", items: [{ sku: "book-1", quantity: 2, unit_price: 1250 }] }),
  });
  const { trace_url: address } = await response.json();
  const page = await open(browser);
  // Opened before it is there: the page waits for it.
  await page.goto(address);
  await page.waitForSelector(".row:has-text('process order-status')");
  await page.context().close();
});
