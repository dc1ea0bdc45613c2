// The controls that the runner serves, where there is one: orders to post, and what to change about
// the services. Each change restarts the services it is about, so it takes a moment.

import { short } from "./display.js";
import { h, put } from "./element.js";
import { ask } from "./live.js";

const WATCH = {
  pm_ok: "Approved. The trace grows from left to right: the request, then the wait in the queue, then the processing.",
  pm_declined: "Declined: a result and not an error, so nothing is red.",
  pm_fail_twice: "Two tries fail and are red, the third is approved.",
  pm_down: "Every try fails; the record goes to the dead-letter topic.",
  pm_hang: "The gateway does not answer: 15 s of timeouts, then the dead-letter topic.",
  pm_slow: "The gateway takes 0.7 s. The order was answered long before.",
  pm_many_methods: "A customer with hundreds of saved methods. Open the trace and see where the time went; app.payment.saved_methods, on the span of payments above it, says why.",
};

const NOTES = {
  propagation: {
    true: "Trace context is written into the records. Post an order: its halves join.",
    false: "orders-api writes no trace context into its records, and reads none. Post an order: the two halves of its first hop, POST /orders and process orders, are orphans that say why and lead to each other. A third piece, process order-status, is the second hop, back to orders-api, cut for the same reason.",
  },
  processParent: {
    "creation-context": "A process span continues the trace that sent its record. One order, one trace.",
    link: "A process span begins a trace of its own and links the span that sent its record. Open one and follow the link, there and back.",
    "by-age:2s": "Records younger than 2 s continue their trace; older ones begin their own, with a link. Pause the consumer, post, wait, resume.",
  },
  sampling: {
    1: "Every order is traced.",
    0.5: "Every second order is traced, whole, decided where it begins. The others leave nothing here.",
    0.1: "Every tenth order is traced. Post a burst.",
    0: "No order is traced: none will appear.",
  },
  consumerRunning: {
    true: "The consumer runs. What waited is processed now, and its queue wait is as long as the pause was.",
    false: "The consumer is stopped. Post orders: they wait, and after 10 s count as orphaned. Then resume.",
  },
};

/** What to look for after an order, while a setting makes that something else than the payment does. */
function afterOrder(settings) {
  if (!settings.consumerRunning) return "It waits until the consumer runs again.";
  if (!settings.propagation) {
    return "Look for three orphans that say why: POST /orders and process orders, the halves of the first hop, and process order-status, the second hop.";
  }
  if (settings.sampling < 1) return "It appears if it was sampled.";
  if (settings.processParent === "link") return "Each process span begins a trace of its own: follow the links, there and back.";
  return undefined;
}

/** An element that stays empty while nobody serves controls. `posted` hears the new traces' ids. */
export function controls(posted) {
  const place = h("section", { class: "controls", "aria-label": "Controls", hidden: true });
  let url;
  let isOn = false;
  let closed = false;
  place.hasControls = () => isOn;
  place.close = () => { closed = true; };
  start();
  return place;

  async function start() {
    const config = await ask("/api/live/config").catch(() => undefined);
    url = config?.controlUrl;
    if (!url || closed) return;
    try {
      build(await ask(`${url}/control`));
    } catch (error) {
      place.hidden = false;
      put(place, h("p", { class: "failure" }, `The controls do not answer: ${error.message}`));
    }
  }

  function build(state) {
    isOn = true;
    const say = h("p", { class: "watch", role: "status" });
    const told = (text, isFailure = false) => {
      say.className = isFailure ? "watch failure" : "watch";
      put(say, text);
    };
    const token = h("select", { id: "token" }, state.paymentMethods.map((name) => h("option", { value: name }, name)));
    token.addEventListener("change", () => told(WATCH[token.value] ?? ""));
    const buttons = [];
    const button = (label, act, properties = {}) => {
      const made = h("button", { type: "button", ...properties, on: { click: () => run(act) } }, label);
      buttons.push(made);
      return made;
    };
    const post = button("Post an order", () => order(1), { class: "primary" });
    const burst = button("Post 20", () => order(20));
    const choice = (name, label, values) => {
      const select = h("select", { name, on: { change: () => run(() => change(name, values.find(([text]) => text === select.value)[1])) } },
        values.map(([text, , shown]) => h("option", { value: text, selected: String(state.settings[name]) === text }, shown)));
      buttons.push(select);
      return h("label", {}, h("span", {}, label), select);
    };
    put(place,
      h("div", { class: "post" }, h("label", {}, h("span", {}, "Payment method"), token), post, burst),
      h("details", { class: "settings", open: true }, h("summary", {}, "Change the services"),
        h("div", { class: "choices" },
          choice("propagation", "Propagation", [["true", true, "on"], ["false", false, "off"]]),
          choice("processParent", "Process spans", [["creation-context", "creation-context", "continue the trace"], ["link", "link", "link it"], ["by-age:2s", "by-age:2s", "by age: 2 s"]]),
          choice("sampling", "Sampled", [["1", 1, "all"], ["0.5", 0.5, "half"], ["0.1", 0.1, "a tenth"], ["0", 0, "none"]]),
          choice("consumerRunning", "Consumer", [["true", true, "running"], ["false", false, "paused"]]))),
      say);
    if (innerWidth < 700) place.querySelector("details").open = false;
    place.hidden = false;
    told("Post an order and watch its trace appear, then its halves join.");

    async function run(act) {
      for (const each of buttons) each.disabled = true;
      place.setAttribute("aria-busy", "true");
      try {
        await act();
      } catch (error) {
        told(`That failed: ${error.message}`, true);
      }
      place.removeAttribute("aria-busy");
      for (const each of buttons) each.disabled = false;
    }

    async function order(number) {
      const answer = await send("orders", { payment_method: token.value, count: number });
      const orders = answer.orders;
      posted(orders.map((order) => order.traceId));
      told(number === 1
        ? ["Order ", h("a", { href: `/traces/${orders[0].traceId}` }, short(orders[0].orderId, 40)), `. ${afterOrder(state.settings) ?? WATCH[token.value] ?? ""}`]
        : `${orders.length} orders are posted. All of one customer, they queue up in one partition: see the waits grow.`);
    }

    async function change(name, value) {
      told("Restarting what this is about …");
      try {
        const answer = await send("settings", { [name]: value });
        state.settings = answer.settings;
        told(NOTES[name][String(value)] ?? "Changed.");
      } finally {
        place.querySelector(`select[name=${name}]`).value = String(state.settings[name]);
      }
    }
  }

  function send(what, body) {
    return ask(`${url}/control/${what}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  }
}
