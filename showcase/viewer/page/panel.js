// One span: what it says, by kind of saying; its links, events and logs; and ways to take it away.

import { clock, count, dotted, duration, foreign, milliseconds, short, visible } from "./display.js";
import { colour } from "./colour.js";
import { h } from "./element.js";
import { recordOf, valueOf, attribute } from "./trace.js";

/** Longer values are cut until all of it is asked for. */
const CUT = 1000;
const MOST_LOGS = 200;

const GROUPS = [
  ["Messaging", /^(messaging|kafka)\./],
  ["HTTP", /^(http|url|network|server|client|user_agent|net)\./],
  ["Database", /^db\./],
  ["Application", /^app\./],
  ["Error", /^(error|exception)\./],
  ["Other", /./s],
];

export function spanPanel(span, trace, traceId, close) {
  const groups = new Map(GROUPS.map(([name]) => [name, []]));
  for (const pair of span.attributes) {
    const [name] = GROUPS.find(([, pattern]) => pattern.test(pair.key)) ?? ["Other"];
    groups.get(name).push(pair);
  }
  const record = recordOf(span);
  const key = attribute(span, "messaging.kafka.message.key");
  const copied = h("span", { class: "copied", role: "status" });
  return h("div", { class: "panel-content" },
    h("div", { class: "panel-head" },
      h("h2", {}, foreign(span.name || "(no name)", 200)),
      h("button", { type: "button", "aria-label": "Close the span", on: { click: close } }, "✕")),
    h("p", { class: "facts" },
      h("span", { class: `chip ${colour(span.service)}` }, foreign(span.service, 60)),
      h("span", { class: "kind" }, span.kind),
      h("span", {}, duration(span.end - span.start)),
      h("span", {}, `self ${duration(span.selfTime)}`),
      h("span", {}, `at ${duration(span.start - trace.start)}`)),
    span.isError && h("p", { class: "failure" }, "✕ Error", span.message && [": ", foreign(span.message, 500)]),
    span.wait && h("p", { class: "wait" }, h("b", {}, `${span.wait.isEstimate ? "≈ " : ""}${milliseconds(span.wait.ms)}`), " in the queue",
      span.wait.clock && ` (${short(span.wait.clock, 40)})`, span.wait.isSkewed && ", clock skew"),
    record && h("p", {}, "Record ", h("code", {}, foreign(record, 200)), key !== undefined && [" key ", h("code", {}, foreign(String(key), 200))]),
    span.attempt && h("p", {}, `Attempt ${span.attempt.number} of ${span.attempt.of} on this record.`),
    span.isParentMissing && h("p", {}, "Its parent, ", h("code", {}, short(span.parentId, 32)), ", was not received."),
    span.joins.map((join) => join.state !== "joined" && h("p", { class: `reason ${join.state}` }, foreign(`${join.state}: ${join.reason}`, 400),
      join.other && [" ", h("a", { href: `/traces/${join.other.traceId}#${join.other.spanId}` }, "See the other half →")])),
    links(span, trace, traceId),
    h("p", { class: "actions" },
      h("button", { type: "button", on: { click: () => copy(JSON.stringify(span.raw, undefined, 2)) } }, "Copy as JSON"),
      h("button", { type: "button", on: { click: () => copy(`${location.origin}/traces/${traceId}#${span.id}`) } }, "Copy link"),
      copied),
    [...groups].map(([name, pairs]) => pairs.length > 0 && section(name, pairs)),
    span.events.length > 0 && h("details", { open: true }, h("summary", {}, count(span.events.length, "event")),
      span.events.slice(0, 100).map((event) => h("div", { class: `event-entry${event.name === "exception" ? " failure" : ""}` },
        h("p", {}, h("b", {}, foreign(event.name ?? "", 200)), ` at ${duration(event.at - trace.start)}`), table(event.attributes)))),
    logs(span, trace),
    section("Resource", span.resource, span.attributes.length > 0),
    h("dl", { class: "ids" },
      h("div", {}, h("dt", {}, "Span id"), h("dd", {}, h("code", {}, span.id))),
      span.parentId && h("div", {}, h("dt", {}, "Parent"), h("dd", {}, h("code", {}, span.parentId))),
      h("div", {}, h("dt", {}, "Scope"), h("dd", {}, foreign([span.scope?.name, span.scope?.version].filter(Boolean).join(" ") || "none", 200)))));

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      copied.textContent = "copied";
    } catch {
      copied.textContent = "the browser does not allow it";
    }
  }
}

function links(span, trace, traceId) {
  const entry = (link, word) => {
    const isNear = link.traceId === traceId;
    const other = isNear ? trace.byId.get(link.spanId) : undefined;
    const name = other ? `${other.service}: ${other.name}` : link.name ? `${link.service}: ${link.name}` : "not here";
    return h("li", {}, `${word} `,
      h("a", { href: isNear ? `#${link.spanId}` : `/traces/${link.traceId}#${link.spanId}` }, foreign(name, 120)),
      !isNear && [" in trace ", h("code", {}, short(link.traceId, 8).replace("…", ""))]);
  };
  const known = new Map(span.far.map((link) => [link.traceId + link.spanId, link]));
  const entries = [
    ...span.links.slice(0, 100).map((link) => entry(known.get(link.traceId + link.spanId) ?? link, "→ links")),
    ...span.backlinks.slice(0, 100).map((link) => entry(link, "← linked by")),
  ];
  return entries.length > 0 && h("ul", { class: "links", "aria-label": "Links" }, entries);
}

function section(name, pairs, isFolded = false) {
  return h("details", { open: !isFolded }, h("summary", {}, `${name} (${pairs.length})`), table(pairs));
}

function table(pairs) {
  return h("table", {}, h("tbody", {}, pairs.slice(0, 500).map((pair) =>
    h("tr", {}, h("th", { scope: "row" }, dotted(pair.key)), h("td", {}, value(pair.value))))));
}

function value(any) {
  const plain = valueOf(any);
  const text = typeof plain === "string" ? plain : JSON.stringify(plain);
  if (text.length <= CUT) return h("bdi", {}, visible(text));
  const whole = h("bdi", {}, visible(text.slice(0, CUT)), "…");
  const button = h("button", { type: "button", on: { click: () => { whole.textContent = visible(text); button.remove(); } } },
    `all ${text.length.toLocaleString("en")} characters`);
  return [whole, " ", button];
}

function logs(span, trace) {
  if (span.logs.length === 0) {
    return trace.logs.length > 0 && h("p", { class: "muted" }, `No logs of this span; the trace has ${trace.logs.length}.`);
  }
  return h("details", { open: true }, h("summary", {}, count(span.logs.length, "log record")),
    h("ol", { class: "logs" }, span.logs.slice(0, MOST_LOGS).map((log) => {
      const body = valueOf(log.body);
      return h("li", { class: log.severityNumber >= 17 ? "failure" : log.severityNumber >= 13 ? "warning" : "" },
        h("time", {}, clock(Number(BigInt(log.timeUnixNano) / 1000000n))), " ",
        h("b", {}, foreign(log.severityText || "", 20)), " ",
        h("bdi", {}, visible((typeof body === "string" ? body : JSON.stringify(body)).slice(0, CUT))),
        log.attributes?.length > 0 && h("details", {}, h("summary", {}, "attributes"), table(log.attributes)));
    })),
    span.logs.length > MOST_LOGS && h("p", {}, `and ${span.logs.length - MOST_LOGS} more`));
}
