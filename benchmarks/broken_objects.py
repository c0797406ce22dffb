"""An S3 server on this machine, behind a proxy that makes the k-th request fail."""

import contextlib
import http.client
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "bucket"
CODES = {404: "NoSuchKey", 403: "AccessDenied", 500: "InternalError"}
# Faults of a request. A reset comes before the request is carried out, or after it ("lost"); a torn reply after it.
ANSWERS = ("404", "403", "500", "reset", "lost", "torn")
SECRET = "AKIDONTTELLTHISNAME"


class Proxy:
    """Forward requests to a server, and inject a fault into `times` of them, from the `first` on.

    `counts` is the number of requests since it was set to 0, `met` the number that met the fault.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.fault, self.first, self.times = "", 0, 0
        self.counts = self.met = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def log_message(self, *given: object) -> None:
                pass

            def do_GET(self) -> None:
                proxy.handle(self)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def set(self, fault: str, first: int, times: int) -> None:
        """Inject a fault, counted from now on; "" is none."""
        with self._lock:
            self.fault, self.first, self.times = fault, first, times
            self.counts = self.met = 0

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            self.counts += 1
            meets = bool(self.fault) and self.first <= self.counts < self.first + self.times
            self.met += meets
            fault = self.fault if meets else ""
        if fault == "reset":
            return reset(request)
        if fault.isdigit():
            text = f"<Error><Code>{CODES[int(fault)]}</Code><AWSAccessKeyId>{SECRET}</AWSAccessKeyId></Error>"
            return answer(request, int(fault), {}, text.encode())
        connection = http.client.HTTPConnection(self.host)
        connection.request(request.command, request.path, body, dict(request.headers))
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if fault == "lost":
            return reset(request)
        answer(request, reply.status, dict(reply.headers), content, torn=fault == "torn")


def reset(request: BaseHTTPRequestHandler) -> None:
    """Close a connection without a reply."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def answer(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, torn: bool = False
) -> None:
    """Write a reply, or half of it."""
    request.send_response(status)
    for name, value in headers.items():
        if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
            request.send_header(name, value)
    request.send_header("Content-Length", headers.get("Content-Length", str(len(content))))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content[: len(content) // 2] if torn else content)
    if torn:
        request.wfile.flush()
        reset(request)


@contextlib.contextmanager
def served() -> Iterator[Proxy]:
    """Serve S3 with an empty bucket, set the environment to reach it, and yield the proxy."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = Proxy(f"{host}:{port}")
    region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": proxy.address, **region}
    )
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    try:
        yield proxy
    finally:
        server.stop()
