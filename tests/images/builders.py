"""Programs that build images: docker or podman where they work, else buildah with its own storage.

buildah builds from nothing but Debian's packages and is what the project's own tests use. docker,
with both of its builders, was tried with the same Dockerfile on a local base image. podman, and the
public base image, were not tried: there was no registry to get it from.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.cluster.cache import cache_root
from tests.cluster.packages import ensure
from tests.cluster.shell import CommandError, ToolingError, run, step
from tests.images.base import BASE_SETTINGS, write_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.images.catalog import Image

__all__ = ["Buildah", "Builder", "Docker", "find_builder"]

_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_BASE = f"localhost/mailsync-base:{BASE_SETTINGS[0]}"
_BUILD_BASE = f"localhost/mailsync-build:{BASE_SETTINGS[0]}"
# Settings of the network that a build shares with this machine.
_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")


class Builder(Protocol):
    """A program that turns a Dockerfile into an image archive."""

    @property
    def settings(self) -> tuple[str, ...]:
        """What decides an image's content beside its inputs: which base it gets."""

    def prepare(self) -> None:
        """Get what builds need but the Dockerfiles do not make; shows its own progress."""

    def build(self, image: Image, reference: str) -> None:
        """Build an image into the program's own storage."""

    def save(self, reference: str, archive: Path) -> None:
        """Write an image to an archive that a cluster can load."""


def find_builder() -> Builder:
    """Return docker or podman if one is there and works, else buildah.

    ``MAILSYNC_BUILDER`` names one of the three instead.

    Raises
    ------
    ToolingError
        None of the three can be had.
    """
    wanted = os.environ.get("MAILSYNC_BUILDER", "")
    if wanted not in {"", "docker", "podman", "buildah"}:
        raise ToolingError(f"MAILSYNC_BUILDER={wanted}: choose docker, podman or buildah")
    for program in ("docker", "podman"):
        if wanted == program or (not wanted and _works(program)):
            return Docker(program)
    if sys.platform != "linux":
        raise ToolingError("docker or podman is needed to build images, and neither answers")
    return Buildah()


def _works(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    return run([program, "info"], check=False, timeout=20).returncode == 0


class Docker:
    """docker, or podman which understands the same commands."""

    def __init__(self, program: str) -> None:
        self._program = program

    @property
    def settings(self) -> tuple[str, ...]:
        """The Dockerfiles' own base images."""
        return ("public base",)

    def prepare(self) -> None:
        """Nothing: it pulls the base images itself."""

    def build(self, image: Image, reference: str) -> None:
        """Build with the network settings of the environment."""
        command = [self._program, "build", "--tag", reference, *_target(image)]
        for name in _PASSED_ON:
            command += _argument(name, os.environ.get(name, ""))
        run([*command, str(image.folder)])

    def save(self, reference: str, archive: Path) -> None:
        """Write a docker archive."""
        run([self._program, "save", "--output", archive, reference])


class Buildah:
    """buildah as root, needing neither a daemon nor a registry: its base comes from Debian.

    All that it stores is in the project's cache folder, nothing in the machine's own storage.
    """

    def __init__(self) -> None:
        self._home = cache_root() / "images"
        self._driver = ""

    @property
    def settings(self) -> tuple[str, ...]:
        """The base image's recipe."""
        return BASE_SETTINGS

    def prepare(self) -> None:
        """Make the base images, once."""
        if not self._has(_BASE):
            with write_root(self._home / "root") as root:
                container = self._run("from", "scratch").strip()
                self._run("add", "--quiet", container, str(root), "/")
                self._run("config", "--cmd", "/bin/sh", container)
                self._run("commit", "--quiet", "--rm", container, _BASE)
        if not self._has(_BUILD_BASE):
            with step("adding Python's venv module to the base image, for builds"):
                self._bud(Path(__file__).parent / "base", _BUILD_BASE, _argument("BASE", _BASE))

    def build(self, image: Image, reference: str) -> None:
        """Build on a base of this machine's making, with its certificate authorities."""
        arguments = _argument("BASE", _BASE)
        if image.target:
            arguments += _argument("BUILD_BASE", _BUILD_BASE) + self._package_index()
        self._bud(image.folder, reference, [*_target(image), *arguments])

    def save(self, reference: str, archive: Path) -> None:
        """Write an OCI archive."""
        self._run("push", "--quiet", reference, f"oci-archive:{archive}:{reference}")

    def _bud(self, context: Path, reference: str, options: Sequence[str]) -> None:
        # chroot: no user namespaces, no network of its own, so that it works within containers.
        self._run(
            "bud", "--isolation", "chroot", "--layers", "--tag", reference, *options, str(context)
        )

    def _package_index(self) -> list[str]:
        """Options that let pip and uv reach their index as they do on this machine.

        Mounted are files and folders that the base has anyway, so that no trace of them is left.
        """
        packages = self._home / "uv"
        packages.mkdir(parents=True, exist_ok=True)
        options = ["--volume", f"{packages}:/mnt:rw", *_argument("UV_CACHE_DIR", "/mnt")]
        bundle = os.environ.get("SSL_CERT_FILE") or _CA_BUNDLE
        if Path(bundle).is_file():
            options += ["--volume", f"{bundle}:{_CA_BUNDLE}:ro"]
            options += _argument("SSL_CERT_FILE", _CA_BUNDLE) + _argument("PIP_CERT", _CA_BUNDLE)
        for name in _PASSED_ON:
            options += _argument(name, os.environ.get(name, ""))
        return options

    def _has(self, reference: str) -> bool:
        try:
            self._run("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference)
        except CommandError:
            return False
        return True

    def _run(self, *arguments: str) -> str:
        if not self._driver:
            if os.geteuid() != 0:
                raise ToolingError(
                    "to build images, docker or podman must work, or buildah run as root"
                )
            ensure("buildah")
            self._home.mkdir(parents=True, exist_ok=True)
            self._driver = self._working_driver()
        # The niceness leaves the machine usable while the build takes what is left.
        return run(["nice", "-n", "5", *self._command(self._driver), *arguments]).stdout

    def _command(self, driver: str) -> list[str]:
        storage = self._home / f"storage-{driver}"
        return [
            "buildah", "--root", str(storage), "--runroot", f"{storage}-run",
            "--storage-driver", driver,
        ]  # fmt: skip

    def _working_driver(self) -> str:
        """Return overlay where its mounts work (not on top of another overlay), else vfs."""
        for driver in ("overlay", "vfs"):
            if (self._home / f"storage-{driver}").is_dir():
                return driver
        command = self._command("overlay")
        try:
            container = run([*command, "from", "scratch"]).stdout.strip()
            run([*command, "mount", container])
            run([*command, "rm", container])
        except CommandError:
            shutil.rmtree(self._home / "storage-overlay", ignore_errors=True)
            return "vfs"
        return "overlay"


def _argument(name: str, value: str) -> list[str]:
    return ["--build-arg", f"{name}={value}"] if value else []


def _target(image: Image) -> list[str]:
    return ["--target", image.target] if image.target else []
