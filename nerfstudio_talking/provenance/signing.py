"""Keys that sign Content Credentials: the user's own, or a chain that is made on this machine at the first use."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_ORGANIZATION = "nerfstudio-talking, made on this machine"
_DAYS = 3650


@dataclass(frozen=True)
class SigningKey:
    """A certificate chain and its private key."""

    certificates: Path
    """PEM file, the signing certificate first. Its subject needs an organization, and a use of e-mail protection or
    document signing: C2PA asks for both."""
    private_key: Path
    """PEM file of the private key, P-256."""

    def read(self) -> tuple[str, str]:
        """Both files.

        Raises:
            TalkingError: one is missing, or is no PEM file of its kind.
        """
        texts = []
        for path, kind in ((self.certificates, "CERTIFICATE"), (self.private_key, "PRIVATE KEY")):
            expected = f"a PEM file with a {kind.lower()}"
            try:
                text = path.read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise TalkingError(path, expected=expected, found=str(error), hint="Name the file.") from error
            if kind not in text:
                raise TalkingError(path, expected=expected, found="something else", hint="Convert it with `openssl`.")
            texts.append(text)
        return texts[0], texts[1]


def signing_key(certificates: Path | None, private_key: Path | None) -> SigningKey | None:
    """The user's key as the command line gives it; None where it gives none.

    Raises:
        TalkingError: only one of the two is given, or a file is no PEM file of its kind.
    """
    if certificates is None and private_key is None:
        return None
    if certificates is None or private_key is None:
        hint = "Give --sign-cert and --sign-key."
        raise TalkingError("the signing key", expected="certificates and a key", found="one of them", hint=hint)
    key = SigningKey(certificates, private_key)
    key.read()
    return key


def machine_key(folder: Path | None = None) -> SigningKey:
    """The key of this machine; made where there is none. It makes credentials valid, but nobody trusts it.

    Args:
        folder: where it lies; `$NERFSTUDIO_TALKING_SIGNING`, or `nerfstudio-talking/signing` in the user's
            configuration folder, where None.

    Raises:
        TalkingError: the folder cannot be written.
    """
    if folder is None:
        configuration = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
        folder = Path(os.environ.get("NERFSTUDIO_TALKING_SIGNING", configuration / "nerfstudio-talking" / "signing"))
    key = SigningKey(folder / "certificates.pem", folder / "key.pem")
    if key.certificates.is_file() and key.private_key.is_file():
        return key
    chain, private = _make_chain()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # both files appear at once: another process may make a key at the same time, and its pair is as good
        with TemporaryDirectory(prefix=".signing-", dir=folder.parent) as part:
            for path, content in ((key.private_key, private), (key.certificates, chain)):
                with os.fdopen(os.open(Path(part, path.name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                    file.write(content)
            try:
                Path(part).rename(folder)
            except OSError:
                if not (key.certificates.is_file() and key.private_key.is_file()):
                    raise
                return key
            Path(part).mkdir()  # for the temporary folder to remove
    except OSError as error:
        hint = "Set NERFSTUDIO_TALKING_SIGNING to a folder, or give --sign-cert and --sign-key."
        raise TalkingError(folder, expected="a folder to write", found=str(error), hint=hint) from error
    CONSOLE.print(
        f"Made a key that signs videos of this machine, {folder}. Verifiers call such videos valid, not trusted: for "
        "trust sign with a certificate of your own (--sign-cert, --sign-key).",
        markup=False,
    )
    return key


def _make_chain() -> tuple[bytes, bytes]:
    """A certificate with the one that issued it, and its private key, as PEM; the issuer's key is thrown away."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    issuing, signing = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("root", issuing, "root", issuing, is_issuer=True)
    leaf = _certificate("signer", signing, "root", issuing, is_issuer=False)
    pem = serialization.Encoding.PEM
    private = signing.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem), private


def _certificate(
    name: str, key: EllipticCurvePrivateKey, issuer: str, issuing: EllipticCurvePrivateKey, is_issuer: bool
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def subject(common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)
        return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, f"nerfstudio-talking {common}")])

    now = datetime.datetime.now(datetime.timezone.utc)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_issuer, key_cert_sign=is_issuer, crl_sign=is_issuer, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False)
    )
    if not is_issuer:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuing, hashes.SHA256())
