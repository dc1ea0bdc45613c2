// The live list: newest first, one line a trace. Lines stay where they are while only their content
// changes, so that focus and reading place survive the news.

import { badge, clock, count, duration, foreign, milliseconds, short } from "./display.js";
import { colour } from "./colour.js";
import { controls } from "./controls.js";
import { h, put } from "./element.js";
import { ask } from "./live.js";

/** Between two looks while something is still expected; states change by time alone. */
const REVISIT = 1000;

const FILTERS = ["text", "service", "name", "attribute", "topic", "min_ms", "state", "errors", "all"];

export function listView(main, parameters) {
  const lines = new Map();
  let paused = false;
  let missed = false;
  let asking = false;
  let again = false;
  let closed = false;
  let selected = -1;
  let timer;
  let limit = 100;
  let deep = false;

  const list = h("ol", { class: "traces", "aria-label": "Traces, newest first" });
  const note = h("p", { class: "note", role: "status" });
  const notice = h("div", { class: "empty" }, "Loading …");
  const more = h("button", { type: "button", class: "more", hidden: true, on: { click: further } });
  const pause = h("button", { type: "button", "aria-pressed": "false", on: { click: togglePause } }, "Pause");
  const service = h("select", { name: "service", id: "filter-service" }, h("option", { value: "" }, "any"));
  const field = (name, label, properties) => h("label", {}, h("span", {}, label),
    h("input", { name, value: parameters.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...properties }));
  const tick = (name, label) => h("label", { class: "tick" },
    h("input", { type: "checkbox", name, checked: parameters.has(name) }), ` ${label}`);
  const state = h("select", { name: "state" }, ["", "joined", "waiting", "orphaned"].map((value) =>
    h("option", { value, selected: (parameters.get("state") ?? "") === value }, value || "any")));
  const topic = parameters.get("topic");
  const form = h("form", { class: "filters", "aria-label": "Filters", on: { submit: (event) => event.preventDefault(), input: filtered } },
    field("text", "Search", { type: "search", placeholder: "name, id, value", "data-search": "" }),
    h("label", {}, h("span", {}, "Service"), service),
    field("name", "Span name", { placeholder: "send orders" }),
    field("attribute", "Attribute", { placeholder: "app.order.id=" }),
    field("min_ms", "At least, ms", { type: "number", min: "0", step: "any" }),
    h("label", {}, h("span", {}, "State"), state),
    tick("errors", "errors only"),
    tick("all", "polls, commits"),
    topic !== null && h("label", { class: "tick" }, h("input", { type: "checkbox", name: "topic", value: topic, checked: true }), " topic ", foreign(topic, 60)),
    h("button", { type: "reset", on: { click: () => setTimeout(clear) } }, "Clear"),
    pause);

  const panel = controls((posted) => { expected = posted; load(); });
  let expected = [];
  put(main, h("h1", { class: "hidden" }, "Traces"), panel, form, note, notice, list, more);
  names();
  load();

  function clear() {
    for (const input of form.elements) {
      if (input.type === "checkbox") input.checked = false;
      else if (input.tagName !== "BUTTON") input.value = "";
    }
    filtered();
  }

  async function names() {
    const answer = await ask("/api/v3/services").catch(() => undefined);
    const wanted = service.value || parameters.get("service") || "";
    const all = new Set(answer?.services ?? []);
    if (wanted) all.add(wanted);
    put(service, h("option", { value: "" }, "any"),
      ...[...all].slice(0, 500).map((name) => h("option", { value: name, selected: name === wanted }, short(name, 60))));
  }
  service.addEventListener("focus", names);

  function query() {
    const result = new URLSearchParams();
    const data = new FormData(form);
    for (const name of FILTERS) {
      const value = data.get(name);
      if (value) result.set(name, value);
    }
    // Before the services are known the choice is only in the address.
    if (service.options.length === 1 && parameters.get("service")) result.set("service", parameters.get("service"));
    return result;
  }

  function filtered() {
    const wanted = query().toString();
    history.replaceState(undefined, "", wanted ? `/?${wanted}` : "/");
    clearTimeout(timer);
    deep = false;
    timer = setTimeout(load, 150);
  }

  /** What an answer left out: lines, or traces that would have taken long to look at. */
  function further() {
    if (more.dataset.left === "lines") limit = 500;
    else deep = true;
    load();
  }

  async function load() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    clearTimeout(timer);
    try {
      const wanted = query();
      const filters = wanted.size;
      wanted.set("limit", String(limit));
      if (deep) wanted.set("deep", "on");
      const answer = await ask(`/api/live/traces?${wanted}`);
      if (!closed) show(answer, filters > 0);
    } catch (error) {
      if (!closed) {
        put(notice, h("p", { class: "failure", role: "alert" }, `The traces cannot be shown: ${error.message}`));
        notice.hidden = false;
        timer = setTimeout(load, 2 * REVISIT);
      }
    }
    asking = false;
    if (again && !closed) {
      again = false;
      changed();
    }
  }

  function show(answer, isFiltered) {
    const traces = answer.traces;
    const wasCut = answer.more && traces.length < limit;
    notice.hidden = traces.length > 0;
    if (traces.length === 0) {
      put(notice, isFiltered
        ? h("p", {}, `None of the ${wasCut ? `newest ${answer.searched.toLocaleString("en")} of ${count(answer.held, "trace")}` : count(answer.held, "trace")} matches.`)
        : h("div", {}, h("h2", {}, "No traces yet"),
          panel.hasControls?.()
            ? h("p", {}, "Post an order above, and watch its halves join.")
            : h("p", {}, "Send some over OTLP: gRPC on 4317, HTTP on 4318 unless changed. ",
              h("code", {}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"))));
    }
    const among = wasCut
      ? ` among the newest ${answer.searched.toLocaleString("en")} of ${answer.held.toLocaleString("en")} held`
      : answer.more ? `, the newest of ${answer.held.toLocaleString("en")} held` : "";
    note.textContent = traces.length ? count(traces.length, "trace") + among : "";
    more.dataset.left = wasCut ? "traces" : "lines";
    more.textContent = wasCut ? "Search the older ones too" : "Show up to 500";
    more.hidden = !(answer.more && (wasCut || limit < 500));
    const focused = document.activeElement?.closest?.("li[data-trace]")?.dataset.trace;
    const seen = new Set();
    let previous;
    for (const trace of traces) {
      seen.add(trace.traceId);
      const text = JSON.stringify(trace);
      let line = lines.get(trace.traceId);
      if (!line) {
        line = { element: h("li", { data: { trace: trace.traceId } }), text: "", state: undefined };
        lines.set(trace.traceId, line);
      }
      if (line.text !== text) {
        const joins = line.state === "waiting" && trace.state === "joined";
        put(line.element, content(trace));
        line.element.dataset.state = trace.state ?? "none";
        line.element.classList.toggle("joins", joins);
        if (expected.includes(trace.traceId)) {
          line.element.classList.add("posted");
          if (trace.state === "joined" || trace.state === "orphaned") {
            document.getElementById("announcement").textContent = `Your order's trace is ${trace.state}. ${trace.reason}`;
            expected = expected.filter((id) => id !== trace.traceId);
          }
        }
        line.text = text;
        line.state = trace.state;
      }
      const place = previous ? previous.nextSibling : list.firstChild;
      if (place !== line.element) list.insertBefore(line.element, place);
      previous = line.element;
    }
    for (const [id, line] of lines) {
      if (!seen.has(id)) {
        line.element.remove();
        lines.delete(id);
      }
    }
    if (focused && lines.has(focused)) lines.get(focused).element.querySelector("a").focus({ preventScroll: true });
    if (!paused && traces.some((trace) => trace.state === "waiting" || !trace.isQuiet)) {
      clearTimeout(timer);
      timer = setTimeout(load, REVISIT);
    }
  }

  function changed() {
    if (paused) {
      missed = true;
      pause.textContent = "Resume: there is news";
    } else load();
  }

  function togglePause() {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (paused) clearTimeout(timer);
    else if (missed) {
      missed = false;
      load();
    }
  }

  function select(step) {
    const links = [...list.querySelectorAll("li > a")];
    const current = links.indexOf(document.activeElement);
    selected = Math.min(links.length - 1, Math.max(0, (current >= 0 ? current : selected) + step));
    links[selected]?.focus();
  }

  return {
    title: "Traces · Throughline",
    changed,
    key(event) {
      if (event.key === "j") select(1);
      else if (event.key === "k") select(-1);
      else if (event.key === "p") togglePause();
      else return false;
      return true;
    },
    close() {
      closed = true;
      clearTimeout(timer);
      panel.close?.();
    },
  };
}

function content(trace) {
  const joined = trace.ends > 1 ? ` ${trace.joined}/${trace.ends}` : "";
  return h("a", { href: `/traces/${trace.traceId}` },
    h("time", { class: "when" }, clock(Number(BigInt(trace.startUnixNano) / 1000000n))),
    h("span", { class: "root" },
      !trace.hasRoot && h("span", { class: "rootless", title: "Its root was not received" }, "… "),
      foreign(trace.rootName || "(no name)", 100),
      trace.errors > 0 && h("span", { class: "badge error" }, h("span", { "aria-hidden": "true" }, "✕"), ` ${count(trace.errors, "error")}`)),
    h("span", { class: "join" }, badge(trace.state, joined)),
    h("span", { class: "chips" }, trace.services.map(({ name, spans }) =>
      h("span", { class: `chip ${colour(name)}` }, foreign(name, 40), h("span", { class: "count" }, ` ${spans}`))),
      trace.moreServices > 0 && h("span", { class: "chip" }, `and ${trace.moreServices} more`)),
    h("span", { class: "spans" }, count(trace.spans, "span")),
    h("span", { class: "took" }, duration(trace.durationNano)),
    h("span", { class: "waited" }, trace.queueWaitMs !== undefined && `in queue ${milliseconds(trace.queueWaitMs)}`),
    trace.state !== "joined" && trace.reason && h("span", { class: "reason" }, foreign(trace.reason, 300)));
}
