"""Images in the local builder's storage, found and exported with whichever tool has them."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.archive import archive_names
from tests.cluster.packages import ensure
from tests.cluster.shell import CommandError, ToolingError, run

__all__ = ["LocalImage", "exported", "find_image", "push", "pushed_name"]

# buildah and podman share one storage; docker has its own.
_BUILDERS = ("buildah", "podman", "docker")


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image and the builder that has it; ``identity`` changes with the image's content."""

    reference: str
    builder: str
    identity: str


def find_image(reference: str) -> LocalImage:
    """Find an image by name in the storage of buildah, podman or docker.

    Raises
    ------
    ToolingError
        No builder has it.
    """
    present = [builder for builder in _BUILDERS if shutil.which(builder)]
    for builder in present:
        with contextlib.suppress(CommandError):
            listed = run([builder, "images", "--quiet", "--no-trunc", reference]).stdout.split()
            if listed:
                return LocalImage(reference, builder, listed[0])
    searched = ", ".join(present) or "no image builder is installed"
    raise ToolingError(f"there is no image {reference} (searched: {searched}) and no such file")


@contextlib.contextmanager
def exported(image: str | LocalImage) -> Iterator[tuple[Path, list[str]]]:
    """Give an archive of an image, and the names of the images in it, for as long as needed.

    Parameters
    ----------
    image
        An image found before, or the path of an archive.
    """
    if isinstance(image, str):
        path = Path(image)
        yield path, list(archive_names(path))
        return
    with TemporaryDirectory(prefix="mailsync-image-") as folder:
        path = Path(folder) / "image.tar"
        if image.builder == "docker":
            run(["docker", "save", "--output", path, image.reference])
        else:
            target = f"oci-archive:{path}:{image.reference}"
            # The archive lives for seconds: compressing it costs more than it saves.
            extra = ["--disable-compression"] if image.builder == "buildah" else []
            run([image.builder, "push", *extra, image.reference, target])
        yield path, [image.reference]


def pushed_name(reference: str, registry: str) -> str:
    """Name an image in another registry: its last path component and tag, nothing else.

    >>> pushed_name("localhost/syncjob:1", "registry.example/team")
    'registry.example/team/syncjob:1'
    """
    return f"{registry.rstrip('/')}/{reference.rpartition('/')[2]}"


def push(image: str, registry: str) -> str:
    """Push an image to a registry and return its name there."""
    if Path(image).is_file():
        with exported(image) as (path, names):
            target = pushed_name(names[0], registry)
            if not shutil.which("skopeo"):
                ensure("skopeo")
            kind = "oci-archive" if _is_oci(path) else "docker-archive"
            run(["skopeo", "copy", f"{kind}:{path}", f"docker://{target}"])
        return target
    found = find_image(image)
    target = pushed_name(found.reference, registry)
    if found.builder == "docker":
        run(["docker", "tag", found.reference, target])
        run(["docker", "push", target])
    else:
        run([found.builder, "push", found.reference, f"docker://{target}"])
    return target


def _is_oci(path: Path) -> bool:
    with tarfile.open(path) as archive:
        return "oci-layout" in archive.getnames()
