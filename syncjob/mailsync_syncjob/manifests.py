"""Manifests without a cluster: MailSyncs, and what they refer to."""

from __future__ import annotations

import base64
import binascii
import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from mailsync_api.endpoint import CaRefKind, Side
from mailsync_api.manifest import MailEndpoint, MailSync
from mailsync_api.names import API_VERSION, KIND_MAILENDPOINT, KIND_MAILSYNC
from mailsync_api.spec import Accounts
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.credentials import Endpoint, Password, ProxyLogin, Target
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.oauth2.tokens import Tokens
from mailsync_syncjob.proxy import proxy_url
from mailsync_syncjob.runner import Endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mailsync_api.endpoint import MailAccount, SecretPart, TLSPolicy
    from mailsync_api.oauth2 import OAuth2

__all__ = ["Manifests", "load"]

M = TypeVar("M", bound=BaseModel)
_SECRET: Final = "Secret"  # noqa: S105  a kind, not a secret
_CONFIG_MAP: Final = "ConfigMap"
_SHOWN_CHARACTERS: Final = 80


class _Reader(Protocol):
    """Reads one entry of a Secret or ConfigMap; the field is that which refers to it."""

    def __call__(self, name: str, key: str, *, field: str, kind: str = _SECRET) -> bytes: ...


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
            _endpoint(side, accounts.account(side), self._reader(side, mailsync, directory))
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
        found = []
        for side in Side:
            account, entry = accounts.account(side), self._reader(side, mailsync, directory)
            ca_pem, client = _certificates(account.tls, entry)
            login = _proxy_login(side, account, entry)
            target = Target(
                side, account, ca_pem=ca_pem, client_certificate=client, proxy_login=login
            )
            found.append(target)
        return tuple(found)

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

    def _server(self, namespace: str, name: str) -> MailEndpoint | None:
        return self.servers.get((namespace, name)) or self.servers.get(("", name))

    def _reader(self, side: Side, mailsync: MailSync, directory: Path | None) -> _Reader:
        """Return what reads the entries that one side refers to."""
        shared = _referred(mailsync, side)

        def entry(name: str, key: str, *, field: str, kind: str = _SECRET) -> bytes:
            place = (kind, mailsync.metadata.namespace, name)
            wanted_by = f"spec.{side}.{field}"
            if shared is not None and field.startswith("tls."):
                wanted_by = f"{KIND_MAILENDPOINT} {shared}: spec.{field}"
            return self._entry(place, key, directory=directory, wanted_by=wanted_by)

        return entry

    def _entry(
        self, name: tuple[str, str, str], key: str, *, directory: Path | None, wanted_by: str
    ) -> bytes:
        kind, namespace, plain = name
        entries = self.data.get(name) or self.data.get((kind, "", plain))
        value = _from_directory(directory, plain, key) if directory else None
        if value is None and entries is not None:
            value = entries.get(key)
            if value is None:
                raise ConfigurationError(
                    f"{wanted_by}: the {kind} {plain} has no key {key!r}; it has "
                    f"{', '.join(sorted(entries)) or 'none'}"
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


class _TokenReader:
    """What tokens are made from, read anew each time: files in a directory may be changed."""

    def __init__(self, account: MailAccount, entry: _Reader) -> None:
        self._authentication = account.authentication
        self._entry = entry
        for part in self._authentication.secret_keys:
            self.part(part)  # what is missing is said before anything is connected to

    def part(self, part: SecretPart) -> bytes:
        """Return a part of the login's Secret."""
        ref = self._authentication.secret_ref
        key = self._authentication.secret_keys[part]
        return self._entry(ref.name if ref else "", key, field="authentication.secretRef")

    def ca_pem(self, oauth2: OAuth2) -> str | None:
        """Return the CA certificates for the token endpoint."""
        ca = oauth2.ca_ref
        if ca is None:
            return None
        kind = _SECRET if ca.kind is CaRefKind.SECRET else _CONFIG_MAP
        found = self._entry(ca.name, ca.key, field="authentication.oauth2.caRef", kind=kind)
        return found.decode("utf-8", "replace")


def _endpoint(side: Side, account: MailAccount, entry: _Reader) -> Endpoint:
    login = _proxy_login(side, account, entry)
    proxy = proxy_url(account.proxy, login) if account.proxy is not None else None
    secret = account.authentication.secret_ref
    password = tokens = None
    if (oauth2 := account.authentication.oauth2) is not None and secret is not None:
        reader = _TokenReader(account, entry)
        trusted = reader.ca_pem(oauth2)
        tokens = Tokens(account, oauth2, reader.part, side=side, ca_pem=trusted, proxy=proxy)
    elif secret is not None:
        password = Password(
            entry(secret.name, secret.password_key, field="authentication.secretRef")
        )
    ca_pem, client = _certificates(account.tls, entry)
    return Endpoint(
        side,
        account,
        password,
        ca_pem=ca_pem,
        client_certificate=client,
        tokens=tokens,
        proxy_login=login,
    )


def _proxy_login(side: Side, account: MailAccount, entry: _Reader) -> ProxyLogin | None:
    ref = account.proxy.secret_ref if account.proxy is not None else None
    if ref is None:
        return None
    keys = (ref.username_key, ref.password_key)
    user, word = (entry(ref.name, key, field="proxy.secretRef") for key in keys)
    return ProxyLogin.of(user, word, party=side)


def _certificates(policy: TLSPolicy, entry: _Reader) -> tuple[str | None, ClientCertificate | None]:
    ca_pem = client = None
    if (ca := policy.ca_ref) is not None:
        kind = _SECRET if ca.kind is CaRefKind.SECRET else _CONFIG_MAP
        found = entry(ca.name, ca.key, field="tls.caRef", kind=kind)
        ca_pem = found.decode("utf-8", "replace")
    if (own := policy.client_certificate_ref) is not None:
        parts = (
            entry(own.name, key, field="tls.clientCertificateRef")
            for key in (own.cert_key, own.key_key)
        )
        client = ClientCertificate(*parts)
    return ca_pem, client


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
        for number, document in _documents(name, text):
            where = f"{name}, document {number}"
            if not isinstance(document, dict):
                raise ConfigurationError(
                    f"{where}: a Kubernetes object was expected, not {_shown(document)}"
                )
            _add(manifests, document, where=where)
    if not manifests.mailsyncs:
        names = ", ".join(name for name, _ in sources)
        raise ConfigurationError(f"{names}: no MailSync ({API_VERSION}) in it")
    return manifests


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a key that is there twice is a mistake."""

    @override
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep=deep)


def _documents(name: str, text: str) -> Iterator[tuple[int, Any]]:
    loader = _Loader(text)
    number = 0
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # types-pyyaml has no types here
            number += 1
            document = loader.get_data()
            if document is not None:
                yield number, document
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigurationError(
            f"{name}, document {max(number, 1)}{place}: not valid YAML: {problem}"
        ) from None
    finally:
        loader.dispose()


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
    elif kind in {_SECRET, _CONFIG_MAP} and version == "v1":
        name, entries = _entries(document, where=where)
        key = (kind, name[0], name[1])
        if key in manifests.data:
            raise ConfigurationError(f"{where}: the {kind} {name[1]} is there twice")
        manifests.data[key] = entries
    else:
        manifests.ignored.append(
            f"{where}: kind {_shown(kind)} ({_shown(version)}) means nothing here and is left out; "
            f"known are {KIND_MAILSYNC}, {KIND_MAILENDPOINT}, {_SECRET} and {_CONFIG_MAP}"
        )


def _referred(mailsync: MailSync, side: Side) -> str | None:
    ref = mailsync.spec.account(side).endpoint_ref
    return ref.name if ref else None


def _add_mailsync(manifests: Manifests, document: dict[str, Any], *, where: str) -> None:
    mailsync = _model(MailSync, document, where=where)
    manifests.mailsyncs.append(mailsync)
    for side in Side:
        if mailsync.spec.account(side).tunnel is not None:
            manifests.ignored.append(_no_tunnel(f"{where}: spec.{side}.tunnel"))


def _add_endpoint(manifests: Manifests, document: dict[str, Any], *, where: str) -> None:
    endpoint = _model(MailEndpoint, document, where=where)
    place = (str(document["metadata"].get("namespace") or ""), endpoint.metadata.name)
    if place in manifests.servers:
        raise ConfigurationError(f"{where}: the {KIND_MAILENDPOINT} {place[1]} is there twice")
    manifests.servers[place] = endpoint
    if endpoint.spec.tunnel is not None:
        manifests.ignored.append(_no_tunnel(f"{where}: spec.tunnel"))


def _no_tunnel(field: str) -> str:
    return f"{field} is for pods: here the TLS is done without it, by the same policy"


def _model(model: type[M], document: dict[str, Any], *, where: str) -> M:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [
            _problem(model, one["loc"], kind=one["type"], said=one["msg"], value=one["input"])
            for one in error.errors(include_url=False)
        ]
        raise ConfigurationError("\n".join(f"{where}: {p}" for p in problems)) from None


def _problem(
    model: type[BaseModel], loc: tuple[int | str, ...], *, kind: str, said: str, value: object
) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{path}: there is no such field; {cure}"
    if kind == "missing":
        return f"{path}: this field is required"
    said = said.removeprefix("Value error, ")
    if isinstance(value, dict):
        return f"{path or 'the object'}: {said}"
    return f"{path}: {_shown(value)}: {said}"


def _fields_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the names of the fields at a place of a resource."""
    model: type[BaseModel] | None = root
    for part in loc:
        fields = model.model_fields if model else {}
        found = next((f for f in fields.values() if f.alias == part), None)
        model = _model_in(found.annotation) if found else None
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def _is_model(value: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if _is_model(annotation):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def _entries(
    document: Mapping[str, Any], *, where: str
) -> tuple[tuple[str, str], dict[str, bytes]]:
    """Return namespace and name, and the entries, of a Secret or ConfigMap.

    No value of it gets into an error.
    """
    kind = document["kind"]
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise ConfigurationError(f"{where}: metadata.name of the {kind} is missing")
    entries: dict[str, bytes] = {}
    for section in ("data", "binaryData", "stringData"):
        values = document.get(section) or {}
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: {section} of {kind} {name} is no mapping")
        encoded = section == "binaryData" or (section == "data" and kind == _SECRET)
        for key, value in values.items():
            at = f"{where}: {section}.{key} of {kind} {name}"
            entries[str(key)] = _decoded(value, encoded=encoded, at=at)
    return (str(metadata.get("namespace") or ""), name), entries


def _decoded(value: object, *, encoded: bool, at: str) -> bytes:
    if not isinstance(value, str):
        raise ConfigurationError(f"{at} is no text: put the value in quotes")
    if not encoded:
        return value.encode()
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(
            f"{at} is not base64: encode it, or give the plain text under stringData"
        ) from None


def _from_directory(directory: Path, name: str, key: str) -> bytes | None:
    path = directory / name / key
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
