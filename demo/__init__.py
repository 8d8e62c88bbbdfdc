"""The demo: the whole line on one machine, from a topic to an answer, and back."""
