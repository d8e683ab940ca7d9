"""The least that a mail server on this event loop can cost: TLS, a fixed answer to every line, and nothing else.

`python -m bench.floor PORT CERTIFICATE KEY` serves; `python -m bench --floor` measures it beside the others. It reads
no command, keeps no message and syncs nothing: what it takes, any server in Python takes before it has done anything.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys

import uvloop

ANSWERS = {
    b"EHLO": b"250-floor\r\n250-8BITMIME\r\n250-SIZE 10485760\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n",
    b"AUTH": b"235 Authentication successful.\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"QUIT": b"221 Bye\r\n",
}
OK = b"250 Ok\r\n"
ACCEPTED = b"250 Ok 010001a209148dbe-c41641a4-0368-4992-9ffb-207902fd563d-000000\r\n"
END = b"\r\n.\r\n"


class Constant(asyncio.Protocol):
    """A connection: one command in a chunk, as the generator sends them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets."""
        self._transport = transport
        self._in_message = False
        self._end = b""
        transport.write(b"220 floor ESMTP\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Looks at four octets of a command, and at the last five of a message."""
        if self._in_message:
            self._end = (self._end + data)[-5:]
            if self._end != END:
                return
            self._in_message = False
            answer = ACCEPTED
        else:
            self._end = b""
            verb = data[:4]
            self._in_message = verb == b"DATA"
            answer = ANSWERS.get(verb, OK)
        self._transport.write(answer)  # type: ignore[attr-defined]
        if answer is ANSWERS[b"QUIT"]:
            self._transport.close()


async def serve(port: int, certificate: str, key: str) -> None:
    """Until it is killed; several processes may share the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.num_tickets = 1
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(Constant, sock=listener, ssl=context, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
