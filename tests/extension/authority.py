"""A certificate authority of the test's own, so that test sites speak HTTPS to unmodified browsers that trust it."""

import base64
import datetime
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Authority:
    """The authority's certificate, and a context that serves its names."""

    certificate_der: bytes
    pem: Path
    context: ssl.SSLContext
    key_digest: str
    """SHA-256 of the site's public key (SubjectPublicKeyInfo), base64."""

    @property
    def chromium_arguments(self) -> tuple[str, ...]:
        """Makes Chromium trust the sites' key."""
        return (f"--ignore-certificate-errors-spki-list={self.key_digest}",)

    @property
    def environment(self) -> dict[str, str]:
        """Makes a Python program trust the authority."""
        return {"SSL_CERT_FILE": str(self.pem)}


def make_authority(folder: Path, names: Sequence[str]) -> Authority:
    """Make keys and certificates for names, which may begin with `*.`, in a folder."""
    root_key, site_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, site_name = _name("Test authority"), _name(names[0])
    root = (
        _builder(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    site = (
        _builder(site_name, root_name, site_key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem, chain = folder / "authority.pem", folder / "site.pem"
    pem.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(
        site.public_bytes(serialization.Encoding.PEM)
        + site_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    public = site_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = base64.b64encode(hashlib.sha256(public).digest()).decode()
    return Authority(root.public_bytes(serialization.Encoding.DER), pem, context, digest)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
    )
