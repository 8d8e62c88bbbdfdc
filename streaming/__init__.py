"""Kafka click stream -> minute shards. The only stage that speaks Kafka."""
