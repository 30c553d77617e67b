"""A small HTTP service over a pool of workers, with the standard library alone.

    python examples/python-service/service.py testdata/tiny --workers 2
    curl -N localhost:8080/chat -d "Tell me a story about a cat."
    curl localhost:8080/workers

Answers are streamed as they are decoded. If a client hangs up, its request is cancelled in the
worker. If a worker crashes, its requests fail and it is started again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlxwire
import mlxwire.sync

MOST_BODY_BYTES = 1 << 20
MAX_TOKENS = 256
THE_CALLERS_FAULT = (mlxwire.InvalidParams, mlxwire.ContextOverflow, mlxwire.MessageTooLarge)


class Service(ThreadingHTTPServer):
    """The HTTP server, with the pool and the model; each request has a thread of its own."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], pool: mlxwire.sync.Pool, model: mlxwire.sync.Model
    ) -> None:
        self.pool = pool
        self.model = model
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    """Answers `POST /chat`, whose body is the text, and `GET /workers`."""

    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        if self.path != "/workers":
            return self.send_error(HTTPStatus.NOT_FOUND)
        workers = [asdict(worker) for worker in self.server.pool.workers]
        return self.reply(HTTPStatus.OK, json.dumps(workers, indent=2) + "\n")

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if self.path != "/chat":
            return self.send_error(HTTPStatus.NOT_FOUND)
        if not 0 < size <= MOST_BODY_BYTES:
            return self.send_error(HTTPStatus.BAD_REQUEST, f"1 to {MOST_BODY_BYTES} bytes")
        text = self.rfile.read(size).decode("utf-8", "replace")
        try:
            with self.server.model.chat(text, max_tokens=MAX_TOKENS) as stream:
                self.stream(stream)
        except ConnectionError:
            self.close_connection = (
                True  # the client hung up; leaving the stream cancelled the request
            )
        except mlxwire.MlxwireError as error:
            self.refuse(error)
        return None

    def stream(self, stream: mlxwire.sync.TokenStream) -> None:
        """Send each text of the answer as a chunk, without thoughts.

        The headers go out with the first token, since in its place an error may come.
        """
        begun = False
        for token in stream:
            if not begun:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                begun = True
            if token.text and token.channel is None:
                self.chunk(token.text.encode())
        if begun:
            self.chunk(b"")
        else:
            self.reply(HTTPStatus.OK, "")

    def chunk(self, content: bytes) -> None:
        """Send one chunk; an empty one ends the answer."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def refuse(self, error: mlxwire.MlxwireError) -> None:
        """Report an error, with a status that tells whether to ask again."""
        if error.tokens_delivered:
            self.close_connection = (
                True  # amid the answer: without its last chunk it is cut off
            )
        elif isinstance(error, THE_CALLERS_FAULT):
            self.reply(HTTPStatus.BAD_REQUEST, f"{error.message}\n")
        elif error.retryable:
            self.reply(HTTPStatus.SERVICE_UNAVAILABLE, f"{error.message}\n", retry_after=1)
        else:
            self.reply(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error.message}\n")

    def reply(self, status: HTTPStatus, text: str, *, retry_after: int | None = None) -> None:
        """Send a whole answer at once."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--engine", choices=["mlx", "mock"], default="mlx")
    given = parser.parse_args()
    with mlxwire.sync.Pool(engine=given.engine, unload_after=600, on_change=print) as pool:
        model = pool.load(given.model, workers=given.workers)
        with Service(("127.0.0.1", given.port), pool, model) as service:
            print(f"http://127.0.0.1:{service.server_port}/chat", flush=True)
            try:
                service.serve_forever()
            except KeyboardInterrupt:
                print("closing")


if __name__ == "__main__":
    main()
