"""An object store on this machine, and a way to it that fails as it is told to."""

import contextlib
import http.client
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIDONTTELLTHISNAME", "AWS_SECRET_ACCESS_KEY": "dont/tell/this/secret/key"}
BUCKET = "bucket"
ANSWERS = {"full": (403, "QuotaExceeded"), "denied": (403, "AccessDenied"), "missing": (404, "NoSuchKey")}
logging.getLogger("werkzeug").setLevel(logging.WARNING)


@contextlib.contextmanager
def s3():
    """Serve S3, and yield its address; the environment says how it is reached."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with reached_at(address):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield address
    server.stop()


@contextlib.contextmanager
def reached_at(address):
    """Let this process, and those it starts, find S3 at an address."""
    places = {"AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    with mock.patch.dict(os.environ, {**SECRETS, **places}):
        yield


def keys(prefix=""):
    """Return what lies in the bucket."""
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


class Proxy:
    """Passes requests on to a server, but for those that a function of number, method and path makes something of.

    `"error"` is answered with 503 and not passed on, `"lose"` is passed on and not answered, and `"full"`, `"denied"`
    and `"missing"` are answered as by a store that has no room, lets nobody in, or has nothing there.
    """

    def __init__(self, address, fault):
        self.host = address.removeprefix("http://")
        self.fault, self.count, self.faults = fault, 0, 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def log_message(self, *given):
                pass

            def do_GET(self):
                proxy.handle(self)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *given):
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle(self, request):
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            self.count += 1
            fault = self.fault(self.count, request.command, request.path)
            self.faults += fault is not None
        if fault == "error":
            return self.answer(request, 503, {}, b"<Error><Code>SlowDown</Code></Error>")
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            text = f"<Error><Code>{code}</Code><AWSAccessKeyId>{SECRETS['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId></Error>"
            return self.answer(request, status, {}, text.encode())
        connection = http.client.HTTPConnection(self.host)
        connection.request(request.command, request.path, body, dict(request.headers))
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if fault == "lose":
            request.close_connection = True
            return None
        return self.answer(request, reply.status, dict(reply.headers), content)

    def answer(self, request, status, headers, content):
        """Write a reply."""
        request.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                request.send_header(name, value)
        request.send_header("Content-Length", headers.get("Content-Length", str(len(content))))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
