"""Manifests from files: what is wrong is named by file, document, field, value and cure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mailsync_api.endpoint import SecretPart, Side
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.manifests import Manifests, load
from tests.support.builders import endpoint_manifest, manifest

if TYPE_CHECKING:
    from pathlib import Path


def _secret(name: str, **fields: Any) -> dict[str, Any]:
    base = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    return {**base, **(fields or {"stringData": {"password": f"word of {name}"}})}


_SECRETS = (_secret("source-password"), _secret("destination-password"))


def _load(*documents: dict[str, Any]) -> Manifests:
    return load([("file.yaml", yaml.safe_dump_all(documents))])


def _passwords(manifests: Manifests, directory: Path | None = None) -> tuple[bytes, bytes]:
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=directory)
    assert ends.source.password
    assert ends.destination.password
    return ends.source.password.reveal(), ends.destination.password.reveal()


def test_secrets_of_the_same_file_are_found() -> None:
    manifests = _load(manifest(), *_SECRETS)
    assert _passwords(manifests) == (b"word of source-password", b"word of destination-password")


def test_the_sides_know_which_they_are() -> None:
    manifests = _load(manifest(), *_SECRETS)
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert (ends.source.side, ends.destination.side) == (Side.SOURCE, Side.DESTINATION)


def test_data_is_base64_and_every_byte_counts() -> None:
    data = {"password": base64.b64encode(b" w\xc3\xb6rd\n").decode()}
    manifests = _load(manifest(), _secret("source-password", data=data), _SECRETS[1])
    assert _passwords(manifests)[0] == b" w\xc3\xb6rd\n"


def test_string_data_wins_over_data() -> None:
    both = {"data": {"password": "b2xk"}, "stringData": {"password": "new"}}
    manifests = _load(manifest(), _secret("source-password", **both), _SECRETS[1])
    assert _passwords(manifests)[0] == b"new"


def test_several_files_and_lists_are_one_set() -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(_SECRETS)}
    manifests = load([("a", yaml.safe_dump(manifest())), ("b", yaml.safe_dump(items))])
    assert _passwords(manifests)[0] == b"word of source-password"


def test_files_of_a_directory_are_used(tmp_path: Path) -> None:
    for side in ("source", "destination"):
        (tmp_path / f"{side}-password").mkdir()
        (tmp_path / f"{side}-password" / "password").write_text(f"file {side}")
    assert _passwords(_load(manifest()), tmp_path) == (b"file source", b"file destination")


def test_no_password_is_looked_for_where_none_is_needed() -> None:
    authentication = {"mechanism": "External", "secretRef": None}
    manifests = _load(manifest(source={"authentication": authentication}), _SECRETS[1])
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert ends.source.password is None
    assert ends.source.masked_words == ()


def test_a_ca_comes_from_its_config_map() -> None:
    ca = {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}}
    manifests = _load(
        manifest(source={"tls": {"caRef": ca}}),
        *_SECRETS,
        {**config_map, "data": {"ca.crt": "PEM"}},
    )
    assert manifests.endpoints(manifests.mailsyncs[0], directory=None).source.ca_pem == "PEM"


_OAUTH2 = {
    "grant": "ClientCredentials",
    "tokenURL": "https://login.example.org/token",
    "clientID": "app",
    "caRef": {"name": "trust"},
}
_TRUST = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "trust"},
    "data": {"ca.crt": "PEM"},
}


def test_what_a_token_needs_comes_from_the_secret(tmp_path: Path) -> None:
    with_tokens = manifest(source={"authentication": {"oauth2": _OAUTH2}})
    lacking = _load(with_tokens, *_SECRETS, _TRUST)
    with pytest.raises(ConfigurationError, match=r"secretRef: .* no key 'clientSecret'"):
        lacking.endpoints(lacking.mailsyncs[0], directory=None)
    secret = _secret("source-password", stringData={"clientSecret": "hush"})
    without_ca = _load(with_tokens, secret, _SECRETS[1])
    with pytest.raises(ConfigurationError, match=r"oauth2\.caRef: no ConfigMap trust"):
        without_ca.endpoints(without_ca.mailsyncs[0], directory=None)
    manifests = _load(with_tokens, secret, _SECRETS[1], _TRUST)
    source = manifests.endpoints(manifests.mailsyncs[0], directory=None).source
    assert source.tokens is not None
    assert source.tokens._read(SecretPart.CLIENT_SECRET) == b"hush"
    assert "hush" not in repr(source)
    # A file in a directory goes before, as it is at each request.
    file = tmp_path / "source-password" / "clientSecret"
    file.parent.mkdir()
    file.write_text("first")
    source = manifests.endpoints(manifests.mailsyncs[0], directory=tmp_path).source
    assert source.tokens is not None
    file.write_text("second")
    assert source.tokens._read(SecretPart.CLIENT_SECRET) == b"second"


def test_a_secret_of_another_namespace_does_not_count() -> None:
    other = _secret("source-password")
    other["metadata"]["namespace"] = "elsewhere"
    with pytest.raises(ConfigurationError, match="no Secret source-password"):
        _passwords(_load(manifest(), other, _SECRETS[1]))


_CASES: list[tuple[str, list[dict[str, Any]], str]] = [
    (
        "a misspelt field",
        [manifest(source={"tls": {"mod": "StartTLS"}})],
        r"file.yaml, document 1: spec.source.tls.mod: there is no such field; did you mean mode\?",
    ),
    ("an unknown field", [manifest(xyzzy=1)], r"spec.xyzzy: there is no such field; known are "),
    (
        "a bad value",
        [_SECRETS[0], manifest(source={"port": 99999})],
        r"document 2: spec.source.port: 99999: .*65535",
    ),
    ("a bad host", [manifest(source={"host": "imap://x"})], r"spec.source.host: 'imap://x': "),
    (
        "a missing field",
        [manifest(source={"username": None})],
        r"spec.source.username: this field is required",
    ),
    (
        "a bad expression",
        [manifest(folders={"include": ["ok", "re:("]})],
        r"spec.folders.include\[1\]: 're:\(': .*regular expression",
    ),
    ("no MailSync", [_SECRETS[0]], r"file.yaml: no MailSync"),
    ("a number as password", [_secret("x", stringData={"p": 12345})], r"stringData.p .*in quotes"),
    ("not base64", [_secret("x", data={"p": "s3cr3t!"})], r"data.p of Secret x is not base64"),
    ("no name", [{"apiVersion": "v1", "kind": "Secret"}], r"metadata.name of the Secret"),
    ("twice", [_SECRETS[0], _SECRETS[0]], r"document 2: the Secret source-password is there twice"),
]


@pytest.mark.parametrize(
    ("documents", "words"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES]
)
def test_what_is_wrong_is_named(documents: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        _load(*documents)
    assert "12345" not in caught.value.message
    assert "s3cr3t" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", r"x.yaml, document 1, line \d+, column \d+: not valid YAML"),
        ("ok: 1\n---\na: {b", r"document 2|document 1"),
        ("- 1\n- 2", r"a Kubernetes object was expected, not \[1, 2\]"),
        ("just text", r"a Kubernetes object was expected"),
        ("a: 1\na: 2", r"the key 'a' is there twice"),
        ("a: !!python/object:os.system x", r"not valid YAML"),
        ("", r"no MailSync"),
    ],
)
def test_text_that_is_no_manifest(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load([("x.yaml", text)])


def test_unknown_kinds_are_named_and_left_out() -> None:
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    manifests = _load(other, manifest(), *_SECRETS)
    assert len(manifests.mailsyncs) == 1
    assert manifests.ignored[0].startswith("file.yaml, document 1: kind 'Deployment'")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (None, r"spec.source.authentication.secretRef: no Secret source-password"),
        (_secret("source-password", stringData={"pass": "x"}), r"no key 'password'; it has pass"),
        (_secret("source-password", stringData={"password": ""}), r"'password' .* is empty"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(secret: dict[str, Any] | None, words: str) -> None:
    documents = [manifest(), _SECRETS[1], *([secret] if secret else [])]
    with pytest.raises(ConfigurationError, match=words):
        _passwords(_load(*documents))


def test_no_password_in_what_python_shows() -> None:
    manifests = _load(manifest(), *_SECRETS)
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert "word of" not in repr(manifests) + repr(ends) + str(ends.source.password)


def test_a_tunnel_is_named_and_left_out() -> None:
    manifests = _load(manifest(destination={"tunnel": {"type": "Stunnel"}}), *_SECRETS)
    assert manifests.ignored == [
        "file.yaml, document 1: spec.destination.tunnel is for pods: here the TLS is done without "
        "it, by the same policy"
    ]
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert ends.destination.tunnel is None


def test_the_login_for_a_proxy_comes_from_its_secret() -> None:
    gate = {"name": "gate", "passwordKey": "word"}
    proxy = {"type": "SOCKS5", "host": "gate.example.org", "port": 1080, "secretRef": gate}
    secret = _secret("gate", stringData={"username": "me", "word": "word of gate"})
    manifests = _load(manifest(source={"proxy": proxy}), *_SECRETS, secret)
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert ends.destination.proxy_login is None
    login = ends.source.proxy_login
    assert login is not None
    assert (login.username, login.password.reveal()) == ("me", b"word of gate")
    assert "word of" not in repr(ends)

    manifests = _load(manifest(source={"proxy": proxy}), *_SECRETS)
    with pytest.raises(ConfigurationError, match=r"source\.proxy\.secretRef"):
        manifests.endpoints(manifests.mailsyncs[0], directory=None)


def test_a_client_certificate_comes_from_its_secret() -> None:
    refers = {"tls": {"clientCertificateRef": {"name": "own", "keyKey": "key"}}}
    both = _secret("own", stringData={"tls.crt": "certificate", "key": "private"})
    manifests = _load(manifest(destination=refers), *_SECRETS, both)
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert ends.source.client_certificate is None
    client = ends.destination.client_certificate
    assert client is not None
    assert (client.certificate, client.key) == (b"certificate", b"private")
    assert "private" not in repr(client)

    manifests = _load(manifest(destination=refers), *_SECRETS)
    with pytest.raises(ConfigurationError, match=r"destination\.tls\.clientCertificateRef"):
        manifests.endpoints(manifests.mailsyncs[0], directory=None)


# --- MailEndpoints ---

_REFERRING: dict[str, Any] = {"source": {"host": None, "endpointRef": {"name": "old"}}}


def _endpoint(**spec: Any) -> dict[str, Any]:
    found = endpoint_manifest(**spec)
    del found["metadata"]["namespace"]
    return found


def test_an_endpoint_of_the_same_files_is_taken() -> None:
    ca = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}}
    endpoint = _endpoint(port=1993, tls={"caRef": {"name": "ca"}})
    manifests = _load(manifest(**_REFERRING), endpoint, ca | {"data": {"ca.crt": "PEM"}}, *_SECRETS)
    ends = manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert (ends.source.account.host, ends.source.account.port) == ("imap.old.example.org", 1993)
    assert ends.source.ca_pem == "PEM"
    assert manifests.ignored == []


def test_a_preset_needs_no_host() -> None:
    manifests = _load(manifest(**_REFERRING), _endpoint(preset="Gmail", host=None), *_SECRETS)
    assert manifests.accounts(manifests.mailsyncs[0]).source.host == "imap.gmail.com"


def test_an_endpoint_of_another_namespace_is_not_meant() -> None:
    manifests = _load(manifest(**_REFERRING), endpoint_manifest(namespace="other"), *_SECRETS)
    with pytest.raises(ConfigurationError):
        manifests.accounts(manifests.mailsyncs[0])


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        (
            (),
            'MailSync alice: spec.source.endpointRef: there is no MailEndpoint "old": add it to a '
            "file given with -f",
        ),
        (
            (_endpoint(tls={"caRef": {"name": "ca"}}),),
            "MailEndpoint old: spec.tls.caRef: no ConfigMap ca",
        ),
        (
            (
                _endpoint(
                    proxy={
                        "type": "SOCKS5",
                        "host": "proxy.example.org",
                        "port": 1080,
                        "secretRef": {"name": "gate"},
                    }
                ),
            ),
            "MailEndpoint old: spec.proxy.secretRef: no Secret gate",
        ),
        (
            (_endpoint(host="destination.example.org"),),
            "MailSync alice: source and destination are the same mailbox",
        ),
    ],
)
def test_an_endpoint_that_leads_nowhere_is_named(
    documents: tuple[dict[str, Any], ...], words: str
) -> None:
    manifests = _load(manifest(**_REFERRING), *documents, *_SECRETS)
    with pytest.raises(ConfigurationError) as caught:
        manifests.endpoints(manifests.mailsyncs[0], directory=None)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        (
            (_endpoint(tls={"verfy": "None"}),),
            "document 2: spec.tls.verfy: there is no such field; did you mean verify?",
        ),
        ((_endpoint(preset="Gmial"),), "document 2: spec.preset: 'Gmial'"),
        ((_endpoint(host=None),), "document 2: spec: host is required, unless preset is one of"),
        ((_endpoint(), _endpoint()), "document 3: the MailEndpoint old is there twice"),
    ],
)
def test_what_is_wrong_in_an_endpoint_is_named(
    documents: tuple[dict[str, Any], ...], words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(manifest(**_REFERRING), *documents)
    assert words in str(caught.value)
