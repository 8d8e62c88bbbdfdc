"""`python -m trainer hourly | nightly | schedule -c FILE`: training without publishing.

It listens for Ctrl-C before it loads anything.
"""

from twintide import program

if __name__ == "__main__":
    program.run_main_of("trainer.commands")
