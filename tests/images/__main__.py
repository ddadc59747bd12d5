"""``python -m tests.images``: build images, load them into the cluster, name them."""

from __future__ import annotations

import argparse
import sys

from tests.cluster.shell import ToolingError, say
from tests.images.build import build, clean, load
from tests.images.catalog import IMAGES


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    names = [image.name.removeprefix("mailsync-") for image in IMAGES]
    for name, text in (
        ("build", "build what changed; prints each image's reference and archive"),
        ("load", "build what changed and bring it to the cluster; prints the references"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--only", action="append", default=[], choices=names, help="this image (repeatable)"
        )
    commands.add_parser("clean", help="remove all built images and what they were built from")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    options = _parse(arguments)
    try:
        if options.command == "clean":
            clean()
            return 0
        built = build(options.only)
        if options.command == "load":
            # Only here: building needs no cluster.
            from tests.cluster.providers import provider  # noqa: PLC0415 - see above

            cluster = provider()
            cluster.up()
            for name, reference in load(built, cluster).items():
                print(f"{name} {reference}")
            return 0
    except ToolingError as error:
        say(f"error: {error}")
        return 1
    for each in built:
        print(f"{each.reference} {each.archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
