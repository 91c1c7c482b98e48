"""HTTPS server for webhooks and remote clips, with a private CA and fixed answers by path."""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "hooks.example"  # in the certificate, beside 127.0.0.1


@dataclass(frozen=True)
class Received:
    """Request that the receiver got."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Receiver:
    """Address, configured answers and received requests of the server."""

    port: int
    ca: Path
    received: list[Received] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)  # path: next statuses
    files: dict[str, bytes] = field(default_factory=dict)  # path: body
    headers: dict[str, str] = field(default_factory=dict)  # sent with every answer
    over: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def wait_for(self, count: int, *, path: str = "") -> list[Received]:
        """Wait until `count` requests with this start of the path have arrived; return them."""

        def matching() -> list[Received]:
            return [each for each in self.received if each.path.startswith(path)]

        with self.arrived:
            assert self.arrived.wait_for(lambda: len(matching()) >= count, 30), self.received
            return matching()


@contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """Run a receiver on loopback; its CA is written to `folder`."""
    _write_certificates(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    # The handshake is the first read of a connection's thread: a silent client stops nobody else.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    receiver = Receiver(server.server_port, folder / "ca.pem")
    server.receiver = receiver
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers by path: /stall sends nothing, /drip endless single bytes, /endless endless blocks.

    /redirect redirects to loopback; other paths answer as configured, or 200.
    """

    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        self._record(b"")

    def do_POST(self) -> None:
        self._record(self.rfile.read(int(self.headers["content-length"])))

    def _record(self, body: bytes) -> None:
        receiver: Receiver = self.server.receiver
        headers = {name.lower(): value for name, value in self.headers.items()}
        with receiver.arrived:
            receiver.received.append(Received(self.command, self.path, headers, body))
            receiver.arrived.notify_all()
        try:
            self._answer(receiver)
        except OSError:  # the client has closed the connection
            self.close_connection = True

    def _answer(self, receiver: Receiver) -> None:
        planned = receiver.answers.get(self.path)
        status = planned.pop(0) if planned else 200
        if self.path == "/stall":
            receiver.over.wait(60)
            return
        if self.path == "/redirect":
            status = 302
        self.send_response(status)
        for name, value in receiver.headers.items():
            self.send_header(name, value)
        if self.path == "/redirect":
            self.send_header("location", f"https://127.0.0.1:{receiver.port}/secret")
        if self.path in ("/drip", "/endless"):
            self.end_headers()
            self._send_endlessly(receiver)
            return
        body = b"thank\x00you" if status < 400 else b"no, sorry"
        if status == 200:
            body = receiver.files.get(self.path, body)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_endlessly(self, receiver: Receiver) -> None:
        piece, pause = (b"x", 0.05) if self.path == "/drip" else (bytes(65536), 0.0)
        while not receiver.over.wait(pause):
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _write_certificates(folder: Path) -> None:
    """Write `ca.pem`, and `server.pem`: a key and its certificate, signed by the CA."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visavis tests")])

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    ca = (
        build(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(private + server.public_bytes(pem))
