// The server: questions to it, and its news. News say only that something changed; whoever wants to
// know asks, so a slow page skips states and never falls behind.

const POLL = 2000;

export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The answer as JSON; undefined when nothing changed. */
export async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "no answer: is it still running?");
  }
  if (response.status === 204) return undefined;
  const body = await response.json().catch(() => undefined);
  if (!response.ok) {
    throw new Failure(response.status, body?.error?.message ?? `the answer is ${response.status}`);
  }
  return body;
}

/** Calls `changed` at every news, and every two seconds while there are none to be had. */
export function listen(changed, connection) {
  let timer;
  const source = new EventSource("/api/live/events");
  const poll = () => {
    clearInterval(timer);
    timer = setInterval(changed, POLL);
  };
  source.addEventListener("open", () => {
    clearInterval(timer);
    connection("live");
  });
  source.addEventListener("change", () => {
    connection("live");
    changed();
  });
  source.addEventListener("error", () => {
    // Closed for good when it was refused; otherwise the browser tries again by itself.
    connection(source.readyState === EventSource.CLOSED ? "polling" : "lost");
    poll();
  });
}
