// The start: which view the address asks for, the news that it hears, and the keys that work
// everywhere. Views are plain objects: `changed`, `key` and `close` where they have them.

import { short } from "./display.js";
import { h, put } from "./element.js";
import { listen } from "./live.js";
import { listView } from "./list.js";
import { queueWaitView } from "./queue-wait.js";
import { topologyView } from "./topology.js";
import { traceView } from "./waterfall.js";

const main = document.getElementById("main");
const shortcuts = document.getElementById("shortcuts");
let view;

function open() {
  view?.close?.();
  const path = location.pathname;
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.pathname === path || (link.pathname === "/" && path.startsWith("/traces/"));
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const trace = /^\/traces\/([0-9a-fA-F]{32})$/.exec(path);
  main.className = "";
  if (trace) view = traceView(main, trace[1].toLowerCase(), location.hash.slice(1));
  else if (path === "/topology") view = topologyView(main);
  else if (path === "/queue-wait") view = queueWaitView(main);
  else if (path === "/") view = listView(main, new URLSearchParams(location.search));
  else {
    view = undefined;
    put(main, h("div", { class: "empty" },
      h("h1", {}, "There is nothing here"),
      h("p", {}, short(path), " is not a trace id of 32 hexadecimal digits."),
      h("p", {}, h("a", { href: "/" }, "To the traces"))));
  }
  document.title = view?.title ?? "Throughline";
}

/** Goes to an address of the page without loading it again. */
export function go(address) {
  history.pushState(undefined, "", address);
  open();
  window.scrollTo(0, 0);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const href = link.href.baseVal ?? link.href;
  const url = new URL(href, location.href);
  if (url.origin !== location.origin || link.target || url.pathname.startsWith("/api")) return;
  if (url.pathname === location.pathname && url.hash && url.search === location.search) {
    if (!view?.show) return;
    event.preventDefault();
    view.show(url.hash.slice(1));
    return;
  }
  event.preventDefault();
  go(url.pathname + url.search + url.hash);
});
window.addEventListener("popstate", open);
document.addEventListener("go", (event) => go(event.detail));

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || shortcuts.open) return;
  const typing = event.target.matches?.("input, select, textarea");
  if (event.key === "Escape" && typing) {
    event.target.blur();
    return;
  }
  if (typing) {
    view?.typed?.(event);
    return;
  }
  if (event.key === "?") shortcuts.showModal();
  else if (event.key === "/" && document.querySelector("[data-search]")) {
    document.querySelector("[data-search]").focus();
  } else if (!view?.key?.(event)) {
    if (event.key === "Escape" && location.pathname !== "/") go("/");
    else return;
  }
  event.preventDefault();
});

document.getElementById("help").addEventListener("click", () => shortcuts.showModal());

const theme = (name) => { document.documentElement.style.colorScheme = name ?? "light dark"; };
document.getElementById("theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const now = localStorage.getItem("theme") ?? system;
  const next = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  theme(next);
});
theme(localStorage.getItem("theme") ?? undefined);

const CONNECTION = {
  live: "● live",
  polling: "◌ asking every 2 s",
  lost: "✕ no connection: trying again",
};
let connection = "";
listen(() => view?.changed?.(), (state) => {
  if (state === connection) return;
  connection = state;
  const place = document.getElementById("connection");
  place.textContent = CONNECTION[state];
  place.className = `status ${state}`;
});
open();
