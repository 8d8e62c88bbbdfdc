"""Progressive evaluation: policies side by side on one stream, and what follows from it.

Every stage at work in virtual time; only Kafka is left out.
"""
