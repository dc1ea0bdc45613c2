// A colour for each service, of eight that colour-blind people can tell apart (after Okabe and Ito);
// page.css has them, for dark and light. A name keeps its colour while the page is open.

const COLOURS = 8;
const given = new Map();

export function colour(service) {
  let index = given.get(service);
  if (index === undefined) {
    index = hash(service) % COLOURS;
    const taken = new Set(given.values());
    // Further services share: with more than eight a colour alone tells nothing, and names stand beside.
    for (let step = 0; step < COLOURS && taken.has(index); step += 1) index = (index + 1) % COLOURS;
    given.set(service, index);
  }
  return `service-${index}`;
}

function hash(text) {
  let value = 2166136261;
  for (let at = 0; at < Math.min(text.length, 256); at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 16777619) >>> 0;
  }
  return value;
}
