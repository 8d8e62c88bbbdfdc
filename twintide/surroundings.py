"""Whether this machine has what a declaration names: variables, certificates, folders.

Only looks: nothing is made or changed.
"""

import errno
import os
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from twintide import config, declaration, itemfile
from twintide.config import FoldersConfig, KafkaConfig, ServingConfig
from twintide.errors import Refused, TwintideError
from twintide.events import EventSchema
from twintide.itemsource import ItemsConfig, attributes_of
from twintide.modelspec import ModelSpec
from twintide.problems import Problem, told
from twintide.vectorfile import opened

Problems = Iterator[Problem]


def check(path: Path) -> list[Problem]:
    """All that is wrong with a configuration file, in itself and on this machine.

    Raises Refused where it cannot be read at all.
    """
    sections, problems = config.examine(path)
    for names, look in _LOOKS:
        if all(name in sections for name in names):
            problems += told(look(*(sections[name] for name in names)), before=problems)
    return problems


def _password(kafka: KafkaConfig) -> Problems:
    yield from _secret("kafka.sasl_password_env", kafka.sasl_password)


def _token(serving: ServingConfig) -> Problems:
    yield from _secret("serving.token_env", serving.token)


def _secret(key: str, read: Callable[[], str | None]) -> Problems:
    """What is wrong is said, never what the variable holds."""
    try:
        read()
    except Refused as error:
        yield Problem(key, error.message, error.hint)


def _authorities(kafka: KafkaConfig) -> Problems:
    path, key = kafka.ssl_cafile, "kafka.ssl_cafile"
    if path is None:
        return
    hint = "a PEM file of certificates, as whoever runs the brokers has it"
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        yield Problem(key, f"{path} holds no certificates in PEM form", hint)
    except OSError as error:
        yield Problem(key, f"{path} cannot be read: {error.strerror}", hint)


def _folders(data_dir: Path, folders: FoldersConfig) -> Problems:
    """Each folder must be one that can be written to, or be made where it is not."""
    told: set[str] = set()
    for name, path in folders.below(data_dir).items():
        if name in {"vectors", "items"}:  # made where they are declared only: see below
            continue
        key = f"folders.{name}" if getattr(folders, name, None) else "data_dir"
        reason = _unusable(path)
        if reason and key not in told:
            told.add(key)
            yield Problem(key, reason, "name a folder that this user may write to")


def _apart(data_dir: Path, folders: FoldersConfig) -> Problems:
    """By other names too: a link may lead into another kind's folder."""
    places = {
        name: path.resolve()
        for name, path in folders.below(data_dir).items()
        if name in FoldersConfig.model_fields
    }
    yield from declaration.folders_apart(data_dir.resolve(), FoldersConfig(**places))


def _vectors(events: EventSchema, model: ModelSpec) -> Problems:
    """Each file of vectors is read whole, as training will read it."""
    widths: dict[str, int | None] = {}
    for name in model.vector_tables():
        try:
            with opened(model.tables[name]) as file:
                deque(file.blocks(), maxlen=0)
                yield from declaration.misfits(events, model, name, file.id_kind)
                widths[name] = file.width
        except TwintideError as error:
            yield Problem(f"model.tables.{name}.vectors", error.message, error.hint)
    if widths:
        yield from declaration.fitting_towers(model.with_widths(widths))


def _room_for_vectors(data_dir: Path, folders: FoldersConfig, model: ModelSpec) -> Problems:
    if model.vector_tables() and (reason := _unusable(folders.below(data_dir)["vectors"])):
        key = "folders.versions" if folders.versions else "data_dir"
        yield Problem(key, reason, "fixed vectors are stored beside the versions")


def _items(events: EventSchema, model: ModelSpec, items: ItemsConfig) -> Problems:
    """The file of items is read whole, as training and publishing will read it."""
    if items.file is None:
        return
    try:
        itemfile.read(items, events, model)
        filled = itemfile.filled(items, events, model)
    except TwintideError as error:
        columns = ("items.id_column", "items.available_column", "items.listed_at_column")
        yield Problem("items.file", error.message, error.hint, reads=columns)
        return
    by_id = [each for each in model.lookups("candidate") if each.is_id(events.item)]
    has_vectors = any(each.table in model.vector_tables() for each in by_id)
    if not (filled or has_vectors or items.available_column or items.complete):
        yield Problem(
            "items.file",
            f"{items.file} says nothing of an item that a candidate feature reads: its columns are "
            f"none of {', '.join(attributes_of(events, model)) or '(no feature reads any)'}",
            hint="call its columns as the event columns are called, or say which column tells "
            "what is available",
            reads=("model.candidate", "events.columns"),
        )


def _room_for_items(data_dir: Path, folders: FoldersConfig, items: ItemsConfig) -> Problems:
    if items.is_declared and (reason := _unusable(folders.below(data_dir)["items"])):
        key = "folders.versions" if folders.versions else "data_dir"
        yield Problem(key, reason, "what a source of items says is kept beside the versions")


def _unusable(path: Path) -> str | None:
    try:
        path.lstat()
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
            return f"{path} cannot be used: {error.strerror}"
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir():
        return f"{there} is no folder, so {path} cannot be one"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to by this user, so {path} cannot be filled"
    return None


_LOOKS: tuple[tuple[tuple[str, ...], Callable[..., Problems]], ...] = (
    (("kafka",), _password),
    (("kafka",), _authorities),
    (("serving",), _token),
    (("data_dir", "folders"), _folders),
    (("data_dir", "folders"), _apart),
    (("events", "model"), _vectors),
    (("data_dir", "folders", "model"), _room_for_vectors),
    (("events", "model", "items"), _items),
    (("data_dir", "folders", "items"), _room_for_items),
)
