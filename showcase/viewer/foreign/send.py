"""Sends three spans as a Python service would: send.py http|grpc ENDPOINT TRACE_ID"""

import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

protocol, endpoint, trace_id = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")


class GivenTrace(RandomIdGenerator):
    def generate_trace_id(self):
        return int(trace_id, 16)


provider = TracerProvider(resource=Resource({"service.name": f"python {protocol}"}), id_generator=GivenTrace())
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("foreign", "1.0")
with tracer.start_as_current_span("root", kind=SpanKind.SERVER, attributes={
    "text": "ü", "int": 9007199254740993, "double": 0.5, "bool": True, "list": ["a", "b"],
}):
    linked = SpanContext(0xAB, 0xCD, True, TraceFlags(1))
    with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER, links=[Link(linked, {"k": "v"})]):
        pass
    with tracer.start_as_current_span("failed", kind=SpanKind.CLIENT) as span:
        span.add_event("exception", {"exception.message": "no"})
        span.set_status(Status(StatusCode.ERROR, "broken"))
provider.shutdown()
