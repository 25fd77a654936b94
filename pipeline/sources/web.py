"""The bytes of an http or https address, within limits of time and size."""

import http.client
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import requests
import urllib3

from pipeline.errors import first_line

CHUNK = 1 << 16
REDIRECTS = 5
SIGNAL_SECONDS = 1.0  # within which a signal is noticed that came just before a wait began


class SourceError(Exception):
    """Why a source could not give a file, in a few words."""


class UnreachableError(SourceError):
    """Why a source could not be asked: its other files need not be tried."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a library raises on bad bytes into a `SourceError` of one line."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{what}: {first_line(error)}") from None


@dataclass(frozen=True)
class Limits:
    """What a source may take: seconds, bytes of each uncompressed file, and how many files."""

    connect_timeout: float
    read_timeout: float
    total_timeout: float
    max_bytes: int
    files: int


def fetched(address: str, limits: Limits) -> Iterator[bytes]:
    """Yield the body of an http or https address as it was sent, within the time limits.

    A thread waits for the bytes, so that the total time holds even while the name is looked up and
    for a body or a header that drips in byte by byte.
    """
    used: queue.SimpleQueue[bool] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for chunk in body_of(address, limits):
                answers.put(chunk)
                if not used.get():
                    return
            answers.put(None)
        except Exception as error:
            answers.put(error)

    deadline = time.monotonic() + limits.total_timeout
    threading.Thread(target=work, daemon=True).start()
    try:
        while (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                answer = answers.get(timeout=min(left, SIGNAL_SECONDS))
                if isinstance(answer, Exception):
                    raise answer
                if answer is None:
                    return
                yield answer
                used.put(True)
        raise UnreachableError(f"took longer than {limits.total_timeout:g} s")
    finally:
        used.put(False)


def body_of(address: str, limits: Limits) -> Iterator[bytes]:
    """Yield the body of an address as it was sent; stop when no byte comes for too long."""
    try:
        with requests.Session() as session:
            session.max_redirects = REDIRECTS
            response = session.get(
                address,
                stream=True,
                timeout=(limits.connect_timeout, limits.read_timeout),
                headers={"Accept-Encoding": "identity"},
                hooks={"response": skip_redirect_body},
            )
            with response:
                if response.status_code != requests.codes.ok:
                    meaning = http.client.responses.get(response.status_code, "")
                    raise SourceError(f"HTTP status {response.status_code} {meaning}".rstrip())
                while chunk := response.raw.read(CHUNK, decode_content=False):
                    yield chunk
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise UnreachableError(reason(error, limits)) from None


def skip_redirect_body(response: requests.Response, **_: object) -> None:
    """Close a response that leads elsewhere: requests would read all of its body into memory."""
    if response.is_redirect:
        response.close()


def reason(error: Exception, limits: Limits) -> str:
    """Say in a few words why a request failed."""
    cause = root(error)
    where = "the proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    if isinstance(error, requests.ConnectTimeout):
        return f"no answer within {limits.connect_timeout:g} s"
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"stalled: no byte within {limits.read_timeout:g} s"
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {REDIRECTS} redirects"
    if isinstance(cause, socket.gaierror):
        return f"{where}the name of the host cannot be looked up"
    if isinstance(cause, ConnectionRefusedError):
        return f"{where}connection refused"
    if isinstance(cause, http.client.IncompleteRead):
        return "the body is truncated"
    return where + first_line(cause)


def root(error: BaseException) -> BaseException:
    """Return the exception that requests and urllib3 have wrapped into others."""
    for inner in (getattr(error, "reason", None), *error.args, error.__cause__):
        if isinstance(inner, BaseException):
            return root(inner)
    return error
