"""How every program of Twintide begins and ends: what it may write, its errors, Ctrl-C.

Whatever the locale, text is written. An error that a person can act on is one message with a hint
and an exit code: 1 failed, 2 refused. A signal ends the program in order: what it was making is
cleaned up, one line says so, and the exit code is 128 and the signal's number. Anything else is a
bug, and shows its traceback.
"""

import codecs
import errno
import gc
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from twintide.errors import TwintideError

_PLAIN = str.maketrans({"–": "-", "…": "...", "→": "->", "×": "x", "≥": ">=", "≤": "<="})
"""Signs of our own that a narrow encoding lacks, and what stands for them."""

_HINTS = {
    errno.ENOSPC: "make room there, then try again",
    errno.EDQUOT: "make room there, then try again",
    errno.EACCES: "name another place, or make this one writable for the user that runs it",
    errno.EPERM: "name another place, or make this one writable for the user that runs it",
    errno.EROFS: "name another place: this one is read-only",
}
_CLOSED_PIPE = 128 + signal.SIGPIPE
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal asked for the end. No error: nobody has to act."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def run(main: Callable[[], object]) -> NoReturn:
    """Run a program to its end, and end the process with its exit code."""
    _speak_every_encoding()
    with _heard_signals(), _quiet_libraries():
        code = _code_of(main) or _code_of(_flush)
    gc.freeze()  # what torch and Arrow have made is not looked through once more: a second
    sys.exit(code)


def run_main_of(module: str) -> NoReturn:
    """Load a program's module and run its `main`. Loading takes a second: somebody may have thought
    better of it by then.
    """
    run(lambda: importlib.import_module(module).main())


def say_error(message: str, hint: str = "") -> None:
    """One message, and what to type next."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201  where a program speaks
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)  # noqa: T201


def _code_of(main: Callable[[], object]) -> int | str | None:
    try:
        main()
    except TwintideError as error:
        say_error(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:  # `twintide versions | head`: whoever read has enough
        _say_no_more()
        return _CLOSED_PIPE
    except OSError as error:
        if error.filename is None:
            _say_no_more()  # a full disk under `> FILE`
        say_error(f"the system refuses: {_words_of(error)}", _hint_of(error))
        return 1
    except Interrupted as ended:
        _say_ended(ended)
        return ended.code
    except SystemExit as ended:
        return ended.code
    return 0


def _words_of(error: OSError) -> str:
    """Permission denied: /data/curves."""
    named = f": {error.filename}" if error.filename is not None else ""
    return f"{error.strerror or error}{named}"


def _hint_of(error: OSError) -> str:
    elsewhere = "name another place" if error.filename is not None else ""
    return _HINTS.get(error.errno or 0, elsewhere)


def _speak_every_encoding() -> None:
    """What the terminal cannot show is written in other words, never a reason to fail."""
    codecs.register_error("twintide", _in_other_words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="twintide")


def _in_other_words(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    return plain.encode("ascii", "backslashreplace").decode("ascii"), error.end


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """What a library warns of is for developers: they ask for it with -W or PYTHONWARNINGS."""
    before = warnings.showwarning
    if not sys.warnoptions:
        warnings.showwarning = lambda *_, **__: None
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _heard_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal unwind the program; a second one ends it at once."""
    before = {each: signal.getsignal(each) for each in _ENDING}
    heard = [each for each in _ENDING if before[each] is not signal.SIG_IGN]  # as under nohup
    for each in heard:
        signal.signal(each, _interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for each in heard:
            signal.signal(each, before[each])


def _interrupt(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def _unraisable(seen: "sys.UnraisableHookArgs") -> None:
    """A signal that came where nothing can be raised, such as in a callback of the import system:
    the end that was asked for would be forgotten, so it comes at once, as a crash may.
    """
    if isinstance(seen.exc_value, Interrupted):
        _say_ended(seen.exc_value)
        os._exit(128 + seen.exc_value.number)
    sys.__unraisablehook__(seen)


def _say_ended(ended: Interrupted) -> None:
    print(f"ended by {signal.Signals(ended.number).name}", file=sys.stderr)  # noqa: T201


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _say_no_more() -> None:
    """Results have nowhere to go; without this Python would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
