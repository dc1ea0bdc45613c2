// A showcase, or a viewer alone, on free ports, as tests need one.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? `${root}target`;
const profile = process.env.PROFILE ?? "debug";
const LIMIT = 90_000;

const PORTS = ["orders-api", "payments", "gateway", "order-processor", "viewer", "control", "otlp-grpc", "otlp-http", "broker"]
  .map((name) => `--${name}-port=0`);

/** Resolves with what `found` makes of the lines that the program prints. */
function start(program, args, found) {
  const child = spawn(`${target}/${profile}/${program}`, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stderr.on("data", (data) => { output += data; });
  const end = async () => {
    if (child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGINT");
    const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
    await ended;
    clearTimeout(late);
  };
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => { end(); reject(new Error(`${program} is not ready; so far:\n${output}`)); }, LIMIT);
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`${program} ended:\n${output}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      output += `${line}\n`;
      const result = found(output);
      if (result) {
        clearTimeout(late);
        resolve({ ...result, end, output: () => output });
      }
    });
  });
}

const after = (output, pattern) => pattern.exec(output)?.[1];

/** The whole pipeline, when it has shown its first trace. */
export function showcase() {
  return start("throughline", PORTS, (output) => output.includes("Ctrl-C stops everything") && {
    url: after(output, /Live page +(\S+)/),
    firstTrace: after(output, /This trace +(\S+)/),
    ordersApi: after(output, /Orders API +(\S+)/),
  });
}

/** The viewer by itself. */
export function viewer(...args) {
  const any = ["--listen=127.0.0.1:0", "--otlp-http=127.0.0.1:0", "--otlp-grpc=127.0.0.1:0", ...args];
  return start("viewer", any, (output) => output.includes("OTLP/gRPC on") && {
    url: after(output, /listening on (\S+)/),
    otlp: after(output, /OTLP\/HTTP on (\S+)/),
    grpc: after(output, /OTLP\/gRPC on (\S+)/),
  });
}
