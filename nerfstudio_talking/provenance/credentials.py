"""Content Credentials (C2PA) of the videos that portraits speak: made by a model, which one, of what, with what audio.

With the extra `provenance`; without c2pa-python a video has its tag and its watermark alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.version import __version__
from nerfstudio_talking.provenance.signing import SigningKey, machine_key

_MIME_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
SYNTHETIC_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ORIGIN_LABEL = "com.nerfstudio-talking.origin"
"""Name of our own assertion in a manifest."""


@dataclass(frozen=True)
class VideoOrigin:
    """What a video was made of."""

    model: str
    """The method."""
    portrait: str
    """Digest of the clip that the portrait was learned from."""
    audio: str | None = None
    """SHA-256 of the audio, where it was a file or an array."""


@dataclass(frozen=True)
class Credentials:
    """What a video's Content Credentials say."""

    state: str
    """'Trusted', 'Valid' (the signature holds, its certificate is on no list), or 'Invalid'."""
    source: str | None
    """The digital source type of the first action."""
    origin: dict[str, Any] | None
    """Our own assertion (`VideoOrigin`), where it is there."""
    signer: str | None
    """Organization of the certificate."""

    @property
    def say_synthetic(self) -> bool:
        """Whether they hold, and call the video made by a model."""
        return self.state in ("Trusted", "Valid") and self.source == SYNTHETIC_SOURCE


def credentials_exist() -> bool:
    """Whether c2pa-python is installed."""
    try:
        import c2pa  # noqa: F401
    except ImportError:
        return False
    return True


def signed_by(origin: VideoOrigin, output: Path, key: SigningKey | None = None) -> Callable[[Path], None] | None:
    """What puts credentials into a finished video; None where the container has none, or c2pa-python is missing.

    Args:
        origin: what the video is made of.
        output: its name, whose ending says the container.
        key: signs; the key of this machine where None.

    Raises:
        TalkingError: a key is given, but c2pa-python is missing.
    """
    mime = _MIME_TYPES.get(output.suffix.lower())
    if not credentials_exist():
        if key is not None:
            hint = "pip install 'nerfstudio-talking[provenance]'"
            raise TalkingError("--sign-cert", expected="c2pa-python", found="it is not installed", hint=hint)
        return None
    return None if mime is None else functools.partial(sign_video, origin=origin, mime=mime, key=key)


def sign_video(path: Path, origin: VideoOrigin, mime: str, key: SigningKey | None = None) -> None:
    """Put credentials into a video, in place.

    Args:
        path: the video.
        origin: what it is made of.
        mime: its media type.
        key: signs; the key of this machine where None.

    Raises:
        TalkingError: the key is refused, or the video cannot be signed.
    """
    import c2pa

    key = key or machine_key()
    chain, private = key.read()
    signed = path.with_name(path.name + ".signed")
    try:
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain.encode(), private.encode(), None)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(_manifest(origin)) as builder,
            path.open("rb") as source,
            signed.open("w+b") as target,
        ):
            builder.sign(signer, mime, source, target)
        signed.replace(path)
    except c2pa.C2paError as error:
        raise TalkingError(
            key.certificates,
            expected="a certificate that C2PA accepts",
            found=" ".join(str(error).split()),
            hint="Its subject needs an organization, and it needs an issuer; the key is one of P-256.",
        ) from error
    finally:
        signed.unlink(missing_ok=True)


def read_credentials(path: Path) -> Credentials | None:
    """The credentials of a video; None where it has none.

    Raises:
        TalkingError: c2pa-python is missing.
    """
    if not credentials_exist():
        hint = "pip install 'nerfstudio-talking[provenance]'"
        raise TalkingError("reading credentials", expected="c2pa-python", found="it is not installed", hint=hint)
    import c2pa

    try:
        with c2pa.Reader(path) as reader:
            manifest, state = reader.get_active_manifest() or {}, reader.get_validation_state()
    except c2pa.C2paError as error:
        if "ManifestNotFound" in type(error).__name__ + str(error) or "NotSupported" in type(error).__name__:
            return None
        return Credentials("Invalid", None, None, None)
    assertions = {one.get("label", ""): one.get("data") for one in manifest.get("assertions", [])}
    actions = next((data for label, data in assertions.items() if label.startswith("c2pa.actions")), None) or {}
    first = next(iter(actions.get("actions", [])), {})
    signature = manifest.get("signature_info") or {}
    return Credentials(
        str(state), first.get("digitalSourceType"), assertions.get(ORIGIN_LABEL), signature.get("issuer")
    )


def _manifest(origin: VideoOrigin) -> str:
    agent = {"name": "nerfstudio-talking", "version": __version__}
    # no action c2pa.watermarked: it asks for a soft binding of a registered algorithm, which ours is not
    actions = [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC_SOURCE, "softwareAgent": agent}]
    return json.dumps(
        {
            "claim_generator_info": [agent],
            "title": "synthetic talking portrait",
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": actions}},
                {"label": ORIGIN_LABEL, "data": {k: v for k, v in asdict(origin).items() if v is not None}},
            ],
        }
    )
