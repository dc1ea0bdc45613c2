// Values as people read them. What comes from a trace is hostile: control characters and marks that
// turn the direction of text are shown as what they are, and long text is cut.

import { h } from "./element.js";

const DIRECTIONS = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Text with everything invisible made visible. */
export function visible(text) {
  return text
    .replace(CONTROLS, (character) => {
      const code = character.charCodeAt(0);
      if (code < 0x20) return String.fromCharCode(0x2400 + code);
      return code === 0x7f ? "\u2421" : `\u27e8U+00${code.toString(16).toUpperCase()}\u27e9`;
    })
    .replace(DIRECTIONS, (character) =>
      `\u27e8U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

/** Cut to `length` characters, visible, on one line. */
export function short(text, length = 120) {
  const cut = text.length > length ? `${text.slice(0, length)}…` : text;
  return visible(cut.replace(/[\n\t]/g, " "));
}

/** An element that holds foreign text apart from the direction of ours. */
export function foreign(text, length = 120, properties = {}) {
  return h("bdi", properties, short(text, length));
}

/** A dotted name that breaks at its dots only, as long as it can. */
export function dotted(text) {
  const parts = short(text, 200).split(/(?<=[._])/);
  return h("bdi", {}, parts.flatMap((part) => [part, h("wbr")]));
}

export function duration(nanoseconds) {
  if (nanoseconds === 0) return "0";
  const microseconds = nanoseconds / 1e3;
  if (nanoseconds < 1e3) return `${Math.round(nanoseconds)} ns`;
  if (microseconds < 1e3) return `${digits(microseconds)} µs`;
  if (microseconds < 1e6) return `${digits(microseconds / 1e3)} ms`;
  if (microseconds < 6e7) return `${digits(microseconds / 1e6)} s`;
  return `${digits(microseconds / 6e7)} min`;
}

export function milliseconds(count) {
  return duration(count * 1e6);
}

function digits(number) {
  return number < 10 ? trimmed(number.toFixed(2)) : number < 100 ? trimmed(number.toFixed(1)) : String(Math.round(number));
}

function trimmed(text) {
  return text.replace(/\.?0+$/, "");
}

/** Time of day of milliseconds since the epoch. */
export function clock(millisecondsSinceEpoch) {
  const time = new Date(millisecondsSinceEpoch);
  if (Number.isNaN(time.getTime())) return "?";
  const two = (number) => String(number).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function percent(part, whole) {
  if (whole <= 0) return "0 %";
  const share = (100 * part) / whole;
  return share < 1 && share > 0 ? "<1 %" : `${Math.round(share)} %`;
}

const STATES = {
  joined: ["✓", "joined"],
  waiting: ["…", "waiting"],
  orphaned: ["⚠", "orphaned"],
};

/** The badge of a join state. */
export function badge(state, details = "") {
  const [sign, word] = STATES[state] ?? ["–", "no queue"];
  return h("span", { class: `badge ${state ?? "none"}` },
    h("span", { "aria-hidden": "true" }, sign), ` ${word}${details}`);
}
