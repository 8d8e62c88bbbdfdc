"""The status page: how far clicks have come, what is live and why, and what is wrong.

Rendered here, from what lies in the folders and what this server serves. It changes nothing, loads
nothing from elsewhere and runs no script; a look is taken when somebody asks, in a thread of its
own, at most once in a few seconds.
"""
