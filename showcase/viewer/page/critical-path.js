// The critical path: the chain of work and waiting that ends with the trace's last span. It goes
// *through* the queue: from a process span back over the record's wait to the span that sent it.

/** Pieces from first to last: span, start, end, and whether it is the span's queue wait. */
export function criticalPath(trace) {
  const pieces = [];
  const add = (span, start, end, isWait) => { if (end > start) pieces.push({ span, start, end, isWait }); };
  const onPath = new Set();
  let span = trace.spans.reduce((last, span) => (!last || span.end > last.end ? span : last), undefined);
  let until = span?.end;
  while (span && !onPath.has(span)) {
    onPath.add(span);
    within(span, until, add, onPath);
    const before = span.cause ?? span.parent;
    until = Math.min(until, span.start);
    if (span.wait && span.wait.ms > 0 && (span.cause || !before)) {
      // Not further back than the sender began: clocks of two machines may disagree.
      const start = before ? Math.max(span.wait.start, before.start) : span.wait.start;
      add(span, start, until, true);
      until = Math.min(until, start);
    }
    if (!before) break;
    until = Math.min(until, before.end > before.start ? Math.max(before.start, until) : until);
    span = before;
  }
  pieces.sort((one, other) => one.start - other.start);
  return pieces;
}

/** The path inside a span up to a time: back from child to child that it waited for. */
function within(span, until, add, onPath) {
  const open = [{ span, until: Math.min(until, span.end) }];
  while (open.length) {
    const { span, until } = open.pop();
    let cursor = until;
    const children = span.children.filter((child) => child.kind !== "consumer" && !onPath.has(child));
    children.sort((one, other) => other.end - one.end);
    for (const child of children) {
      if (child.end > cursor || child.end <= span.start || child.end <= child.start) continue;
      add(span, child.end, cursor, false);
      onPath.add(child);
      open.push({ span: child, until: child.end });
      cursor = Math.max(span.start, child.start);
    }
    add(span, span.start, cursor, false);
  }
}

/** The pieces by span, largest share first. */
export function shares(pieces) {
  const bySpan = new Map();
  for (const { span, start, end, isWait } of pieces) {
    const key = `${span.id} ${isWait}`;
    const share = bySpan.get(key) ?? { span, isWait, time: 0 };
    share.time += end - start;
    bySpan.set(key, share);
  }
  return [...bySpan.values()].sort((one, other) => other.time - one.time);
}
