// Services and topics as a picture, columns in the order in which records and calls flow, and the
// same as a table. A click on either leads to the traces behind it.

import { count, foreign, milliseconds, short } from "./display.js";
import { colour } from "./colour.js";
import { h, put, svg } from "./element.js";
import { ask } from "./live.js";

const WIDTH = 168;
const HEIGHT = 46;
const COLUMN = 330;
const LINE = 108;
const AGAIN = 2000;

export function topologyView(main) {
  let seconds = 300;
  let closed = false;
  let timer;
  let last = "";
  const picture = h("div", { class: "picture", tabindex: "0", role: "group", "aria-label": "Picture of services and topics" });
  const table = h("div", { class: "table" });
  put(main,
    h("div", { class: "view-head" }, h("h1", {}, "Topology"), windowChoice(seconds, (chosen) => { seconds = chosen; load(); })),
    picture, table);
  load();

  async function load() {
    clearTimeout(timer);
    try {
      const answer = await ask(`/api/live/topology?seconds=${seconds}`);
      const text = JSON.stringify(answer);
      if (!closed && text !== last) {
        last = text;
        show(answer.graph, answer.seconds);
      }
    } catch (error) {
      if (!closed && !last) put(picture, h("p", { class: "failure", role: "alert" }, `The topology cannot be shown: ${error.message}`));
    }
    if (!closed) timer = setTimeout(load, AGAIN);
  }

  function show(graph, window) {
    if (graph.nodes.length === 0) {
      put(picture, h("p", { class: "empty" }, "No spans in this time."));
      put(table);
      return;
    }
    put(picture, draw(graph, window));
    put(table,
      graph.leftOut > 0 && h("p", {}, `${graph.leftOut} more nodes are left out.`),
      h("table", {},
        h("thead", {}, h("tr", {}, ["From", "To", "Per minute", "Errors", "Queue wait p50", "p95"].map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", {}, graph.edges.map((edge) => h("tr", {},
          h("td", {}, nodeLink(edge.from)), h("td", {}, nodeLink(edge.to)),
          h("td", {}, rate(edge, window)), h("td", {}, edge.errors ? `${edge.errors} of ${edge.count}` : "none"),
          h("td", {}, edge.waitP50Ms === undefined ? "–" : milliseconds(edge.waitP50Ms)),
          h("td", {}, edge.waitP95Ms === undefined ? "–" : milliseconds(edge.waitP95Ms)))))));
  }

  return { title: "Topology · Throughline", close() { closed = true; clearTimeout(timer); } };
}

export function windowChoice(seconds, chosen) {
  const choices = [[60, "1 minute"], [300, "5 minutes"], [900, "15 minutes"], [3600, "1 hour"]];
  return h("label", { class: "window" }, "Last ", h("select", { on: { change: (event) => chosen(Number(event.target.value)) } },
    choices.map(([value, text]) => h("option", { value: String(value), selected: value === seconds }, text))));
}

function rate(edge, window) {
  const perMinute = (edge.count * 60) / window;
  return perMinute >= 10 ? Math.round(perMinute).toLocaleString("en") : perMinute.toFixed(1);
}

function address(node) {
  return `/?${new URLSearchParams({ [node.kind === "topic" ? "topic" : "service"]: node.name })}`;
}

function nodeLink(node) {
  return h("a", { href: address(node) }, node.kind === "topic" ? "topic " : "", foreign(node.name, 60));
}

/** Columns by the longest way from a start; an edge back to an earlier node does not count. */
function columns(graph) {
  const key = (node) => `${node.kind} ${node.name}`;
  const out = new Map(graph.nodes.map((node) => [key(node), []]));
  const into = new Map(graph.nodes.map((node) => [key(node), 0]));
  for (const { from, to } of graph.edges) {
    out.get(key(from)).push(key(to));
    into.set(key(to), into.get(key(to)) + 1);
  }
  const column = new Map();
  const state = new Map();
  const order = [];
  // Where traces begin comes first, so that the edges back are those that lead home.
  const begun = new Map(graph.beginnings.map((name, index) => [`service ${name}`, index]));
  const rank = (node) => begun.get(node) ?? Infinity;
  const starts = [...out.keys()].sort((one, other) =>
    (rank(one) === rank(other) ? 0 : rank(one) - rank(other)) || into.get(one) - into.get(other));
  const visit = (node) => {
    state.set(node, "open");
    for (const next of out.get(node)) if (!state.has(next)) visit(next);
    state.set(node, "done");
    order.unshift(node);
  };
  for (const node of starts) if (!state.has(node)) visit(node);
  const at = new Map(order.map((node, index) => [node, index]));
  for (const node of order) {
    if (!column.has(node)) column.set(node, 0);
    for (const next of out.get(node)) {
      if (at.get(next) > at.get(node)) column.set(next, Math.max(column.get(next) ?? 0, column.get(node) + 1));
    }
  }
  return { column, key };
}

function draw(graph, window) {
  const { column, key } = columns(graph);
  const filled = [];
  const place = new Map();
  for (const node of graph.nodes) {
    const x = column.get(key(node));
    filled[x] = (filled[x] ?? 0) + 1;
    place.set(key(node), { x: 20 + x * COLUMN, y: filled[x] - 1, node });
  }
  const tallest = Math.max(...filled.map((number) => number ?? 0));
  for (const spot of place.values()) {
    const inColumn = filled[(spot.x - 20) / COLUMN];
    spot.y = 70 + (spot.y + (tallest - inColumn) / 2) * LINE;
  }
  const backs = graph.edges.filter((edge) => place.get(key(edge.to)).x <= place.get(key(edge.from)).x).length;
  const width = 40 + (filled.length - 1) * COLUMN + WIDTH;
  const height = 60 + tallest * LINE + backs * 34;
  let back = 0;
  const picture = svg("svg", { width: String(width), height: String(height), viewBox: `0 0 ${width} ${height}` },
    svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: "7", refY: "4", markerWidth: "8", markerHeight: "8", orient: "auto" },
      svg("path", { d: "M0,0 L8,4 L0,8 z", class: "arrow" }))));
  for (const edge of graph.edges) {
    const from = place.get(key(edge.from));
    const to = place.get(key(edge.to));
    const isBack = to.x <= from.x;
    const y1 = from.y + HEIGHT / 2;
    const y2 = to.y + HEIGHT / 2;
    let path, textX, textY;
    if (isBack) {
      const low = 60 + tallest * LINE + back * 34;
      back += 1;
      path = `M${from.x + WIDTH / 2},${from.y + HEIGHT} C${from.x + WIDTH / 2},${low + 20} ${to.x + WIDTH / 2},${low + 20} ${to.x + WIDTH / 2},${to.y + HEIGHT + 2}`;
      textX = (from.x + to.x + WIDTH) / 2;
      textY = (from.y + HEIGHT + 3 * (low + 20)) / 4;
    } else {
      const x1 = from.x + WIDTH;
      path = `M${x1},${y1} C${x1 + 60},${y1} ${to.x - 60},${y2} ${to.x - 2},${y2}`;
      // Above a line that rises there is room on the left, above one that falls on the right.
      textX = (x1 + to.x) / 2 + Math.sign(y2 - y1) * 26;
      textY = (y1 + y2) / 2 - 8;
    }
    const facts = [`${rate(edge, window)}/min`, edge.errors > 0 && count(edge.errors, "error")].filter(Boolean).join(" · ");
    const wait = edge.waitP50Ms !== undefined && `wait ${milliseconds(edge.waitP50Ms)} / ${milliseconds(edge.waitP95Ms)}`;
    picture.prepend(
      svg("path", { d: path, class: `edge${edge.from.kind === "topic" || edge.to.kind === "topic" ? " through-topic" : ""}${edge.errors ? " error" : ""}`, "marker-end": "url(#arrow)" }));
    picture.append(svg("text", { x: String(textX), y: String(wait ? textY - 12 : textY), class: "edge-text" }, facts));
    if (wait) picture.append(svg("text", { x: String(textX), y: String(textY + 3), class: "edge-text" }, svg("title", {}, "queue wait, half of the records and 95 % of them"), wait));
  }
  for (const { x, y, node } of place.values()) {
    const name = short(node.name, 22);
    picture.append(svg("a", { href: address(node), class: `node ${node.kind}`, "aria-label": `${node.kind} ${short(node.name, 60)}: show its traces` },
      svg("rect", { x: String(x), y: String(y), width: String(WIDTH), height: String(HEIGHT), rx: node.kind === "topic" ? "23" : "6" }),
      node.kind === "service" && svg("rect", { x: String(x), y: String(y), width: "8", height: String(HEIGHT), rx: "3", class: `mark ${colour(node.name)}` }),
      svg("text", { x: String(x + WIDTH / 2), y: String(y + 20), class: "node-name" }, name),
      svg("text", { x: String(x + WIDTH / 2), y: String(y + 36), class: "node-kind" }, node.kind)));
  }
  return picture;
}
