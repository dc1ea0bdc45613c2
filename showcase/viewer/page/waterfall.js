// The waterfall of a trace. Only the rows in sight are in the document, however long the trace is.
// The queue wait is drawn before the span that ended it, and is no span.

import { badge, clock, count, duration, foreign, milliseconds, percent, short } from "./display.js";
import { colour } from "./colour.js";
import { criticalPath, shares } from "./critical-path.js";
import { h, put, svg } from "./element.js";
import { ask } from "./live.js";
import { spanPanel } from "./panel.js";
import { Timeline } from "./timeline.js";
import { attribute, readTrace, recordOf, rowsOf } from "./trace.js";

const ROW = 28;
/** Rows kept above and below those in sight. */
const SPARE = 6;
const MOST_HEIGHT = 4000;
const REVISIT = 1000;
const MOST_REASONS = 5;
const ZOOM = 1.6;

export function traceView(main, id, firstSpan) {
  let trace;
  let version = "";
  let timeline;
  let rows = [];
  let selected;
  let opened;
  let wanted = firstSpan;
  let compressed = false;
  let showPath = true;
  let path = new Map();
  let pieces = [];
  let matches = [];
  let closed = false;
  let asking = false;
  let timer;
  const folded = new Set();
  const shown = new Map();

  const head = h("header", { class: "trace-head" });
  const summary = h("div", { class: "where" });
  const find = h("input", { type: "search", placeholder: "find in this trace", "aria-label": "Find in this trace", "data-search": "", on: { input: () => search(), keydown: (event) => { if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1); } } });
  const found = h("span", { class: "found", role: "status" });
  const gapsButton = toggle("Compress gaps", "g", () => { compressed = !compressed; retime(); });
  const pathButton = toggle("Critical path", "c", () => { showPath = !showPath; draw(true); });
  const tools = h("div", { class: "tools", role: "toolbar", "aria-label": "Waterfall" }, find, found, gapsButton, pathButton,
    action("−", "Zoom out", () => zoom(1 / ZOOM)), action("+", "Zoom in", () => zoom(ZOOM)), action("All", "Show all of the time", () => zoom(0)));
  const ruler = h("div", { class: "ruler", "aria-hidden": "true" });
  const canvas = h("div", { class: "canvas" });
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const body = h("div", { class: "rows", tabindex: "0", role: "tree", "aria-label": "Spans", on: { scroll: () => draw(), wheel } }, canvas);
  const side = h("aside", { class: "panel", hidden: true, "aria-label": "Span" });
  const waterfall = h("div", { class: "waterfall" }, h("div", { class: "scale" }, h("div", { class: "names-head" }, "Service and span"), ruler), body);
  main.className = "trace";
  put(main, h("p", { class: "empty" }, "Loading …"));
  drag(ruler);
  drag(body);
  const observer = new ResizeObserver(() => { if (trace) draw(true); });
  observer.observe(body);
  load();

  function toggle(label, key, change) {
    const button = h("button", { type: "button", "aria-pressed": "false", "aria-keyshortcuts": key, on: { click: change } }, label);
    return button;
  }

  function action(sign, label, act) {
    return h("button", { type: "button", "aria-label": label, title: label, on: { click: act } }, sign);
  }

  async function load() {
    if (asking || closed) return;
    asking = true;
    clearTimeout(timer);
    try {
      const answer = await ask(`/api/live/traces/${id}?version=${encodeURIComponent(version)}`);
      if (closed) return;
      if (answer) show(answer);
      // Of a trace that still grows, or whose other half may come, more is to be heard without news too.
      const expects = trace && (!trace.isQuiet || trace.joins.some((join) => join.state === "waiting"));
      if (expects) timer = setTimeout(load, REVISIT);
    } catch (error) {
      if (closed) return;
      if (!trace) {
        put(main, h("div", { class: "empty" },
          h("h1", {}, error.status === 404 ? "This trace is not here" : "The trace cannot be shown"),
          h("p", {}, error.status === 404
            ? "It was not sampled or sent, has not arrived yet, or had to make room for newer ones. It appears by itself if it comes."
            : error.message),
          h("p", {}, h("code", {}, id)),
          h("p", {}, h("a", { href: "/" }, "To the traces"))));
      }
      timer = setTimeout(load, 2 * REVISIT);
    } finally {
      asking = false;
    }
  }

  function show(detail) {
    version = detail.version;
    const first = !trace;
    trace = readTrace(detail);
    trace.isQuiet = detail.isQuiet;
    trace.joins = detail.joins;
    pieces = criticalPath(trace);
    path = new Map();
    for (const piece of pieces) path.set(piece.span.id, [...(path.get(piece.span.id) ?? []), piece]);
    const window = timeline && { from: timeline.from, to: timeline.to };
    timeline = new Timeline(trace, compressed);
    if (window) Object.assign(timeline, window);
    gapsButton.disabled = timeline.gaps.length === 0;
    rows = rowsOf(trace, folded);
    fillHead();
    fillSummary();
    if (first) put(main, head, summary, tools, h("div", { class: "split" }, waterfall, side));
    const keep = wanted || selected?.id;
    selected = trace.byId.get(keep) ?? rows[0];
    if (wanted && trace.byId.has(wanted)) {
      const span = trace.byId.get(wanted);
      wanted = undefined;
      open(span, false);
    } else if (opened) {
      const span = trace.byId.get(opened.id);
      if (span) open(span, false);
    }
    search();
    draw(true);
  }

  function fillHead() {
    const root = trace.roots[0];
    document.title = `${short(root?.name ?? id, 60)} · Throughline`;
    const errors = trace.spans.filter((span) => span.isError).length;
    const byState = { orphaned: [], waiting: [], joined: [] };
    for (const join of trace.joins) byState[join.state].push(join);
    const state = ["orphaned", "waiting", "joined"].find((state) => byState[state].length);
    const told = byState.orphaned.concat(byState.waiting);
    put(head,
      h("p", { class: "back" }, h("a", { href: "/" }, "← Traces")),
      h("h1", {}, foreign(root?.name || "(no name)", 120)),
      h("p", { class: "facts" },
        badge(state, state ? ` ${byState.joined.length}/${trace.joins.length}` : ""),
        errors > 0 && h("span", { class: "badge error" }, h("span", { "aria-hidden": "true" }, "✕"), ` ${count(errors, "error")}`),
        h("span", {}, count(trace.spans.length, "span")),
        h("span", {}, duration(trace.end - trace.start)),
        h("span", {}, clock(Number((trace.base + BigInt(Math.round(trace.start))) / 1000000n))),
        h("span", { class: "chips" }, trace.services.slice(0, 12).map((service) => h("span", { class: `chip ${colour(service)}` }, foreign(service, 40)))),
        trace.services.length > 12 && h("span", {}, `and ${trace.services.length - 12} more`),
        h("code", { class: "trace-id" }, id)),
      told.length > 0 && h("ul", { class: "reasons" },
        told.slice(0, MOST_REASONS).map((join) => h("li", { class: join.state },
          h("a", { href: `#${join.spanId}` }, foreign(`${join.isSend ? "send" : "process"} ${join.topic}`, 80)), ": ",
          foreign(join.reason, 400),
          join.other && [" ", h("a", { href: `/traces/${join.other.traceId}#${join.other.spanId}` }, "See the other half →")])),
        told.length > MOST_REASONS && h("li", {}, `and ${told.length - MOST_REASONS} more`)));
  }

  function fillSummary() {
    const whole = pieces.reduce((sum, piece) => sum + piece.end - piece.start, 0);
    const top = shares(pieces).slice(0, 4);
    put(summary,
      h("h2", {}, "Where the time went"),
      h("ol", {}, top.map(({ span, isWait, time }) => h("li", {},
        h("a", { href: `#${span.id}`, class: isWait ? "waits" : colour(span.service) },
          h("b", {}, percent(time, whole)), " ", duration(time), " ",
          isWait ? "in the queue before " : "", foreign(span.service, 40), ": ", foreign(span.name, 60))))));
  }

  function retime() {
    timeline = new Timeline(trace, compressed);
    gapsButton.setAttribute("aria-pressed", String(compressed));
    draw(true);
  }

  function zoom(factor, around) {
    if (factor === 0) timeline.place(0, 1);
    else timeline.zoom(factor, around);
    draw(true);
  }

  function wheel(event) {
    const isPan = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!event.ctrlKey && !isPan) return;
    event.preventDefault();
    const box = ruler.getBoundingClientRect();
    if (event.ctrlKey) zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    else {
      timeline.pan((event.deltaX || event.deltaY) / box.width);
      draw(true);
    }
  }

  function drag(place) {
    place.addEventListener("pointerdown", (down) => {
      if (down.button !== 0 || down.pointerType === "touch" || down.target.closest("a, button") || timeline.to - timeline.from >= 1) return;
      let last = down.clientX;
      const width = ruler.getBoundingClientRect().width;
      const move = (event) => {
        timeline.pan((last - event.clientX) / width);
        last = event.clientX;
        draw(true);
      };
      const up = () => {
        window.removeEventListener("pointermove", move);
        window.removeEventListener("pointerup", up);
      };
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", up);
    });
  }

  /** Puts the rows in sight into the document; all of them anew when `again`. */
  function draw(again = false) {
    if (!trace) return;
    canvas.style.height = `${rows.length * ROW}px`;
    const first = Math.max(0, Math.floor(body.scrollTop / ROW) - SPARE);
    // Never all of them, whatever the layout comes to.
    const height = Math.min(body.clientHeight, MOST_HEIGHT);
    const last = Math.min(rows.length, Math.ceil((body.scrollTop + height) / ROW) + SPARE);
    if (again) {
      shown.clear();
      put(canvas, lines);
      drawRuler();
    }
    for (const [at, element] of shown) {
      if (at < first || at >= last) {
        element.remove();
        shown.delete(at);
      }
    }
    for (let at = first; at < last; at += 1) {
      if (shown.has(at)) continue;
      const element = row(rows[at], at);
      shown.set(at, element);
      canvas.append(element);
    }
    drawLines(first, last);
    pathButton.setAttribute("aria-pressed", String(showPath));
    if (selected && shown.has(rows.indexOf(selected))) body.setAttribute("aria-activedescendant", `span-${selected.id}`);
    else body.removeAttribute("aria-activedescendant");
  }

  function drawRuler() {
    const ticks = compressed
      ? timeline.pieces.map((piece) => ({ x: timeline.x(piece.from), text: duration(piece.from - timeline.start) }))
      : (ruler.clientWidth > 400 ? [0, 0.2, 0.4, 0.6, 0.8] : [0, 0.5]).map((x) => ({ x, text: duration(timeline.time(x) - timeline.start) }));
    put(ruler,
      ...ticks.filter(({ x }) => x >= 0 && x < 0.98).map(({ x, text }) => h("span", { class: "tick-mark", style: { left: `${x * 100}%` } }, text)),
      ...timeline.pieces.filter((piece) => piece.isGap).map((piece) => h("span", {
        class: "gap", title: `${duration(piece.to - piece.from)} in which no span ran`,
        style: { left: `${timeline.x(piece.from) * 100}%`, width: `${(timeline.x(piece.to) - timeline.x(piece.from)) * 100}%` },
      }, "⋯")));
  }

  function bar(start, end) {
    const left = Math.max(-0.1, Math.min(1.1, timeline.x(start)));
    const right = Math.max(-0.1, Math.min(1.1, timeline.x(end)));
    return { left, right, style: { left: `${left * 100}%`, width: `${(right - left) * 100}%` } };
  }

  function row(span, at) {
    const own = bar(span.start, span.end);
    const width = ruler.clientWidth || 600;
    const isWide = width > 300;
    const spent = duration(span.end - span.start);
    const record = recordOf(span);
    const cells = [];
    let label = span.endsBeforeItStarts ? "ends before it starts" : spent;
    let left = own.left;
    if (span.wait) {
      const wait = bar(span.wait.start, span.start);
      const text = `${span.wait.isEstimate ? "≈ " : ""}queue wait ${milliseconds(span.wait.ms)}`;
      const fits = (wait.right - Math.max(0, wait.left)) * width > 9 * text.length;
      if (!fits && isWide) label = `${label} · ${text}`;
      left = Math.min(left, wait.left);
      cells.push(h("span", {
        class: "queue", style: wait.style, data: { queueWaitMs: String(span.wait.ms) },
        title: waitTitle(span.wait),
      }, fits && h("span", { class: "queue-label", style: { "margin-left": `calc(${Math.max(0, -wait.left) * width}px + 6px)` } }, text)));
    }
    cells.push(h("span", { class: `bar ${colour(span.service)}${span.isError ? " error" : ""}`, style: own.style }));
    if (showPath) {
      for (const piece of path.get(span.id) ?? []) {
        cells.push(h("span", { class: "critical", style: bar(piece.start, piece.end).style }));
      }
    }
    for (const event of span.events.slice(0, 50)) {
      cells.push(h("span", {
        class: `event${event.name === "exception" ? " exception" : ""}`,
        style: { left: `${timeline.x(event.at) * 100}%` },
        title: `${short(event.name ?? "", 80)} at ${duration(event.at - trace.start)}`,
      }));
    }
    const notes = [];
    if (span.isError) notes.push(h("span", { class: "is-error" }, `✕ ${short(String(attribute(span, "error.type") ?? "error"), 40)}`));
    if (span.attempt) notes.push(h("span", { class: "attempt" }, `attempt ${span.attempt.number} of ${span.attempt.of}`));
    const resend = attribute(span, "http.request.resend_count");
    if (resend !== undefined) notes.push(h("span", { class: "attempt" }, `try ${Number(resend) + 1}`));
    if (span.wait?.isSkewed) notes.push(h("span", { class: "skew", title: "The record's time lies after the start of its processing: the two clocks disagree" }, "clock skew"));
    if (span.isParentMissing) notes.push(h("span", { class: "skew" }, "parent not received"));
    const join = span.joins.find((join) => join.state !== "joined");
    if (join) notes.push(badge(join.state));
    for (const [links, sign, word] of [[span.far, "⇠", "linked"], [span.backlinks.filter((link) => link.traceId !== id), "⇢", "linked by"]]) {
      const link = links[0];
      if (link) {
        notes.push(h("a", { class: "far", tabindex: "-1", href: `/traces/${link.traceId}#${link.spanId}`, title: `${word}, in trace ${link.traceId}` },
          `${sign} `, foreign(link.name || link.traceId, 40), links.length > 1 && ` +${links.length - 1}`));
      }
    }
    // Beside the bar, on the side that has room; on it, if neither has.
    const right = Math.max(0, Math.min(1, own.right));
    left = Math.max(0, Math.min(1, left));
    const kept = isWide ? notes : [];
    const room = 14 + 7 * label.length + kept.reduce((sum, note) => sum + 22 + 7 * note.textContent.length, 0);
    const isAfter = (1 - right) * width > room;
    const isOver = !isAfter && left * width < room;
    const side = isOver ? { right: "6px" } : isAfter ? { left: `calc(${right * 100}% + 6px)` } : { right: `calc(${(1 - left) * 100}% + 6px)` };
    cells.push(h("span", { class: isOver ? "label over" : "label", style: side }, h("span", {}, label), kept));
    const depth = Math.min(span.depth, 16);
    const isFolded = folded.has(span.id);
    return h("div", {
      class: `row${span === selected ? " selected" : ""}${matches.includes(span) ? " match" : ""}`,
      id: `span-${span.id}`, role: "treeitem", "aria-level": String(span.depth + 1),
      "aria-posinset": String(at + 1), "aria-setsize": String(rows.length),
      "aria-selected": String(span === selected),
      "aria-expanded": span.children.length ? String(!isFolded) : undefined,
      "aria-label": describe(span, spent),
      style: { top: `${at * ROW}px` },
      on: { click: (event) => { if (!event.target.closest("a, button")) { select(span); open(span); } } },
    },
    h("div", { class: "name", style: { "--depth": String(depth) } },
      span.children.length > 0
        ? h("span", { class: "fold", "aria-hidden": "true", on: { click: (event) => { event.stopPropagation(); fold(span, !isFolded); } } }, isFolded ? "▸" : "▾")
        : h("span", { class: "fold" }),
      h("span", { class: `dot ${colour(span.service)}` }),
      h("span", { class: "service" }, foreign(span.service, 40)), " ",
      h("span", { class: "span-name" }, foreign(span.name || "(no name)", 100)), " ",
      h("span", { class: "kind" }, span.kind),
      record && isWide && h("span", { class: "record" }, foreign(record, 40))),
    h("div", { class: "track" }, cells));
  }

  function drawLines(first, last) {
    put(lines);
    const width = ruler.clientWidth;
    lines.setAttribute("width", String(width));
    lines.setAttribute("height", String(rows.length * ROW));
    const place = new Map();
    for (let at = 0; at < rows.length; at += 1) place.set(rows[at], at);
    for (let at = first; at < last; at += 1) {
      const span = rows[at];
      const ends = span.links.map((link) => trace.byId.get(link.spanId)).concat(span.cause ?? []);
      for (const other of new Set(ends)) {
        if (!other || !place.has(other) || other === span) continue;
        const from = span.wait?.start ?? span.start;
        // From where the record was sent, if that lies within the sending span.
        const x1 = timeline.x(Math.max(other.start, Math.min(other.end, from))) * width;
        const y1 = place.get(other) * ROW + ROW / 2;
        const x2 = timeline.x(from) * width;
        const y2 = at * ROW + ROW / 2;
        const cx = Math.max(-100, Math.min(width + 100, x1));
        lines.append(svg("path", { d: `M${cx},${y1 + 8} C${cx},${(y1 + y2) / 2} ${x2},${(y1 + y2) / 2} ${x2},${y2 - 8}`, class: "link-line" }));
      }
    }
  }

  function describe(span, spent) {
    const parts = [`${short(span.service, 40)}: ${short(span.name, 100)}, ${span.kind}, ${spent}`];
    if (span.wait) parts.push(`queue wait ${milliseconds(span.wait.ms)}`);
    if (span.isError) parts.push("error");
    if (span.attempt) parts.push(`attempt ${span.attempt.number} of ${span.attempt.of}`);
    for (const join of span.joins) if (join.state !== "joined") parts.push(`${join.state}: ${short(join.reason, 300)}`);
    return parts.join(", ");
  }

  function fold(span, folds) {
    if (folds) folded.add(span.id);
    else folded.delete(span.id);
    rows = rowsOf(trace, folded);
    if (!rows.includes(selected)) selected = span;
    draw(true);
  }

  function select(span) {
    if (!span) return;
    for (let up = span.parent; up; up = up.parent) folded.delete(up.id);
    rows = rowsOf(trace, folded);
    selected = span;
    const top = rows.indexOf(span) * ROW;
    if (top < body.scrollTop) body.scrollTop = Math.max(0, top - ROW);
    else if (top + ROW > body.scrollTop + body.clientHeight) body.scrollTop = top + 2 * ROW - body.clientHeight;
    draw(true);
  }

  function open(span, remember = true) {
    opened = span;
    if (remember) history.replaceState(undefined, "", `/traces/${id}#${span.id}`);
    side.hidden = false;
    put(side, spanPanel(span, trace, id, closePanel));
    main.classList.add("with-panel");
    select(span);
  }

  function closePanel() {
    opened = undefined;
    side.hidden = true;
    main.classList.remove("with-panel");
    history.replaceState(undefined, "", `/traces/${id}`);
    body.focus({ preventScroll: true });
    draw(true);
  }

  function search() {
    const text = find.value.trim().toLowerCase();
    matches = !text ? [] : trace.spans.filter((span) =>
      span.name.toLowerCase().includes(text) || span.service.toLowerCase().includes(text) || span.id === text ||
      span.attributes.some((pair) => pair.key.toLowerCase().includes(text) || JSON.stringify(pair.value ?? "").toLowerCase().includes(text)));
    found.textContent = text ? count(matches.length, "span") : "";
    draw(true);
  }

  function nextMatch(step) {
    if (!matches.length) return;
    const order = rowsOf(trace, new Set()).filter((span) => matches.includes(span));
    const at = order.indexOf(selected);
    select(order[(at + step + order.length) % order.length]);
  }

  return {
    title: "Trace · Throughline",
    changed() { load(); },
    show(spanId) {
      const span = trace?.byId.get(spanId);
      if (span) open(span);
    },
    key(event) {
      if (!trace) return false;
      const at = rows.indexOf(selected);
      const onPanel = side.contains(event.target);
      switch (event.key) {
        case "j": case "ArrowDown": if (onPanel && event.key !== "j") return false; select(rows[Math.min(rows.length - 1, at + 1)]); break;
        case "k": case "ArrowUp": if (onPanel && event.key !== "k") return false; select(rows[Math.max(0, at - 1)]); break;
        case "Home": select(rows[0]); break;
        case "End": select(rows.at(-1)); break;
        case "Enter": if (event.target.closest("a, button, summary")) return false; open(selected); side.querySelector("button")?.focus(); break;
        case "ArrowLeft": if (selected.children.length && !folded.has(selected.id)) fold(selected, true); else if (selected.parent) select(selected.parent); break;
        case "ArrowRight": if (folded.has(selected.id)) fold(selected, false); else if (selected.children[0]) select(selected.children[0]); break;
        case "Escape": if (!opened) return false; closePanel(); break;
        case "g": if (!gapsButton.disabled) gapsButton.click(); break;
        case "c": pathButton.click(); break;
        case "+": case "=": zoom(ZOOM); break;
        case "-": zoom(1 / ZOOM); break;
        case "0": zoom(0); break;
        case "h": timeline.pan(-0.2); draw(true); break;
        case "l": timeline.pan(0.2); draw(true); break;
        default: return false;
      }
      return true;
    },
    close() {
      closed = true;
      clearTimeout(timer);
      observer.disconnect();
    },
  };
}

function waitTitle(wait) {
  const from = wait.isEstimate ? "from the end of the send; the span says nothing itself"
    : wait.clock === "LogAppendTime" ? "from the broker's time of the record (LogAppendTime)"
      : wait.clock === "CreateTime" ? "from the client's send (CreateTime)" : "as the span says";
  return `The record waited ${milliseconds(wait.ms)} in the queue, counted ${from}`;
}
