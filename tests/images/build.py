"""Build images whose inputs changed, and load them into a cluster."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.cache import cache_root, locked
from tests.cluster.shell import run, say, step
from tests.images.builders import find_builder
from tests.images.catalog import Image, digest, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cluster.interface import ClusterProvider
    from tests.images.builders import Builder

__all__ = ["BuiltImage", "build", "clean", "load"]


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is up to date.

    Attributes
    ----------
    reference
        Its name, whose tag is a digest of its inputs: an old image is never taken for a new one.
    archive
        An OCI or docker archive that holds it under that name.
    """

    image: Image
    reference: str
    archive: Path


def build(names: Iterable[str] = ()) -> list[BuiltImage]:
    """Build the named images, all for no names; at once for those that are up to date.

    Raises
    ------
    KeyError
        There is no such image.
    ToolingError
        There is nothing to build with, or a build failed; the message has its last lines.
    """
    images = named(names)
    builder = find_builder()
    # One at a time, also between processes: the storage and the base image are shared.
    with locked("images"):
        return [_build(image, builder) for image in images]


def load(built: Iterable[BuiltImage], cluster: ClusterProvider) -> dict[str, str]:
    """Bring images to a cluster; returns the reference that its pods use, by image name."""
    return {each.image.name: cluster.load(str(each.archive)) for each in built}


def clean() -> None:
    """Remove all that building images left in the cache."""
    folder = cache_root() / "images"
    with locked("images"):
        # A build that was killed may have left file systems mounted, innermost last.
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([each for each in mounts if Path(each).is_relative_to(folder)]):
            run(["umount", mount])
        shutil.rmtree(folder, ignore_errors=True)


def _build(image: Image, builder: Builder) -> BuiltImage:
    tag = digest(image, *builder.settings)
    reference = f"localhost/{image.name}:{tag}"
    folder = cache_root() / "images" / "archives"
    archive = folder / f"{image.name}-{tag}.tar"
    built = BuiltImage(image, reference, archive)
    if archive.exists():
        say(f"  ✓ image {image.name} is up to date")
        return built
    folder.mkdir(parents=True, exist_ok=True)
    builder.prepare()
    with step(f"building image {image.name}"):
        builder.build(image, reference)
        # Beside its final place, so that an archive that was broken off never looks finished.
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        builder.save(reference, unfinished)
        for old in folder.glob(f"{image.name}-*.tar"):
            old.unlink()
        unfinished.rename(archive)
    return built
