"""Go programs of the cluster, built once from the pinned modules under ``go/`` and cached."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.cluster.cache import cache_root, locked
from tests.cluster.shell import CommandError, elapsed, run, say, step
from tests.cluster.toolchain import Go, find_go

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["MODULES", "GoModule", "binaries", "binary", "cache_key", "link_flags", "pinned_version"]

_SOURCES = Path(__file__).parent / "go"
_PROGRESS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class GoModule:
    """One pinned Go module.

    Attributes
    ----------
    name
        Its folder under ``go/``.
    packages
        Import path of each command that it builds.
    version_of
        The required module whose version the commands report as theirs.
    version_flags
        Linker settings that carry it; ``{version}``, ``{major}`` and ``{minor}`` are filled in.
    """

    name: str
    packages: Mapping[str, str]
    version_of: str = ""
    version_flags: tuple[str, ...] = ()


_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

MODULES = (
    GoModule(
        name="kubernetes",
        packages={name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES},
        version_of="k8s.io/kubernetes",
        version_flags=(
            # Without them clients and charts see v0.0.0.
            "k8s.io/component-base/version.gitVersion={version}",
            "k8s.io/component-base/version.gitMajor={major}",
            "k8s.io/component-base/version.gitMinor={minor}",
        ),
    ),
    GoModule(
        name="helm",
        packages={"helm": "helm.sh/helm/v4/cmd/helm"},
        version_of="helm.sh/helm/v4",
        version_flags=("helm.sh/helm/v4/internal/version.version={version}",),
    ),
    GoModule(
        name="incluster",
        packages={name: f"./{name}" for name in ("coredns", "pause", "podcheck")},
    ),
)


def binary(name: str) -> Path:
    """Path of one command; see `binaries`."""
    return binaries([name])[name]


def binaries(names: Sequence[str]) -> dict[str, Path]:
    """Build the commands that are not in the cache yet; paths of all, by name.

    Raises
    ------
    ToolingError
        No Go compiler, or a build failed.
    KeyError
        A name that no module builds.
    """
    module_of = {command: module for module in MODULES for command in module.packages}
    go = find_go()
    found: dict[str, Path] = {}
    for module in MODULES:
        wanted = [name for name in names if module_of[name] is module]
        if not wanted:
            continue
        folder = _folder(module, go)
        if any(not (folder / name).exists() for name in wanted):
            with locked(f"build-{module.name}"):
                _build(module, [name for name in wanted if not (folder / name).exists()], go)
        found.update({name: folder / name for name in wanted})
    return found


def cache_key(files: Mapping[str, bytes], settings: Sequence[str]) -> str:
    """Digest of everything that decides what a build yields: files by path, and settings."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    digest.update("\0".join(settings).encode())
    return digest.hexdigest()[:12]


def pinned_version(go_mod: str, module: str) -> str:
    """Read a required module's version from the text of a go.mod, as in ``v1.35.4``.

    Raises
    ------
    ValueError
        The module is not required there.
    """
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ValueError(f"go.mod does not require {module}")
    return match[1]


def link_flags(module: GoModule, go_mod: str) -> str:
    """Render the value of ``-ldflags``: no symbols, and the pinned version."""
    flags = ["-s", "-w"]
    if module.version_of:
        version = pinned_version(go_mod, module.version_of)
        major, minor, *_ = version.removeprefix("v").split(".")
        for flag in module.version_flags:
            flags += ["-X", flag.format(version=version, major=major, minor=minor)]
    return " ".join(flags)


def _folder(module: GoModule, go: Go) -> Path:
    source = _SOURCES / module.name
    kept = [path for path in source.rglob("*") if path.suffix in {".go", ".mod", ".sum"}]
    files = {str(path.relative_to(source)): path.read_bytes() for path in kept}
    flags = link_flags(module, (source / "go.mod").read_text(encoding="utf-8"))
    version = ".".join(map(str, go.version))
    return cache_root() / "bin" / f"{module.name}-{cache_key(files, [version, flags])}"


def _build(module: GoModule, names: Sequence[str], go: Go) -> None:
    if not names:  # another process built them while this one waited
        return
    source = _SOURCES / module.name
    packages = [module.packages[name] for name in names]
    listed = [str(go.path), "list", "-deps", *packages]
    with step(f"fetching Go modules for {', '.join(names)}"):
        total = len(run(listed, cwd=source, env=go.environment).stdout.splitlines())
    folder = _folder(module, go)
    folder.mkdir(parents=True, exist_ok=True)
    flags = link_flags(module, (source / "go.mod").read_text(encoding="utf-8"))
    with (
        step(f"building {', '.join(names)} (at most {total} packages, once)"),
        # Beside its final place, so that a build that is broken off never looks finished.
        TemporaryDirectory(dir=folder, prefix=".building-") as unfinished,
    ):
        command = [
            str(go.path), "build", "-v", "-buildvcs=false", "-trimpath",
            "-ldflags", flags, "-o", f"{unfinished}/", *packages,
        ]  # fmt: skip
        _watched(command, source, go, total=total)
        for name in names:
            (Path(unfinished) / name).rename(folder / name)


def _watched(command: list[str], source: Path, go: Go, *, total: int) -> None:
    """Run ``go build -v``, which names each package it compiles, and show how far it is."""
    lines: list[str] = []
    start = shown = time.monotonic()
    # 10 below the rest: a build of minutes must not make the machine unusable.
    with subprocess.Popen(
        ["nice", "-n", "10", *command],
        cwd=source,
        env=os.environ | go.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        reader = threading.Thread(target=_collect, args=(process.stdout, lines), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(timeout=1.0)
            if time.monotonic() - shown >= _PROGRESS_SECONDS:
                shown = time.monotonic()
                say(f"    {len(lines)} of at most {total} packages, {elapsed(shown - start)}")
    if process.returncode != 0:
        raise CommandError(command, process.returncode, output="".join(lines))


def _collect(stream: Iterable[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line)  # noqa: PERF402 - the other thread counts them as they come
