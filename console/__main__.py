"""`python -m console`: the same as `twintide`."""

from console.main import run

if __name__ == "__main__":
    run()
