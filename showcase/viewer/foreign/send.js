// Sends three spans as a JavaScript service would: send.js json|proto|grpc ENDPOINT TRACE_ID

import { context, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor, RandomIdGenerator } from "@opentelemetry/sdk-trace-base";

const [protocol, endpoint, traceId] = process.argv.slice(2);
const name = { json: "http", proto: "proto", grpc: "grpc" }[protocol];
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${name}`);
const exporter = new OTLPTraceExporter({ url: protocol === "grpc" ? endpoint : `${endpoint}/v1/traces` });

const idGenerator = new RandomIdGenerator();
idGenerator.generateTraceId = () => traceId;
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": `javascript ${protocol}` }),
  idGenerator, spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("foreign", "1.0");
const root = tracer.startSpan("root", {
  kind: SpanKind.SERVER, attributes: { text: "ü", int: 7, double: 0.5, bool: true, list: ["a", "b"] },
});
const within = trace.setSpan(context.active(), root);
const linked = { traceId: "ab".padStart(32, "0"), spanId: "cd".padStart(16, "0"), traceFlags: TraceFlags.SAMPLED };
tracer.startSpan("send", { kind: SpanKind.PRODUCER, links: [{ context: linked, attributes: { k: "v" } }] }, within).end();
const failed = tracer.startSpan("failed", { kind: SpanKind.CLIENT }, within);
failed.addEvent("exception", { "exception.message": "no" });
failed.setStatus({ code: SpanStatusCode.ERROR, message: "broken" });
failed.end();
root.end();
await provider.shutdown();
