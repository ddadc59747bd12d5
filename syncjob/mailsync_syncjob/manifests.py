"""Manifests without a cluster: MailSyncs, and what they refer to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mailsync_api.endpoint import Side
from mailsync_api.manifest import MailEndpoint, MailSync
from mailsync_api.names import API_VERSION, KIND_MAILENDPOINT, KIND_MAILSYNC
from mailsync_api.spec import Accounts
from mailsync_syncjob.documents import documents, entries, parsed, shown
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.references import CONFIG_MAP, SECRET, endpoint_of, target_of
from mailsync_syncjob.runner import Endpoints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mailsync_api.limits import Terms
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.references import Reader

__all__ = ["Manifests", "load"]


@dataclass(slots=True)
class Manifests:
    """What the files hold."""

    mailsyncs: list[MailSync] = field(default_factory=list)
    data: dict[tuple[str, str, str], dict[str, bytes]] = field(default_factory=dict, repr=False)
    """The entries of Secrets and ConfigMaps by kind, namespace (empty if not given) and name."""
    servers: dict[tuple[str, str], MailEndpoint] = field(default_factory=dict)
    """The MailEndpoints by namespace (empty if not given) and name."""
    ignored: list[str] = field(default_factory=list)
    """What was not understood, for people."""

    def endpoints(self, mailsync: MailSync, *, directory: Path | None) -> Endpoints:
        """Return both sides of a MailSync with their secrets.

        Parameters
        ----------
        directory
            Where to look for ``<object's name>/<key>`` what the files do not hold.

        Raises
        ------
        ConfigurationError
            A reference leads nowhere; the message names it.
        """
        accounts = self.accounts(mailsync)
        ends = [
            endpoint_of(side, accounts.account(side), self._reader(side, mailsync, directory))
            for side in Side
        ]
        return Endpoints(*ends)

    def targets(self, mailsync: MailSync, *, directory: Path | None) -> tuple[Target, ...]:
        """Return both servers of a MailSync, with what their policies refer to.

        No password is among that but a proxy's.

        Raises
        ------
        ConfigurationError
            A reference leads nowhere; the message names it.
        """
        accounts = self.accounts(mailsync)
        return tuple(
            target_of(side, accounts.account(side), self._reader(side, mailsync, directory))
            for side in Side
        )

    def accounts(self, mailsync: MailSync) -> Accounts:
        """Return both accounts of a MailSync, complete.

        Raises
        ------
        ConfigurationError
            A reference leads nowhere; the message names it.
        """
        servers = {
            name: found.spec.server
            for side in Side
            if (name := _referred(mailsync, side))
            and (found := self._server(mailsync.metadata.namespace, name))
        }
        try:
            return Accounts.of(mailsync.spec, servers)
        except ValueError as error:
            name = mailsync.metadata.name
            missing = [
                ref for side in Side if (ref := _referred(mailsync, side)) and ref not in servers
            ]
            cure = ": add it to a file given with -f" if missing else ""
            raise ConfigurationError(f"{KIND_MAILSYNC} {name}: {error}{cure}") from None

    def terms(self, mailsync: MailSync) -> dict[Side, Terms]:
        """Return what the MailEndpoints of a MailSync ask for, by side."""
        namespace = mailsync.metadata.namespace
        return {
            side: found.spec.terms(name)
            for side in Side
            if (name := _referred(mailsync, side)) and (found := self._server(namespace, name))
        }

    def _server(self, namespace: str, name: str) -> MailEndpoint | None:
        return self.servers.get((namespace, name)) or self.servers.get(("", name))

    def _reader(self, side: Side, mailsync: MailSync, directory: Path | None) -> Reader:
        """Return what reads the entries that one side refers to."""
        shared = _referred(mailsync, side)

        def entry(name: str, key: str, *, field: str, kind: str = SECRET) -> bytes:
            place = (kind, mailsync.metadata.namespace, name)
            wanted_by = f"spec.{side}.{field}"
            if shared is not None and field.startswith(("tls.", "proxy.")):
                wanted_by = f"{KIND_MAILENDPOINT} {shared}: spec.{field}"
            return self._entry(place, key, directory=directory, wanted_by=wanted_by)

        return entry

    def _entry(
        self, name: tuple[str, str, str], key: str, *, directory: Path | None, wanted_by: str
    ) -> bytes:
        kind, namespace, plain = name
        held = self.data.get(name) or self.data.get((kind, "", plain))
        value = _from_directory(directory, plain, key) if directory else None
        if value is None and held is not None:
            value = held.get(key)
            if value is None:
                raise ConfigurationError(
                    f"{wanted_by}: the {kind} {plain} has no key {key!r}; it has "
                    f"{', '.join(sorted(held)) or 'none'}"
                )
        if value is None:
            looked = f" nor is there a file {directory / plain / key}" if directory else ""
            raise ConfigurationError(
                f"{wanted_by}: no {kind} {plain} (namespace {namespace}) in the given files"
                f"{looked}: add it to a file given with -f, or keep it as DIR/{plain}/{key} and "
                "give --secrets DIR"
            )
        if not value:
            raise ConfigurationError(f"{wanted_by}: the entry {key!r} of {kind} {plain} is empty")
        return value


def load(sources: Sequence[tuple[str, str]]) -> Manifests:
    """Read manifests.

    Parameters
    ----------
    sources
        Pairs of a name for people and YAML text, which may hold many documents.

    Raises
    ------
    ConfigurationError
        Names the file, the number of the document, the field and its value.
    """
    manifests = Manifests()
    for name, text in sources:
        for number, document in documents(name, text):
            where = f"{name}, document {number}"
            if not isinstance(document, dict):
                raise ConfigurationError(
                    f"{where}: a Kubernetes object was expected, not {shown(document)}"
                )
            _add(manifests, document, where=where)
    if not manifests.mailsyncs:
        names = ", ".join(name for name, _ in sources)
        raise ConfigurationError(f"{names}: no MailSync ({API_VERSION}) in it")
    return manifests


def _add(manifests: Manifests, document: dict[str, Any], *, where: str) -> None:
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind == "List" and isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            if isinstance(item, dict):
                _add(manifests, item, where=f"{where}, items[{index}]")
    elif kind == KIND_MAILSYNC:
        _add_mailsync(manifests, document, where=where)
    elif kind == KIND_MAILENDPOINT:
        _add_endpoint(manifests, document, where=where)
    elif kind in {SECRET, CONFIG_MAP} and version == "v1":
        name, found = entries(document, where=where)
        key = (kind, name[0], name[1])
        if key in manifests.data:
            raise ConfigurationError(f"{where}: the {kind} {name[1]} is there twice")
        manifests.data[key] = found
    else:
        manifests.ignored.append(
            f"{where}: kind {shown(kind)} ({shown(version)}) means nothing here and is left out; "
            f"known are {KIND_MAILSYNC}, {KIND_MAILENDPOINT}, {SECRET} and {CONFIG_MAP}"
        )


def _referred(mailsync: MailSync, side: Side) -> str | None:
    ref = mailsync.spec.account(side).endpoint_ref
    return ref.name if ref else None


def _add_mailsync(manifests: Manifests, document: dict[str, Any], *, where: str) -> None:
    mailsync = parsed(MailSync, document, where=where)
    manifests.mailsyncs.append(mailsync)
    for side in Side:
        if mailsync.spec.account(side).tunnel is not None:
            manifests.ignored.append(_no_tunnel(f"{where}: spec.{side}.tunnel"))


def _add_endpoint(manifests: Manifests, document: dict[str, Any], *, where: str) -> None:
    endpoint = parsed(MailEndpoint, document, where=where)
    place = (str(document["metadata"].get("namespace") or ""), endpoint.metadata.name)
    if place in manifests.servers:
        raise ConfigurationError(f"{where}: the {KIND_MAILENDPOINT} {place[1]} is there twice")
    manifests.servers[place] = endpoint
    if endpoint.spec.tunnel is not None:
        manifests.ignored.append(_no_tunnel(f"{where}: spec.tunnel"))


def _no_tunnel(field: str) -> str:
    return f"{field} is for pods: here the TLS is done without it, by the same policy"


def _from_directory(directory: Path, name: str, key: str) -> bytes | None:
    path = directory / name / key
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
