"""An S3 server of this machine in a process of its own, for GDAL too, which holds Python up while it reads.

Run as a program it prints its port, then a line for each request: method and path.
"""

import logging
import sys
import threading
from contextlib import contextmanager


def backend():
    """The server as an application."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@contextmanager
def serving(app):
    """The address at which a thread serves an application."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def told(app):
    """The same application, which tells of each request before it is answered."""

    def telling(environ, respond):
        sys.stdout.write(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}\n")
        sys.stdout.flush()
        return app(environ, respond)

    return telling


if __name__ == "__main__":
    with serving(told(backend())) as url:
        print(url, flush=True)
        sys.stdin.read()  # until whoever started it is gone
