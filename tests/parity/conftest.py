"""Prints how far each comparison was from the recorded numbers."""

from tests.parity.reference import ERRORS


def pytest_terminal_summary(terminalreporter):
    if ERRORS:
        terminalreporter.section("largest difference per test")
        for name, error in sorted(ERRORS.items()):
            terminalreporter.write_line(f"{error:8.1e}  {name}")
