// Queue waits over time, a point for each record, on a logarithmic scale; each leads to its trace.
// The table below says the same in numbers, and is what screen readers and keyboards use.

import { clock, foreign, milliseconds, short } from "./display.js";
import { h, put, svg } from "./element.js";
import { ask } from "./live.js";
import { windowChoice } from "./topology.js";

const WIDTH = 1000;
const HEIGHT = 360;
const LEFT = 70;
const BOTTOM = 34;
const SERIES = 8;
const AGAIN = 2000;

export function queueWaitView(main) {
  let seconds = 300;
  let closed = false;
  let timer;
  let shown = false;
  const chart = h("div", { class: "picture" });
  const table = h("div", { class: "table" });
  put(main,
    h("div", { class: "view-head" }, h("h1", {}, "Queue wait"), windowChoice(seconds, (chosen) => { seconds = chosen; load(); })),
    h("p", { class: "muted" }, "How long each record waited between its send and the start of its processing."), chart, table);
  load();

  async function load() {
    clearTimeout(timer);
    try {
      const answer = await ask(`/api/live/queue-wait?seconds=${seconds}`);
      if (!closed) show(answer);
    } catch (error) {
      if (!closed && !shown) put(chart, h("p", { class: "failure", role: "alert" }, `The waits cannot be shown: ${error.message}`));
    }
    if (!closed) timer = setTimeout(load, AGAIN);
  }

  function show({ waits, nowMs, seconds: window }) {
    shown = true;
    if (waits.length === 0) {
      put(chart, h("p", { class: "empty" }, "No record's wait was measured in this time. Process spans say it in kafka.record.queue_time_ms."));
      put(table);
      return;
    }
    const series = new Map();
    for (const wait of waits) {
      const key = JSON.stringify([wait.topic, wait.group]);
      if (!series.has(key)) series.set(key, []);
      series.get(key).push(wait);
    }
    const ordered = [...series].sort(([one], [other]) => (one < other ? -1 : 1));
    put(chart, draw(ordered, nowMs, window));
    const focused = document.activeElement?.dataset?.series;
    put(table, h("table", {},
      h("thead", {}, h("tr", {}, ["Topic", "Group", "Records", "p50", "p95", "Longest"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, ordered.map(([key, points], index) => {
        const sorted = [...points].sort((one, other) => one.waitMs - other.waitMs);
        const rank = (share) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
        const longest = sorted.at(-1);
        return h("tr", {},
          h("td", {}, svg("svg", { width: "16", height: "16", class: `key series-${index % SERIES}`, "aria-hidden": "true" }, mark(8, 8, index)), " ", foreign(points[0].topic, 60)),
          h("td", {}, foreign(points[0].group || "(none named)", 60)),
          h("td", {}, points.length.toLocaleString("en")),
          h("td", {}, milliseconds(rank(0.5).waitMs)), h("td", {}, milliseconds(rank(0.95).waitMs)),
          h("td", {}, h("a", { data: { series: key }, href: `/traces/${longest.traceId}#${longest.spanId}` }, `${milliseconds(longest.waitMs)} at ${clock(longest.atMs)}`)));
      }))));
    if (focused) [...table.querySelectorAll("a")].find((link) => link.dataset.series === focused)?.focus();
  }

  return { title: "Queue wait · Throughline", close() { closed = true; clearTimeout(timer); } };
}

function draw(series, now, window) {
  const most = Math.max(10, ...series.flatMap(([, points]) => points.map((point) => point.waitMs)));
  const top = Math.ceil(Math.log10(most + 1));
  const x = (at) => LEFT + (1 - (now - at) / (window * 1000)) * (WIDTH - LEFT - 12);
  const y = (ms) => HEIGHT - BOTTOM - (Math.log10(ms + 1) / top) * (HEIGHT - BOTTOM - 14);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", "aria-hidden": "true" });
  for (let power = 0; power <= top; power += 1) {
    const value = power === 0 ? 0 : 10 ** power;
    picture.append(svg("line", { x1: String(LEFT), x2: String(WIDTH - 12), y1: String(y(value)), y2: String(y(value)), class: "grid" }),
      svg("text", { x: String(LEFT - 8), y: String(y(value) + 5), class: "axis end" }, value === 0 ? "0" : milliseconds(value)));
  }
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const at = now - (1 - share) * window * 1000;
    picture.append(svg("text", { x: String(x(at)), y: String(HEIGHT - 10), class: `axis ${share === 1 ? "end" : share === 0 ? "start" : ""}` }, clock(at).slice(0, 8)));
  }
  series.forEach(([, points], index) => {
    const group = svg("g", { class: `series-${index % SERIES}` });
    for (const point of points) {
      const at = Math.min(WIDTH - 12, x(point.atMs));
      if (at < LEFT) continue;
      group.append(svg("a", { href: `/traces/${point.traceId}#${point.spanId}`, tabindex: "-1", class: "point" },
        svg("title", {}, `${short(point.topic, 60)}, ${short(point.group, 60)}: ${milliseconds(point.waitMs)} at ${clock(point.atMs)}`),
        mark(at, y(point.waitMs), index)));
    }
    picture.append(group);
  });
  return picture;
}

/** A form as well as a colour for each series. */
function mark(x, y, index) {
  const at = (points) => svg("polygon", { points: points.map(([dx, dy]) => `${x + dx},${y + dy}`).join(" ") });
  switch (index % 4) {
    case 0: return svg("circle", { cx: String(x), cy: String(y), r: "5" });
    case 1: return at([[0, -6], [6, 5], [-6, 5]]);
    case 2: return at([[-5, -5], [5, -5], [5, 5], [-5, 5]]);
    default: return at([[0, -7], [6, 0], [0, 7], [-6, 0]]);
  }
}
