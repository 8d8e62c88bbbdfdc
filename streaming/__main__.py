"""`python -m streaming -c FILE`: the ingest daemon as a program of its own.

It listens for Ctrl-C before it loads anything.
"""

from twintide import program

if __name__ == "__main__":
    program.run_main_of("streaming.commands")
