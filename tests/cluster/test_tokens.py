"""OAuth2 from the manifest to the status: real pods and servers of mail and of authorization."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.authorization import AuthorizationServer, run_authorization_server
from tests.support.dovecot_pod import secret
from tests.support.mail_server import MailServer, ca_config_map
from tests.support.release import Release
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.cluster

_TOKENS = """\
auth_mechanisms = plain xoauth2 oauthbearer
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = /etc/dovecot/conf/oauth2
}
"""


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


@pytest.fixture(scope="module")
def authorization(scene: Stage) -> Iterator[AuthorizationServer]:
    with run_authorization_server(host=scene.kube.this_machine()) as server:
        yield server


def _introspecting(scene: Stage, authorization: AuthorizationServer) -> MailServer:
    """Deploy a Dovecot that asks the authorization server about each token."""
    oauth2 = (
        "introspection_mode = post\n"
        f"introspection_url = {authorization.introspection_url()}\n"
        "tls_ca_cert_file = /etc/dovecot/conf/ca.pem\n"
        "username_attribute = mail\nactive_attribute = active\nactive_value = true\n"
    )
    files = {"oauth2": oauth2, "ca.pem": authorization.ca_pem}
    return scene.server("tokens", extra=_TOKENS, files=files)


def test_a_revoked_token_stalls_with_its_reason(
    scene: Stage, authorization: AuthorizationServer
) -> None:
    server = _introspecting(scene, authorization)
    token = authorization.refresh_tokens["alice delegated"]
    ca = ca_config_map(authorization.ca_pem)
    scene.kube.apply(
        ca | {"metadata": {"name": "token-ca"}},
        secret(
            "alice-token",
            token=token,
            **{"client-secret": authorization.client_secret("delegated")},
        ),
    )
    authentication = {
        "secretRef": {"name": "alice-token", "clientSecretKey": "client-secret"},
        "oauth2": {
            "grant": "RefreshToken",
            "tokenURL": authorization.token_url,
            "clientID": "delegated",
            "caRef": {"name": "token-ca"},
        },
    }
    scene.sync("tokens", source=server.account("alice", authentication=authentication))
    scene.wait_reason("tokens", "Completed")
    assert "method=OAUTHBEARER" in server.log()
    assert authorization.introspected() == server.logins("alice") == 1

    authorization.revoke(token, "delegated")
    scene.kube.patch("mailsync", "tokens", {"spec": {"trigger": {"manual": "revoked"}}})
    stalled = scene.wait_condition("tokens", "Stalled", "True", why="TokenRevoked")
    assert authorization.token_url in stalled["message"]
    assert "invalid_grant" in stalled["message"]
    assert server.logins("alice") == 1
