"""A server of files on 127.0.0.1 that answers range requests, and misbehaves as it is told."""

import http.server
import re
import threading
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder, misbehave=lambda _number, _path: "ok", says=lambda _file: {}):
    """The base URL.

    misbehave: number and path of a request -> ok, drop, 503, 404, short, stall or begin (which gives the beginning,
    and says so, whatever is asked). says: headers about a file.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body):
            with lock:
                counts["requests"] += 1
                how = misbehave(counts["requests"], self.path)
            file = Path(folder) / self.path.lstrip("/").split("?")[0]
            if how == "drop":
                self.close_connection = True
                return
            if how == "stall":
                released.wait(20)
                self.close_connection = True
                return
            if how == "503" or how == "404" or not file.is_file():
                self.send_response(int(how) if how.isdigit() else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = file.read_bytes()
            first, last = 0, len(data) - 1
            if match := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(match[1]), min(int(match[2] or last), last)
                first, last = (0, last - first) if how == "begin" else (first, last)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            for name, value in says(file).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            if body:
                part = data[first : last + 1]
                self.wfile.write(part[: len(part) // 2] if how == "short" else part)
                self.close_connection = how == "short"

        def log_message(self, *_args):
            pass

    counts, lock, released = {"requests": 0}, threading.Lock(), threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
