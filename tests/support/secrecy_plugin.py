"""The search for credentials as part of every run of pytest: a hit fails it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.secrecy import WATCH, Hit, Sampler

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["SecrecyPlugin", "pytest_configure"]

_SHOWN = 20


class SecrecyPlugin:
    """Samples processes while tests run, and searches at the end."""

    def __init__(self) -> None:
        self._sampler = Sampler(WATCH)
        self._hits: list[Hit] = []

    def pytest_sessionstart(self) -> None:
        """Begin to look."""
        self._sampler.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what was written and logged inside the tests' own process."""
        for title, text in report.sections:
            WATCH.keep(f"{report.nodeid}: {title}", text)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search all that was kept; a hit fails the run even where every test passed."""
        self._sampler.stop()
        self._hits = list(WATCH.hits())
        if self._hits:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say what was searched and found."""
        places = sorted({(hit.source, hit.credential, hit.around) for hit in self._hits})
        for source, credential, around in places[:_SHOWN]:
            terminalreporter.write_line(
                f"SECRET FOUND: {credential} in {source}: {around}", red=True
            )
        terminalreporter.write_line(
            f"nothing secret anywhere: {WATCH.summary}, {self._sampler.processes} processes seen: "
            f"{len(places)} hits"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Take part in a run that collects tests."""
    if not config.option.collectonly:
        config.pluginmanager.register(SecrecyPlugin(), "secrecy")
