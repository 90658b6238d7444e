"""Addresses and connections."""

from __future__ import annotations

import asyncio
import os
import ssl
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from .errors import MisuseError, NotAllowedError, UnreachableError

MAX_MESSAGE_BYTES = 64 << 20
"""The maximum size of a message. It exceeds every limit of the server."""
_HANDSHAKE_TIMEOUT = 5.0
"""The timeout in seconds of the handshake that reads a certificate."""
_ROLES = ("api-gateway", "saga-executor", "state-store", "leader-elector", "worker", "operator")
"""The roles in the certificates of GoConductor, as spiffe://<trust domain>/<role>."""
GATEWAY = "api-gateway"
EXECUTOR = "saga-executor"


@dataclass(frozen=True)
class TLSFiles:
    """Files in PEM form."""

    ca: str = ""
    """The authorities that signed the certificates of GoConductor. Empty means those of this machine."""
    certificate: str = ""
    """The certificate of this program. Empty means that it presents none."""
    key: str = ""
    """The private key of the certificate."""

    def stamps(self) -> tuple[int, ...]:
        """Return the times of the last changes of the files."""
        return tuple(os.stat(each).st_mtime_ns for each in (self.ca, self.certificate, self.key) if each)

    def check(self) -> None:
        """Raise MisuseError if the files cannot be used."""
        if bool(self.certificate) != bool(self.key):
            raise MisuseError("a certificate and its key must be set together")
        try:
            self.context(check_hostname=False)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(each for each in (self.ca, self.certificate, self.key) if each)
            raise MisuseError(f"the files of TLS cannot be used: {error} ({files})") from error

    def context(self, *, check_hostname: bool) -> ssl.SSLContext:
        """Return the settings of a handshake."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = check_hostname
        context.set_alpn_protocols(["h2"])
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a channel."""
        root = _read(self.ca) if self.ca else _system_authorities()
        if not self.certificate:
            return grpc.ssl_channel_credentials(root)
        return grpc.ssl_channel_credentials(root, _read(self.key), _read(self.certificate))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _system_authorities() -> bytes | None:
    """Return the authorities of this machine, or None for those of the gRPC library."""
    path = ssl.get_default_verify_paths().cafile
    return _read(path) if path else None


@dataclass(frozen=True)
class Endpoint:
    """The address of a gateway or of an executor."""

    url: str
    host: str
    port: int
    secure: bool

    @property
    def target(self) -> str:
        """The address in the form of gRPC."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @staticmethod
    def parse(text: str) -> Endpoint:
        """Parse a URL such as http://127.0.0.1:8470."""
        try:
            parsed = urllib.parse.urlsplit(text)
            port = parsed.port
        except ValueError:
            parsed, port = urllib.parse.urlsplit(""), None
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise MisuseError(f"{text!r} is not an address: use a URL such as http://127.0.0.1:8470")
        if parsed.username or parsed.password or parsed.query or parsed.fragment or parsed.path not in ("", "/"):
            shown = parsed._replace(netloc=parsed.netloc.rpartition("@")[2]).geturl()
            raise MisuseError(f"the address {shown!r} must have no credentials, no path and no query")
        secure = parsed.scheme == "https"
        return Endpoint(text, parsed.hostname, port or (443 if secure else 80), secure)

    async def open(
        self,
        files: TLSFiles,
        role: str,
        options: Sequence[tuple[str, Any]],
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> grpc.aio.Channel:
        """Return a channel. With TLS, a handshake verifies the role in the certificate of the server first."""
        all_options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.http2.max_pings_without_data", 0),
            *options,
        ]
        if not self.secure:
            return grpc.aio.insecure_channel(self.target, all_options, interceptors=list(interceptors))
        name = await self._verify(files, role)
        if name:
            # An executor announces an address, which its certificate need not contain.
            all_options.append(("grpc.ssl_target_name_override", name))
        return grpc.aio.secure_channel(self.target, files.credentials(), all_options, interceptors=list(interceptors))

    async def _verify(self, files: TLSFiles, role: str) -> str:
        """Verify the certificate of the server. Return the name in it, if it need not be that of the address."""
        by_name = role == GATEWAY
        try:
            opening = asyncio.open_connection(
                self.host, self.port, ssl=files.context(check_hostname=by_name), server_hostname=self.host
            )
            _, writer = await asyncio.wait_for(opening, _HANDSHAKE_TIMEOUT)
        except ssl.SSLError as error:
            raise UnreachableError(f"the handshake with {self.url} failed: {error}", retryable=False) from error
        except (OSError, asyncio.TimeoutError) as error:
            reason = str(error) or f"no connection within {_HANDSHAKE_TIMEOUT} s"
            raise UnreachableError(f"failed to connect to {self.url}: {reason}", retryable=True) from error
        names = (writer.get_extra_info("peercert") or {}).get("subjectAltName", ())
        writer.close()
        found = [each for kind, uri in names if kind == "URI" for each in _roles_of(uri)]
        # The certificate of a gateway may be of a public authority, without a role.
        if role not in found and (found or not by_name):
            raise NotAllowedError(f"the certificate of {self.url} has the roles {found}; expected {role}")
        if by_name:
            return ""
        hosts = [value for kind, value in names if kind == "DNS"] + [value for kind, value in names if kind == "IP Address"]
        if not hosts:
            raise NotAllowedError(f"the certificate of {self.url} has no host name and no IP address")
        return str(hosts[0]).replace("*", "executor")


def _roles_of(uri: str) -> list[str]:
    parsed = urllib.parse.urlsplit(uri)
    role = parsed.path.lstrip("/").split("/")[0]
    return [role] if parsed.scheme == "spiffe" and role in _ROLES else []
