from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from goconductor import Client, MisuseError, NoExecutorError, NotAllowedError, Service, TLSFiles
from goconductor.v1 import service_pb2, service_pb2_grpc, worker_pb2, worker_pb2_grpc


class Authority:
    """Signs certificates, and writes them as NAME.pem and NAME.key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, folder.name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.write("ca", self.key, self.build(self.key, self.name, x509.BasicConstraints(ca=True, path_length=None)))

    def build(self, key: Any, name: x509.Name, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder(
            self.name,
            name,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(hours=1),
        )
        for each in extensions:
            builder = builder.add_extension(each, critical=isinstance(each, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def sign(self, name: str, *names: x509.GeneralName) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extensions = [x509.SubjectAlternativeName(names)] if names else []
        self.write(name, key, self.build(key, subject, *extensions))

    def write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.path(f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.path(f"{name}.key").write_bytes(private)

    def path(self, name: str) -> Path:
        return self.folder / name

    def files(self, name: str) -> TLSFiles:
        return TLSFiles(str(self.path("ca.pem")), str(self.path(f"{name}.pem")), str(self.path(f"{name}.key")))


class Executor(worker_pb2_grpc.WorkerServiceServicer):
    """Accepts workers with a certificate and a token."""

    def __init__(self) -> None:
        self.hellos: list[worker_pb2.Hello] = []

    async def Connect(self, request_iterator: Any, context: Any) -> AsyncIterator[worker_pb2.ConnectResponse]:  # noqa: N802
        if dict(context.invocation_metadata()).get("authorization") != "Bearer secret":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing")
        self.hellos.append((await context.read()).hello)
        yield worker_pb2.ConnectResponse(welcome=worker_pb2.Welcome(executor="test"))
        await asyncio.Event().wait()


class Gateway(service_pb2_grpc.ServiceServiceServicer):
    """Lists no processes."""

    async def ListProcesses(self, request: Any, context: Any) -> service_pb2.ListProcessesResponse:  # noqa: N802
        return service_pb2.ListProcessesResponse()


@asynccontextmanager
async def listening(authority: Authority, role: str, *names: x509.GeneralName) -> AsyncIterator[tuple[str, Executor]]:
    authority.sign(role, x509.UniformResourceIdentifier(f"spiffe://goconductor/{role}"), *names)
    credentials = grpc.ssl_server_credentials(
        [(authority.path(f"{role}.key").read_bytes(), authority.path(f"{role}.pem").read_bytes())],
        authority.path("ca.pem").read_bytes(),
        require_client_auth=True,
    )
    executor, server = Executor(), grpc.aio.server()
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(executor, server)
    service_pb2_grpc.add_ServiceServiceServicer_to_server(Gateway(), server)  # type: ignore[abstract]
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"https://127.0.0.1:{port}", executor
    await server.stop(0)


async def connect(address: str, files: TLSFiles, token: str = "secret") -> None:
    shop = Service("shop")
    shop.action("work")(lambda: None)

    async def source() -> str:
        return token

    async with Client("https://127.0.0.1:1", tls=files, token=source, executors=[address]) as client:
        await (await client.serve(shop)).connected(3)


async def test_worker_connects_with_certificate_and_token(tmp_path: Path) -> None:
    trusted, other = Authority(tmp_path / "trusted"), Authority(tmp_path / "other")
    trusted.sign("worker")
    files = trusted.files("worker")
    # The certificate need not have the address of the executor.
    name = x509.DNSName("executor.example")
    async with listening(trusted, "saga-executor", name) as (address, executor):
        await connect(address, files)
        assert [(hello.service, hello.capacity) for hello in executor.hellos] == [("shop", 64)]
        with pytest.raises(NoExecutorError, match="the token is missing"):
            await connect(address, files, "wrong")
        with pytest.raises(NoExecutorError, match="certificate verify failed"):
            await connect(address, TLSFiles(other.files("ca").ca, files.certificate, files.key))
    async with listening(trusted, "state-store", name) as (address, _):
        with pytest.raises(NoExecutorError, match="expected saga-executor"):
            await connect(address, files)


async def test_gateway_is_verified_by_host_name_and_role(tmp_path: Path) -> None:
    trusted = Authority(tmp_path / "trusted")
    trusted.sign("operator")
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    request = service_pb2.ListProcessesRequest()
    async with listening(trusted, "api-gateway", loopback) as (address, _):
        async with Client(address, tls=trusted.files("operator")) as client:
            channel = await client.channel()
            await service_pb2_grpc.ServiceServiceStub(channel).ListProcesses(request)
            # Changed files are used for new connections.
            await asyncio.sleep(1.1)
            trusted.sign("operator")
            assert await client.channel() is not channel
        async with Client(address.replace("127.0.0.1", "localhost"), tls=trusted.files("operator")) as client:
            with pytest.raises(Exception, match="certificate is not valid for 'localhost'"):
                await client.channel()
    async with listening(trusted, "worker", loopback) as (address, _):
        async with Client(address, tls=trusted.files("operator")) as client:
            with pytest.raises(NotAllowedError, match="expected api-gateway"):
                await client.channel()


def test_files_are_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="must be set together"):
        Client("https://127.0.0.1:1", tls=TLSFiles(certificate="a.pem"))
    with pytest.raises(MisuseError, match="no effect"):
        Client("http://127.0.0.1:1", tls=TLSFiles())
    with pytest.raises(MisuseError, match="cannot be used"):
        Client("https://127.0.0.1:1", tls=TLSFiles(ca=str(tmp_path / "missing.pem")))
