"""`python -m serving -c FILE`: the HTTP server.

It listens for Ctrl-C before it loads anything.
"""

from twintide import program

if __name__ == "__main__":
    program.run_main_of("serving.commands")
