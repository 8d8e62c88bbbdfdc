"""A Kafka with TLS and passwords: its authority, its certificates, its listeners."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka.admin import UserScramCredentialUpsertion

from streaming.client import admin, as_config
from streaming.local_kafka import LocalKafka

PASSWORD = "canary-that-is-never-told"
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True)
class SecuredKafka:
    """TLS: encrypted. ELSEWHERE: with the certificate of another host. MUTUAL: it asks for ours.
    PASSWORD: by PLAIN. BOTH. SCRAM: a password that is never sent. User alice may do everything,
    carol nothing.
    """

    broker: LocalKafka
    authority: Path
    other_authority: Path


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """Running while the block does."""
    authority, other = _authority(folder, "ours"), _authority(folder, "other")
    here = _certificate(folder, authority, "IP:127.0.0.1,DNS:localhost")
    elsewhere = _certificate(folder, authority, "DNS:broker.test")
    login = f'{_PLAIN_LOGIN} required user_alice="{PASSWORD}" user_carol="{PASSWORD}";'
    properties = {
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.scram.sasl.enabled.mechanisms": ",".join(SCRAM_MECHANISMS),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:alice",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(authority),
    }
    places = {"tls": here, "both": here, "mutual": here, "elsewhere": elsewhere}
    for listener, keys in places.items():
        properties[f"listener.name.{listener}.ssl.keystore.type"] = "PEM"
        properties[f"listener.name.{listener}.ssl.keystore.location"] = str(keys)
    for mechanism in SCRAM_MECHANISMS:
        key = f"listener.name.scram.{mechanism.lower()}.sasl.jaas.config"
        properties[key] = f"{_SCRAM_LOGIN} required;"
    for listener in ("password", "both"):
        properties[f"listener.name.{listener}.sasl.enabled.mechanisms"] = "PLAIN"
        properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = login
    listeners = {
        "TLS": "SSL",
        "ELSEWHERE": "SSL",
        "MUTUAL": "SSL",
        "PASSWORD": "SASL_PLAINTEXT",
        "BOTH": "SASL_SSL",
        "SCRAM": "SASL_PLAINTEXT",
    }
    kafka = LocalKafka(folder / "kafka", listeners=listeners, properties=properties)
    with kafka:
        with admin(as_config(kafka.bootstrap)) as client:
            for mechanism in SCRAM_MECHANISMS:  # a request takes a user once
                made = UserScramCredentialUpsertion("alice", mechanism, PASSWORD)
                assert client.alter_user_scram_credentials([made]) == {"alice": None}
        yield SecuredKafka(kafka, authority, other)


def _authority(folder: Path, name: str) -> Path:
    path = folder / f"{name}.pem"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(path.with_suffix(".key")), "-out", str(path), "-days", "2"),
        *("-subj", f"/CN={name}"),
    )
    return path


def _certificate(folder: Path, authority: Path, names: str) -> Path:
    """One file of key and certificate, for a host of these names."""
    stem = f"host-{len(list(folder.glob('host-*.csr')))}"
    key, request, signed = (folder / f"{stem}.{each}" for each in ("key", "csr", "crt"))
    extension = folder / f"{stem}.ext"
    extension.write_text(f"subjectAltName={names}\n")
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={stem}"),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-out", str(signed), "-days", "2"),
        *("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key"))),
        *("-CAcreateserial", "-extfile", str(extension)),
    )
    both = folder / f"{stem}.pem"
    both.write_text(key.read_text() + signed.read_text())
    return both


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
