"""`python -m publisher COMMAND -c FILE`: publish, look at versions, go back, hold, clean up.

It listens for Ctrl-C before it loads anything.
"""

from twintide import program

if __name__ == "__main__":
    program.run_main_of("publisher.commands")
