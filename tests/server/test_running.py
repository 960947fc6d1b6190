"""The socket that a server listens at."""

import asyncio
import socket

import pytest

from spanbert_tf.server.running import bound


def test_answers_are_sent_at_once():
    """Without Nagle's algorithm, which asyncio turns off for sockets that say they are TCP's."""
    delays = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        of = writer.get_extra_info("socket")
        delays.append(of.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0)
        writer.close()

    async def connect() -> None:
        with bound("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(answer, sock=listener)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()
            server.close()

    asyncio.run(connect())
    assert delays == [False]


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"),
            bound("127.0.0.1", port),
        ):
            pass
