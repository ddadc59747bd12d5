"""What the demo does at its steps: fill the source, compare both sides, read the metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mailsync_api.names import RUN_LABEL
from tests.cluster.shell import ToolingError
from tests.support.checker import compare_mailboxes, count_messages
from tests.support.imap import layout
from tests.support.kube import condition
from tests.support.mailbox import generate, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.kube import Kube, KubeObject
    from tests.support.mail_server import MailServer

__all__ = ["check", "fill", "series", "stop_if_failed"]

_MESSAGES = 2000


def fill(server: MailServer, user: str) -> str:
    """Load a generated mailbox; returns what is in it.

    Raises
    ------
    ToolingError
        The server does not have as many messages afterwards.
    """
    messages = generate(count=_MESSAGES)
    with server.login(user) as session:
        load(session, messages)
        loaded, folders = count_messages(session), layout(session).folders
    if loaded != len(messages):
        raise ToolingError(f"{server.host} has {loaded} messages instead of {len(messages)}")
    size = sum(len(message.body) for message in messages)
    names = ", ".join("/".join(path) for path in folders)
    return f"{loaded} messages, {size / 1e6:.1f} MB, in {len(folders)} folders: {names}"


def check(source: MailServer, destination: MailServer, users: Mapping[str, str]) -> str:
    """Compare every message of both servers, read over IMAP from here.

    Raises
    ------
    ToolingError
        The mailboxes are not the same; with the first differences.
    """
    with (
        source.login(users["source"]) as old,
        destination.login(users["destination"]) as new,
    ):
        differences = compare_mailboxes(old, new)
        count = count_messages(new)
    if differences:
        lines = [f"{each.folder}: {each.kind}: {each.detail}" for each in differences[:20]]
        first = f"{len(differences)} differences between source and destination:"
        raise ToolingError("\n".join([first, *lines]))
    same = "SHA-256 of every byte, flags, keywords and internal date are the same on both sides"
    return f"{count} messages, compared one by one: {same}"


def stop_if_failed(mailsync: KubeObject, kube: Kube) -> None:
    """Raise as soon as a MailSync says that waiting will not help.

    Raises
    ------
    ToolingError
        It is stalled or given up; with its own words, and the end of its pods' logs.
    """
    stalled, succeeded = condition(mailsync, "Stalled"), condition(mailsync, "Succeeded")
    if stalled.get("status") == "True" or succeeded.get("status") == "False":
        name = mailsync["metadata"]["name"]
        told = stalled if stalled.get("status") == "True" else succeeded
        logs = [
            kube.run("logs", pod["metadata"]["name"], "--tail=10", check=False)
            for pod in kube.all_of("pods", RUN_LABEL)
        ]
        hint = f"look at: kubectl -n {kube.namespace} describe ms {name}"
        lines = [f"{name}: {told['reason']}: {told['message']}", hint, *logs]
        raise ToolingError("\n".join(lines))


def series(metrics: str, namespace: str) -> str:
    """Return those lines of the metrics that speak of a namespace, and the counters of runs.

    Raises
    ------
    ToolingError
        None does.
    """
    ours = [line for line in metrics.splitlines() if f'namespace="{namespace}"' in line]
    if not ours:
        raise ToolingError(f"the metrics say nothing of namespace {namespace}")
    pattern = r"mailsync_(runs|copied_messages|copied_bytes|skipped_messages)_total\b"
    counters = [line for line in metrics.splitlines() if re.match(pattern, line)]
    return "\n".join([*ours, *counters])
