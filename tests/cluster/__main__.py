"""Command line: ``python -m tests.cluster up|down|status|load|kubeconfig|tools``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.cluster.interface import ClusterProvider, render_status
from tests.cluster.providers import PROVIDERS, provider
from tests.cluster.shell import ToolingError, elapsed, say

__all__ = ["main"]

# As `systemctl status`: 3 is "not running".
_DOWN = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the program's exit code."""
    options = _parser().parse_args(arguments)
    start = time.monotonic()
    try:
        code = _run(options, provider(options.provider))
    except ToolingError as error:
        say(f"error: {error}")
        return 1
    if options.command in {"up", "down"}:
        say(f"{options.command}: {elapsed(time.monotonic() - start)}")
    return code


def _run(options: argparse.Namespace, cluster: ClusterProvider) -> int:
    match options.command:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "status":
            components = cluster.status()
            print(render_status(components))
            if not components:
                return _DOWN
            return 0 if all(component.healthy for component in components) else 1
        case "load":
            for image in options.images:
                print(cluster.load(image))
        case "kubeconfig":
            print(cluster.kubeconfig())
        case _:
            tools = cluster.tools()
            print(f"{tools.kubectl}\n{tools.helm}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A Kubernetes cluster to test on."
    )
    parser.add_argument(
        "--provider",
        choices=["auto", *PROVIDERS],
        default="auto",
        help="auto: CONTEXT=NAME if set, else kind where it works, else this machine",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make it ready for pods; quick when it is already")
    commands.add_parser("down", help="remove it and everything it left")
    commands.add_parser("status", help="show its parts; 0 healthy, 1 not, 3 down")
    load = commands.add_parser("load", help="bring images to the nodes; prints their names")
    load.add_argument("images", nargs="+", metavar="IMAGE", help="a name, or an archive's path")
    commands.add_parser("kubeconfig", help="print the path of its kubeconfig")
    commands.add_parser("tools", help="print the paths of kubectl and helm")
    return parser


if __name__ == "__main__":
    sys.exit(main())
