"""docs/tls.md: its manifests are valid, its command is right, no option or reason is left out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSMode, TLSPolicy
from mailsync_syncjob.spki import spki_sha256
from tests.support.builders import mailsync
from tests.support.odd_certificates import Wish, issue

_DOCS = Path(__file__).parents[2] / "docs"
_PAGE = (_DOCS / "tls.md").read_text(encoding="utf-8")
_MANIFESTS = re.findall(r"^```yaml\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", _MANIFESTS)
def test_a_manifest_is_valid(text: str) -> None:
    spec = mailsync(**yaml.safe_load(text)["spec"]).spec
    assert [spec.source.tls, spec.destination.tls] != [TLSPolicy(), TLSPolicy()]


def test_every_option_is_explained_and_shown() -> None:
    options = {field.alias or name for name, field in TLSPolicy.model_fields.items()}
    shown = "".join(_MANIFESTS)
    for option in options:
        assert f"`{option}`" in _PAGE, option
        assert f"{option}:" in shown, option
    for mode in TLSMode:
        assert f"| `{mode}`" in _PAGE, mode


def test_the_command_for_a_pin(tmp_path: Path) -> None:
    own = issue(Wish())
    (tmp_path / "server.pem").write_text(own.pem)
    (command,) = re.findall(r"^\$ (openssl x509 .*)$", _PAGE, re.MULTILINE)
    said = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert said.stdout.strip() == spki_sha256(own.certificate.public_bytes(Encoding.DER))


def test_every_reason_about_tls_is_on_the_page_of_exit_codes() -> None:
    page = (_DOCS / "exit-codes.md").read_text(encoding="utf-8")
    about_tls = [
        reason
        for reason in Reason
        if re.match(r"(Client)?Certificate|TLS|StartTLS", reason)
        and reason is not Reason.CERTIFICATE_NOT_VERIFIED  # not a failure
    ]
    assert len(about_tls) > 10
    for reason in about_tls:
        assert f"`{reason}`" in page, reason
