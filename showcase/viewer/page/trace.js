// A trace as a tree, made of what the server has: late, without a root, with clocks that disagree,
// or with parents that go round in a circle.

const KINDS = ["internal", "internal", "server", "client", "producer", "consumer"];

/** The value of an OTLP AnyValue: text, number, boolean, or something to be written as JSON. */
export function valueOf(value) {
  if (!value) return null;
  if ("stringValue" in value) return value.stringValue;
  if ("boolValue" in value) return value.boolValue;
  if ("intValue" in value) {
    const number = Number(value.intValue);
    return Number.isSafeInteger(number) ? number : value.intValue;
  }
  if ("doubleValue" in value) return value.doubleValue;
  if ("bytesValue" in value) return `${value.bytesValue} (base64)`;
  if ("arrayValue" in value) return (value.arrayValue.values ?? []).map(valueOf);
  // As pairs: a key may be `__proto__`, or there twice.
  if ("kvlistValue" in value) return (value.kvlistValue.values ?? []).map((pair) => [pair.key, valueOf(pair.value)]);
  return null;
}

/** The value of the first attribute with this key. */
export function attribute(span, key) {
  const pair = span.attributes.find((pair) => pair.key === key);
  return pair && valueOf(pair.value);
}

/** Times are nanoseconds since `trace.base`, which is a BigInt since the epoch. */
export function readTrace(detail) {
  const raw = [];
  for (const resourceSpans of detail.trace.resourceSpans) {
    const resource = resourceSpans.resource?.attributes ?? [];
    const named = resource.find((pair) => pair.key === "service.name");
    const service = named && typeof valueOf(named.value) === "string" ? valueOf(named.value) : "unknown_service";
    for (const scopeSpans of resourceSpans.scopeSpans) {
      for (const span of scopeSpans.spans) raw.push({ span, service, resource, scope: scopeSpans.scope });
    }
  }
  const base = raw.reduce((least, { span }) => {
    const start = BigInt(span.startTimeUnixNano);
    return least === undefined || start < least ? start : least;
  }, undefined) ?? 0n;
  const since = (text) => Number(BigInt(text ?? 0) - base);
  const spans = raw.map(({ span, service, resource, scope }) => {
    const start = since(span.startTimeUnixNano);
    const end = Math.max(start, since(span.endTimeUnixNano));
    return {
      id: span.spanId,
      parentId: span.parentSpanId ?? "",
      name: span.name ?? "",
      kind: KINDS[span.kind ?? 0] ?? "internal",
      service, resource, scope, start, end,
      endsBeforeItStarts: since(span.endTimeUnixNano) < start,
      attributes: span.attributes ?? [],
      events: (span.events ?? []).map((event) => ({ ...event, at: since(event.timeUnixNano), attributes: event.attributes ?? [] })),
      links: span.links ?? [],
      isError: span.status?.code === 2,
      message: span.status?.message ?? "",
      raw: span,
      children: [], parent: undefined, depth: 0, cause: undefined,
    };
  });
  const byId = new Map(spans.map((span) => [span.id, span]));
  const trace = { spans, byId, base, ...arrange(spans, byId) };
  for (const span of spans) {
    span.cause = causeOf(span, byId, detail);
    span.wait = waitOf(span);
    span.selfTime = selfTime(span);
  }
  group(trace);
  trace.start = spans.reduce((least, span) => Math.min(least, span.start, span.wait?.start ?? span.start), 0);
  trace.end = spans.reduce((most, span) => Math.max(most, span.end), 0);
  trace.services = [...new Set(spans.map((span) => span.service))];
  attach(trace, detail);
  return trace;
}

/** Parents and children; what hangs on a missing parent, or on itself, is a root. */
function arrange(spans, byId) {
  const roots = [];
  for (const span of spans) {
    const parent = byId.get(span.parentId);
    span.isParentMissing = span.parentId !== "" && !parent;
    if (parent && parent !== span) {
      span.parent = parent;
      parent.children.push(span);
    } else roots.push(span);
  }
  const byStart = (one, other) => one.start - other.start || one.end - other.end;
  for (const span of spans) span.children.sort(byStart);
  roots.sort(byStart);
  const reached = new Set();
  const reach = (root) => {
    const open = [root];
    while (open.length) {
      const span = open.pop();
      if (reached.has(span)) continue;
      reached.add(span);
      for (const child of span.children) {
        child.depth = span.depth + 1;
        open.push(child);
      }
    }
  };
  roots.forEach(reach);
  for (const span of spans) {
    if (reached.has(span)) continue;
    // A circle of parents: it is cut open here.
    span.parent.children = span.parent.children.filter((child) => child !== span);
    span.parent = undefined;
    span.depth = 0;
    span.isParentMissing = true;
    roots.push(span);
    reach(span);
  }
  return { roots };
}

/** The span of this trace that sent the record which a consumer span processes. */
function causeOf(span, byId) {
  if (span.kind !== "consumer") return undefined;
  if (span.parent?.kind === "producer") return span.parent;
  for (const link of span.links) {
    const linked = byId.get(link.spanId);
    if (linked && linked !== span && link.traceId === span.raw.traceId) return linked;
  }
  return undefined;
}

function waitOf(span) {
  if (span.kind !== "consumer") return undefined;
  const measured = Number(attribute(span, "kafka.record.queue_time_ms") ?? NaN);
  const isSkewed = attribute(span, "kafka.record.clock_skew") === true || measured < 0;
  if (Number.isFinite(measured)) {
    const ms = Math.max(0, measured);
    return {
      ms,
      start: span.start - ms * 1e6,
      clock: String(attribute(span, "kafka.record.timestamp_type") ?? ""),
      isSkewed,
      isEstimate: false,
    };
  }
  // Other instrumentations measure none: from the end of the send, as far as clocks agree.
  if (span.cause?.kind === "producer") {
    const ms = Math.max(0, span.start - span.cause.end) / 1e6;
    return { ms, start: span.start - ms * 1e6, clock: "", isSkewed: span.start < span.cause.start, isEstimate: true };
  }
  return undefined;
}

/** The time of a span in which none of its children ran. */
function selfTime(span) {
  let covered = 0;
  let until = span.start;
  for (const child of span.children) {
    const start = Math.max(child.start, until);
    const end = Math.min(child.end, span.end);
    if (end > start) {
      covered += end - start;
      until = end;
    }
  }
  return span.end - span.start - covered;
}

export function recordOf(span) {
  const topic = attribute(span, "messaging.destination.name");
  const partition = attribute(span, "messaging.destination.partition.id");
  const offset = attribute(span, "messaging.kafka.offset") ?? attribute(span, "messaging.kafka.message.offset");
  if (topic === undefined || partition === undefined || offset === undefined) return undefined;
  return `${topic}[${partition}]@${offset}`;
}

/** Siblings that process the same record are attempts: they are numbered and stand together. */
function group(trace) {
  const families = [trace.roots, ...trace.spans.filter((span) => span.children.length > 1).map((span) => span.children)];
  for (const siblings of families) {
    const attempts = new Map();
    for (const span of siblings) {
      if (span.kind !== "consumer") continue;
      const record = recordOf(span);
      if (record === undefined) continue;
      const key = `${record} ${attribute(span, "messaging.consumer.group.name") ?? ""}`;
      attempts.set(key, [...(attempts.get(key) ?? []), span]);
    }
    for (const spans of attempts.values()) {
      if (spans.length < 2) continue;
      spans.forEach((span, index) => { span.attempt = { number: index + 1, of: spans.length, record: recordOf(span) }; });
      const rest = siblings.filter((span) => !spans.includes(span) || span === spans[0]);
      rest.splice(rest.indexOf(spans[0]), 1, ...spans);
      siblings.splice(0, siblings.length, ...rest);
    }
  }
}

/** What the server knows of spans beyond the trace. */
function attach(trace, detail) {
  for (const span of trace.spans) {
    span.joins = [];
    span.backlinks = [];
    span.far = [];
    span.logs = [];
  }
  const to = (list, field, id) => list.forEach((item) => trace.byId.get(item[id])?.[field].push(item));
  to(detail.joins, "joins", "spanId");
  to(detail.backlinks, "backlinks", "of");
  to(detail.links, "far", "of");
  to(detail.logs, "logs", "spanId");
  trace.logs = detail.logs;
  for (const span of trace.spans) {
    for (const link of span.links) {
      if (link.traceId !== span.raw.traceId) continue;
      const other = trace.byId.get(link.spanId);
      if (other && other !== span) {
        other.backlinks.push({ of: other.id, traceId: link.traceId, spanId: span.id, service: span.service, name: span.name, isHere: true });
      }
    }
  }
}

/** Spans in the order of the tree, those under folded ones left out. */
export function rowsOf(trace, folded) {
  const rows = [];
  const open = [...trace.roots].reverse();
  while (open.length) {
    const span = open.pop();
    rows.push(span);
    if (!folded.has(span.id)) {
      for (let at = span.children.length - 1; at >= 0; at -= 1) open.push(span.children[at]);
    }
  }
  return rows;
}
