"""Why no broker lets us in: asked once the client has given up, for it tries for ever and says
nothing but "unable to bootstrap".

Each address is tried by hand, as far as it takes to say who must act: a broker that is away may
come back, a name, a certificate or a password that is wrong does not mend itself. Nothing secret is
sent before the connection is what the configuration asks for, and no password is in what is said.
"""

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka.net.sasl import get_sasl_mechanism

from twintide.config import KafkaConfig
from twintide.errors import Refused

_SECONDS = 3.0
_API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 18, 17, 36
_UNSUPPORTED_MECHANISM, _ILLEGAL_STATE = 33, 34
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class _Address:
    """One broker's, as it was written."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def refusal(
    config: KafkaConfig, servers: Iterable[str], settings: dict[str, Any]
) -> Refused | None:
    """What only an operator can mend about reaching these host:port; None where waiting may help.

    `settings` are the client's, to try the password with.
    """
    refusals = []
    for server in servers:
        found = _refusal(config, _address(server), settings)
        if found is None:  # this one may come back, and one is enough
            return None
        refusals.append(found)
    return refusals[0] if refusals else None


def _address(server: str) -> _Address:
    host, _, port = server.rpartition(":")
    return _Address(host.strip("[]"), int(port))


def _refusal(config: KafkaConfig, address: _Address, settings: dict[str, Any]) -> Refused | None:
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:  # the name server is away
            return None
        return Refused(
            f"the host name {address.host} of Kafka does not resolve",
            hint="mend kafka.bootstrap_servers (or the brokers' advertised.listeners)",
        )
    if config.security_protocol in {"SSL", "SASL_SSL"}:
        return _tls_refusal(config, address) or _kafka_refusal(config, address, settings)
    if not _listens(address):
        return None
    if not _speaks_kafka(address) and _speaks_tls(address):
        return Refused(
            f"Kafka at {address} speaks TLS, but kafka.security_protocol is "
            f"{config.security_protocol}",
            hint="set kafka.security_protocol to SSL or SASL_SSL, or name the plain port",
        )
    return _kafka_refusal(config, address, settings)


def _tls_refusal(config: KafkaConfig, address: _Address) -> Refused | None:
    try:
        context = _context(config)
    except (OSError, ssl.SSLError) as error:
        return Refused(
            f"kafka.ssl_cafile {config.ssl_cafile} cannot be used: {error}",
            hint="it is a PEM file of the authorities that the brokers' certificates are signed by",
        )
    try:
        with _connected(address) as plain:
            context.wrap_socket(plain, server_hostname=address.host.rstrip(".")).close()
    except ssl.SSLCertVerificationError as error:
        return Refused(
            f"the certificate of Kafka at {address} is not trusted: {error.verify_message}",
            hint="kafka.ssl_cafile names the authorities to trust; brokers are to be named as "
            "their certificates name them",
        )
    except (ssl.SSLError, OSError) as error:
        return _broken_handshake(config, address, error)
    return None


def _broken_handshake(config: KafkaConfig, address: _Address, error: Exception) -> Refused | None:
    if not _listens(address):
        return None
    if _speaks_kafka(address):
        return Refused(
            f"Kafka at {address} speaks no TLS, but kafka.security_protocol is "
            f"{config.security_protocol}",
            hint="name the port of its TLS listener, or set kafka.security_protocol to "
            "PLAINTEXT or SASL_PLAINTEXT",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionError | TimeoutError):
        return None  # it may be starting
    return Refused(
        f"the TLS handshake with Kafka at {address} fails: {error}",
        hint="is it the port of a TLS listener of Kafka?",
    )


def _kafka_refusal(
    config: KafkaConfig, address: _Address, settings: dict[str, Any]
) -> Refused | None:
    """A listener that asks for a password, for none, for one in another way, or for another."""
    mechanism = config.sasl_mechanism or "PLAIN"
    try:
        code, offered = _handshake(config, address, mechanism)
    except ssl.SSLError as error:  # heard only behind the handshake, since TLS 1.3
        return Refused(
            f"Kafka at {address} refuses the TLS connection: {error}",
            hint="does its listener ask clients for a certificate (ssl.client.auth)? there is none "
            "to show: name one that asks for a password, or for nothing",
        )
    except (OSError, struct.error):
        return None
    if not config.security_protocol.startswith("SASL"):
        return None if code == _ILLEGAL_STATE else _asks_for_password(config, address, offered)
    if code == _ILLEGAL_STATE:
        return Refused(
            f"Kafka at {address} asks for no password, but kafka.security_protocol is "
            f"{config.security_protocol}",
            hint="name the port of its SASL listener, or set kafka.security_protocol to SSL or "
            "PLAINTEXT",
        )
    if code == _UNSUPPORTED_MECHANISM:
        return Refused(
            f"Kafka at {address} takes no password by {mechanism}, but by {', '.join(offered)}",
            hint="set kafka.sasl_mechanism to one that the broker takes",
        )
    return _password_refusal(config, address, settings)


def _asks_for_password(config: KafkaConfig, address: _Address, offered: list[str]) -> Refused:
    return Refused(
        f"Kafka at {address} asks for a password ({', '.join(offered)}), but "
        f"kafka.security_protocol is {config.security_protocol}",
        hint="set kafka.security_protocol, sasl_mechanism, sasl_username and sasl_password_env",
    )


def _password_refusal(
    config: KafkaConfig, address: _Address, settings: dict[str, Any]
) -> Refused | None:
    """The client takes a broker that hangs up for one that is away, and never hears its no."""
    sasl = get_sasl_mechanism(config.sasl_mechanism)(host=address.host, **settings)
    name = str(config.sasl_mechanism).encode()
    code = 0
    with suppress(OSError, struct.error), _linked(config, address) as link:
        _asked(link, _API_VERSIONS, 0, b"")
        _asked(link, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
        while code == 0 and not sasl.is_done():
            token = sasl.auth_bytes()
            answer = _asked(link, _SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
            code, token = _authenticated(answer)
            if code == 0:
                sasl.receive(token)
    if code == 0:
        return None
    return Refused(
        f"Kafka at {address} does not let user {config.sasl_username} in: name or password is "
        "wrong",
        hint=f"mend kafka.sasl_username, or the variable {config.sasl_password_env} that holds "
        "the password",
    )


def _authenticated(answer: bytes) -> tuple[int, bytes]:
    """A broker's error code, and what it says to the password."""
    code, length = struct.unpack_from(">hh", answer)
    at = 4 + max(0, length)
    (size,) = struct.unpack_from(">i", answer, at)
    return code, answer[at + 4 : at + 4 + max(0, size)]


def _context(config: KafkaConfig) -> ssl.SSLContext:
    """As strict as the client's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.ssl_cafile is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(str(config.ssl_cafile))
    return context


def _connected(address: _Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=_SECONDS)


@contextmanager
def _linked(config: KafkaConfig, address: _Address) -> Iterator[socket.socket]:
    """A connection such as the client makes: verified where it is encrypted."""
    with _connected(address) as plain:
        if not config.security_protocol.endswith("SSL"):
            yield plain
            return
        name = address.host.rstrip(".")
        with _context(config).wrap_socket(plain, server_hostname=name) as encrypted:
            yield encrypted


def _listens(address: _Address) -> bool:
    try:
        _connected(address).close()
    except OSError:
        return False
    return True


def _speaks_tls(address: _Address) -> bool:
    """Whether it does, whoever it is: nothing is said to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(address) as plain:
            context.wrap_socket(plain, server_hostname=address.host).close()
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it answers in TLS, and wants other things of us
    except OSError:
        return False
    return True


def _speaks_kafka(address: _Address) -> bool:
    """Whether it answers the first question of every client in plain."""
    with suppress(OSError, struct.error), _connected(address) as plain:
        _asked(plain, _API_VERSIONS, 0, b"")
        return True
    return False


def _handshake(config: KafkaConfig, address: _Address, mechanism: str) -> tuple[int, list[str]]:
    """What a broker says to a way of sending a password: an error code, and the ways it takes."""
    name = mechanism.encode()
    body = struct.pack(">h", len(name)) + name
    with _linked(config, address) as link:
        _asked(link, _API_VERSIONS, 0, b"")
        answer = _asked(link, _SASL_HANDSHAKE, 1, body)
    code, count = struct.unpack_from(">hi", answer)
    offered, at = [], 6
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at)
        offered.append(answer[at + 2 : at + 2 + length].decode(errors="replace"))
        at += 2 + length
    return code, offered


def _asked(link: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """The body of a broker's answer. Raises OSError where it is none."""
    head = struct.pack(">hhih", key, version, 1, -1)
    link.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    size, correlation = struct.unpack(">ii", _received(link, 8))
    if correlation != 1 or not 4 <= size <= _MOST_BYTES:  # noqa: PLR2004  the correlation is in it
        raise ConnectionError("no answer of a Kafka broker")
    return _received(link, size - 4)


def _received(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise ConnectionError("hung up")
        data += more
    return data
