#!/usr/bin/env bash
# The tool of this name, as its distribution starts it.
read -ra heap <<<"${KAFKA_HEAP_OPTS:-}"
exec java "${heap[@]}" -cp '/opt/kafka/tools/*:/opt/kafka/libs/*' org.apache.kafka.tools.TopicCommand "$@"
