// Spans to send, as OTLP JSON.

import { randomBytes } from "node:crypto";

export const id = (bytes) => randomBytes(bytes).toString("hex");

const text = (value) => typeof value === "number" ? { intValue: String(value) } : typeof value === "boolean" ? { boolValue: value } : { stringValue: value };

export const attributes = (values) => Object.entries(values).map(([key, value]) => ({ key, value: text(value) }));

/** A span of `ms` milliseconds that begins `at` milliseconds before now. */
export function span(traceId, name, { at = 1000, ms = 100, parent, kind = 1, spanId = id(8), values = {}, ...more } = {}) {
  const start = BigInt(Date.now() - at) * 1000000n;
  return {
    traceId, spanId, parentSpanId: parent, name, kind,
    startTimeUnixNano: String(start), endTimeUnixNano: String(start + BigInt(Math.round(ms * 1e6))),
    attributes: attributes(values), ...more,
  };
}

/** Sends spans of one service; all must be taken. */
export async function send(otlp, service, spans, path = "traces") {
  const resource = { attributes: attributes({ "service.name": service }) };
  const scope = { name: "tests" };
  const body = path === "traces"
    ? { resourceSpans: [{ resource, scopeSpans: [{ scope, spans }] }] }
    : { resourceLogs: [{ resource, scopeLogs: [{ scope, logRecords: spans }] }] };
  const response = await fetch(`${otlp}/v1/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.status !== 200 || answer.partialSuccess?.rejectedSpans > 0) throw new Error(`${response.status} ${JSON.stringify(answer)}`);
}
