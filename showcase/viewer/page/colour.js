// A look for each service: one of eight colours that colour-blind people can tell apart (after Okabe
// and Ito), filled, or hollow for eight further services; page.css has them, for dark and light. A
// name keeps its look while the page is open.

const COLOURS = 8;
const given = new Map();

export function colour(service) {
  let look = given.get(service);
  if (look === undefined) {
    const taken = new Set(given.values());
    const first = taken.size < COLOURS ? 0 : COLOURS;
    look = first + (hash(service) % COLOURS);
    // With more than sixteen they share: then only the names beside tell them apart.
    for (let step = 0; step < COLOURS && taken.has(look); step += 1) look = first + ((look + 1) % COLOURS);
    given.set(service, look);
  }
  return `service-${look % COLOURS}${look < COLOURS ? "" : " hollow"}`;
}

function hash(text) {
  let value = 2166136261;
  for (let at = 0; at < Math.min(text.length, 256); at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 16777619) >>> 0;
  }
  return value;
}
