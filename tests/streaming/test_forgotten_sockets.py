"""What the client leaves behind when it is closed at a bad moment: nothing that stops a test."""

import gc
import socket
from collections.abc import Iterator

import pytest
from kafka.net.inet import create_connection
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def connecting(net: NetworkSelector, listener: socket.socket) -> list[socket.socket]:
    found: list[socket.socket] = []

    async def connect() -> None:
        found.append(await create_connection(net, *listener.getsockname()))

    net.call_soon(connect())
    return found


def test_a_client_closed_while_it_connects_leaves_no_warning(listener: socket.socket) -> None:
    """Its socket belongs to nobody then; collected, it would fail whichever test runs."""
    net = NetworkSelector()
    connecting(net, listener)
    net._poll_once()
    net.close()
    gc.collect()


def test_a_client_closed_with_bytes_to_send_leaves_no_warning(listener: socket.socket) -> None:
    """It waits to send them, and no loop runs any more."""
    net = NetworkSelector()
    found = connecting(net, listener)
    while not found:
        net._poll_once()
    transport = KafkaTCPTransport(net, found.pop())
    transport._write_buffer.append(b"a question")
    transport.close()
    net.close()
    del transport
    gc.collect()
