"""A ten-line server: one thread, one event loop, the workload's files from /srv."""

import asyncio
from pathlib import Path


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            body = Path("/srv" + head.split()[1].decode()).read_bytes()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    await (await asyncio.start_server(serve, port=80, backlog=128)).serve_forever()


asyncio.run(main())
