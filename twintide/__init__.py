"""The ground floor: what the stages share. Imports no stage, no Kafka, no scheduler, no HTTP."""

__version__ = "0.1.0"
