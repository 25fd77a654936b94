"""A local HTTP server whose answers a test writes out byte by byte, and that counts requests."""

import gzip
import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:  # the name that http.server looks for
        self.server.asked.append(self.path)
        with suppress(OSError):  # a client that has heard enough hangs up
            self.server.answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, *parts: bytes) -> None:
        """Send parts at once."""
        self.wfile.write(b"".join(parts))

    def drip(self, part: bytes, pause: float) -> None:
        """Send the same part again and again, until the client or the test has had enough."""
        while not self.server.closing.wait(pause):
            self.send(part)


Answer = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.closing = Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    """Run a server that gives one answer."""
    with Server(answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


@contextmanager
def nobody() -> Iterator[str]:
    """Give an address at which nobody listens, nor can until the block ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def head(code: int = 200, **headers: object) -> bytes:
    """Return a status line and headers."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    phrase = http.client.responses.get(code, "")
    return "\r\n".join([f"HTTP/1.1 {code} {phrase}", *lines, "\r\n"]).encode()


def whole(content: bytes, code: int = 200, **headers: object) -> Answer:
    """Answer with a whole body."""
    return lambda handler: handler.send(head(code, Content_Length=len(content), **headers), content)


def status(code: int) -> Answer:
    """Answer with a status and a page that explains it."""
    return whole(b"<html>what is wrong</html>", code)


def redirect(location: str) -> Answer:
    """Answer that the file has moved."""
    return whole(b"", 302, Location=location)


def endless(start: bytes, part: bytes, pause: float = 0) -> Answer:
    """Answer with a start and then a part without end."""

    def answer(handler: Handler) -> None:
        handler.send(start)
        handler.drip(part, pause)

    return answer


def files(contents: Mapping[str, bytes]) -> Answer:
    """Answer each path with its content, any other with 404."""

    def answer(handler: Handler) -> None:
        name = handler.path.removeprefix("/")
        (whole(contents[name]) if name in contents else status(404))(handler)

    return answer


def packed(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder as NAME.gz."""
    return {f"{path.name}.gz": gzip.compress(path.read_bytes()) for path in folder.iterdir()}
