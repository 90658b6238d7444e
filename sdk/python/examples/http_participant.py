"""A participant over plain HTTP, without an SDK: goconductor service set parcels --url http://127.0.0.1:9101."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

responses: dict[str, bytes] = {}  # by idempotency key; a real service stores them in its database


class Participant(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # an unread body would reset the connection
        body = responses.setdefault(self.headers["Idempotency-Key"], b'{"done": "%s"}' % self.path.encode())
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 9101), Participant).serve_forever()
