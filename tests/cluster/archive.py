"""OCI image archives: written for programs that need no file system, read for their name."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.shell import ToolingError

__all__ = ["archive_names", "image_reference", "write_image"]

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image_reference(name: str, program: bytes) -> str:
    """Name an image after its content, so that an old one is never taken for the new one."""
    return f"localhost/mailsync-{name}:{hashlib.sha256(program).hexdigest()[:12]}"


def write_image(target: Path, reference: str, program: bytes, *, command: str) -> None:
    """Write an OCI archive of an image that holds one static program, run as a plain user.

    Parameters
    ----------
    command
        Absolute path of the program within the image.
    """
    layer = _tar({command.lstrip("/"): (program, 0o755)})
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [command], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = {_LAYER: layer, _CONFIG: _json(config)}
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, blobs[_CONFIG]),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    # containerd reads the first annotation, buildah and podman the second.
    names = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference,
    }
    index = {
        "schemaVersion": 2,
        "manifests": [_descriptor(_MANIFEST, manifest) | {"annotations": names}],
    }
    files = {f"blobs/sha256/{_hex(blob)}": blob for blob in (*blobs.values(), manifest)}
    files |= {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(_tar({path: (content, 0o644) for path, content in files.items()}))


def archive_names(path: Path) -> Sequence[str]:
    """Read the references of the images in an OCI or docker archive.

    Raises
    ------
    ToolingError
        The file is neither, or names no image.
    """
    try:
        with tarfile.open(path) as archive:
            names = _oci_names(_member(archive, "index.json"))
            names = names or _docker_names(_member(archive, "manifest.json"))
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ToolingError(f"{path} is no image archive: {error}") from error
    if not names:
        raise ToolingError(f"{path} names no image; push it as oci-archive:FILE:NAME")
    return names


def _member(archive: tarfile.TarFile, name: str) -> Any:
    try:
        file = archive.extractfile(name)
    except KeyError:
        return None
    return json.load(file) if file else None


def _oci_names(index: Any) -> list[str]:
    manifests = (index or {}).get("manifests", [])
    notes = [manifest.get("annotations", {}) for manifest in manifests]
    keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
    found = [next((note[key] for key in keys if key in note), "") for note in notes]
    return [name for name in found if name]


def _docker_names(manifest: Any) -> list[str]:
    return [name for image in manifest or [] for name in image.get("RepoTags") or []]


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Pack files with neither times nor owners, so that equal content gives equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (content, mode) in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{_hex(blob)}"


def _hex(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
