"""A technician's terminal: rich where somebody sits before it, plain lines where not."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console
from rich.prompt import Prompt


class RichTerminal:
    """See gateway.guide.Terminal. A line that is shown for a while is overwritten by the next."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._shown = False

    def say(self, text: str) -> None:
        self._clear()
        self._console.print(text, markup=False)

    def show(self, text: str) -> None:
        if self._console.is_terminal:
            self._clear()
            self._console.print(text, markup=False, end="\r")
            self._shown = True

    async def ask(self, text: str) -> str:
        """Wait for a line, in a thread. Raises EOFError at the end of the input."""
        self._clear()
        if not sys.stdin.isatty():
            self._console.print(text, markup=False)
            line: str = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                raise EOFError("the input has ended")
            return line
        return await asyncio.to_thread(
            Prompt.ask, text, console=self._console, default="", show_default=False
        )

    def _clear(self) -> None:
        if self._shown:
            self._console.print(" " * (self._console.width - 1), end="\r")
            self._shown = False
