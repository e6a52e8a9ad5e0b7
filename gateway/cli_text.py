"""Text that is none: words that are no UTF-8, a terminal that cannot show a sign."""

from __future__ import annotations

import argparse
import io
import sys

from gateway.errors import ConfigError


def show_what_can_be_shown() -> None:
    """From now on a sign that the terminal's encoding lacks (ASCII, KOI8-R) is shown as \\u2192, and breaks
    nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for words that are no text: they could not be journaled, sent or shown. A file may
    have any name.
    """
    for name, given in vars(arguments).items():
        for text in given if isinstance(given, list) else [given]:
            if name != "output" and isinstance(text, str) and not _is_text(text):
                raise ConfigError([f"{name}: {text!a} is no UTF-8 text; type it on a terminal with UTF-8"])


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
