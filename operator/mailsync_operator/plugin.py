"""The kubectl plugin ``kubectl mailsync``: what its user may do, by the user's kubeconfig."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from mailsync_api import names
from mailsync_operator.cleanup import Unneeded, unneeded
from mailsync_operator.cluster.secrets import LIST_FORM
from mailsync_operator.cluster.transport import Transport, current_namespace
from mailsync_operator.errors import ClusterError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailsync_operator.snapshot import Key

__all__ = ["app", "main"]

_T = TypeVar("_T")
_GROUP: Final = f"/apis/{names.GROUP}/{names.VERSION}"
_REMINDER: Final = (
    "Only MailSyncs and MailEndpoints were looked at: whether anything else uses these Secrets, "
    "you know. Deleting a Secret changes no password: change those of the accounts, and of "
    "administrators, at the servers."
)


class Form(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


app = typer.Typer(
    name="kubectl mailsync",
    help="MailSyncs beyond what kubectl itself can do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _plugin() -> None:
    # With a callback, a single command keeps its name.
    pass


@app.command()
def cleanup(  # noqa: PLR0913  a command's options
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="By default the context's.")
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")
    ] = False,
    output: Annotated[
        Form, typer.Option("--output", "-o", help="For people or for programs.")
    ] = Form.TABLE,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them, after a question.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kubeconfig: Annotated[str | None, typer.Option(help="By default kubectl's.")] = None,
    context: Annotated[str | None, typer.Option(help="By default the current one.")] = None,
) -> None:
    """List the Secrets with credentials that no unfinished MailSync needs any more."""
    config = kubeconfig or _usual_kubeconfig()
    try:
        where = "" if all_namespaces else namespace or current_namespace(config, context)
        session = _Session(config, context, where)
        found = session.run(session.find)
        _show(found, output)
        if not found:
            return
        typer.echo(_REMINDER, err=True)
        if delete:
            if not yes:
                typer.confirm(f"Delete these {len(found)} Secrets?", abort=True, err=True)
            gone = session.run(lambda api: session.delete(api, {each.key for each in found}))
            for space, name in gone:
                typer.echo(f'secret "{name}" deleted from namespace "{space}"', err=True)
    except ClusterError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


class _Session:
    """What is asked of the API server."""

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._scope = f"/namespaces/{namespace}" if namespace else ""

    def run(self, work: Callable[[Transport], Awaitable[_T]]) -> _T:
        """Do something with a connection."""

        async def main() -> _T:
            api = Transport(
                user_agent=f"kubectl-mailsync/{version('mailsync')}",
                kubeconfig=self._kubeconfig,
                context=self._context,
            )
            await api.open()
            try:
                return await work(api)
            finally:
                await api.close()

        return asyncio.run(main())

    async def find(self, api: Transport) -> list[Unneeded]:
        """Return the Secrets that are not needed any more, without those that are gone."""
        mailsyncs = await self._all(api, f"{_GROUP}{self._scope}/{names.PLURAL_MAILSYNC}")
        try:
            endpoints = await self._all(api, f"{_GROUP}{self._scope}/{names.PLURAL_MAILENDPOINT}")
        except NotFoundError:
            endpoints = []
        found = unneeded(mailsyncs, endpoints)
        try:
            secrets = await self._all(api, f"/api/v1{self._scope}/secrets", accept=LIST_FORM)
        except ForbiddenError:
            typer.echo("You may not list Secrets: some of these may be gone already.", err=True)
            return found
        there = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in secrets}
        return [each for each in found if each.key in there]

    async def delete(self, api: Transport, agreed: set[Key]) -> list[Key]:
        """Delete those agreed upon that are still not needed: the question may be old."""
        gone = []
        for each in await self.find(api):
            if each.key in agreed:
                path = f"/api/v1/namespaces/{each.namespace}/secrets/{each.secret}"
                await api.call("DELETE", path)
                gone.append(each.key)
        return gone

    @staticmethod
    async def _all(
        api: Transport, path: str, accept: str = "application/json"
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        query = {"limit": "500"}
        while True:
            page = await api.call("GET", path, query=query, accept=accept)
            items += page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return items
            query = {"limit": "500", "continue": str(following)}


def _show(found: list[Unneeded], form: Form) -> None:
    if form is Form.JSON:
        typer.echo(json.dumps([each.to_wire() for each in found], indent=2))
        return
    if not found:
        typer.echo("Every Secret with credentials is one of an unfinished MailSync.", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("NAMESPACE", "SECRET", "USED BY", "FINISHED"):
        table.add_column(column, no_wrap=column != "USED BY", overflow="fold")
    for each in found:
        table.add_row(each.namespace, each.secret, ", ".join(each.used_by), each.since)
    Console().print(table)


def _usual_kubeconfig() -> str | None:
    """Return the kubeconfig that kubectl would take; None where there is none (in a pod)."""
    usual = Path.home() / ".kube" / "config"
    return os.environ.get("KUBECONFIG") or (str(usual) if usual.is_file() else None)


def main() -> None:
    """Run the plugin."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
