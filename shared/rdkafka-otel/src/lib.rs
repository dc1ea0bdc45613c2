//! rdkafka-otel
