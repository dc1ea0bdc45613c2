// What the SDKs of Python and JavaScript send arrives whole, over each protocol that they speak.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { viewer } from "../browser/showcase.js";

const run = promisify(execFile);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
let world;
before(async () => { world = await viewer(); });
after(async () => { await world?.end(); });

const SENDERS = [
  ["python http", "9007199254740993", ["venv/bin/python", "send.py", "http"]],
  ["python grpc", "9007199254740993", ["venv/bin/python", "send.py", "grpc"]],
  ["javascript json", "7", ["node", "send.js", "json"]],
  ["javascript proto", "7", ["node", "send.js", "proto"]],
  ["javascript grpc", "7", ["node", "send.js", "grpc"]],
];

for (const [service, int, [program, script, protocol]] of SENDERS) {
  test(service, async () => {
    const traceId = randomBytes(16).toString("hex");
    const endpoint = protocol === "grpc" ? world.grpc : world.otlp;
    const { stderr } = await run(program === "node" ? process.execPath : here(program), [here(script), protocol, endpoint, traceId], { env: { PATH: process.env.PATH, NO_PROXY: "127.0.0.1" } });
    assert.equal(stderr, "");
    const answer = await (await fetch(`${world.url}/api/v3/traces/${traceId}`)).json();
    const [resourceSpans] = answer.result.resourceSpans;
    assert.equal(resourceSpans.resource.attributes.find((pair) => pair.key === "service.name").value.stringValue, service);
    const [{ scope, spans }] = resourceSpans.scopeSpans;
    assert.deepEqual([scope.name, scope.version], ["foreign", "1.0"]);
    const byName = Object.fromEntries(spans.map((span) => [span.name, span]));
    assert.deepEqual(Object.keys(byName).sort(), ["failed", "root", "send"]);
    const { root, send, failed } = byName;
    assert.deepEqual([root.kind, send.kind, failed.kind], [2, 4, 3]);
    assert.deepEqual([root.parentSpanId, send.parentSpanId, failed.parentSpanId], ["", root.spanId, root.spanId]);
    assert.deepEqual(root.attributes, [
      { key: "text", value: { stringValue: "ü" } }, { key: "int", value: { intValue: int } },
      { key: "double", value: { doubleValue: 0.5 } }, { key: "bool", value: { boolValue: true } },
      { key: "list", value: { arrayValue: { values: [{ stringValue: "a" }, { stringValue: "b" }] } } },
    ]);
    assert.equal(send.links.length, 1);
    assert.deepEqual([send.links[0].traceId, send.links[0].spanId], ["ab".padStart(32, "0"), "cd".padStart(16, "0")]);
    assert.deepEqual(send.links[0].attributes, [{ key: "k", value: { stringValue: "v" } }]);
    assert.deepEqual(failed.status, { message: "broken", code: 2 });
    assert.deepEqual(failed.events.map((event) => [event.name, event.attributes]), [["exception", [{ key: "exception.message", value: { stringValue: "no" } }]]]);
    for (const span of spans) assert.ok(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano));
  });
}
