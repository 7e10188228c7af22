"""Tables: for a person at a terminal with rich, for a pipe as plain columns."""

import os
import sys
from collections.abc import Sequence
from typing import Literal

from .tell import put

__all__ = ["Cell", "show"]

Cell = str | tuple[str, str]
"""Text, or text and its style in rich's words; styles are for terminals only."""

# Characters that the last column needs at a terminal, cut or wrapped.
_MIN_CUT = 12
_MIN_WRAPPED = 40


def show(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, wrap: bool = False) -> None:
    """Print rows under their columns to stdout.

    Where a terminal is too narrow, the last column is cut, or with `wrap` goes on below itself.
    Where it has no room for that column, rows are lines without columns.
    """
    if os.isatty(1):
        _show_rich(columns, rows, wrap)
        return
    plain = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        put("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _show_rich(columns: Sequence[str], rows: Sequence[Sequence[Cell]], wrap: bool) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    overflow: Literal["fold", "ellipsis"] = "fold" if wrap else "ellipsis"
    texts = [[Text(_text(cell), style=_style(cell)) for cell in row] for row in rows]
    widths = [
        max(cell_len(text) for text in (column, *(row[index].plain for row in texts)))
        for index, column in enumerate(columns[:-1])
    ]
    room = console.width - sum(width + 2 for width in widths)
    if room < (_MIN_WRAPPED if wrap else _MIN_CUT):
        for row in texts:
            if not wrap:
                row[-1].truncate(console.width, overflow=overflow)
            console.print(Text("  ").join(cell for cell in row if cell.plain), overflow="fold")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column, width in zip(columns[:-1], widths, strict=True):
        table.add_column(column, no_wrap=True, width=width)
    table.add_column(columns[-1], no_wrap=not wrap, overflow=overflow, max_width=room)
    for row in texts:
        table.add_row(*row)
    console.print(table)


def _style(cell: Cell) -> str:
    return "" if isinstance(cell, str) else cell[1]


def _text(cell: Cell) -> str:
    text = cell if isinstance(cell, str) else cell[0]
    # Control characters of a command's arguments are not for this terminal.
    return "".join(
        c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else repr(c)[1:-1] for c in text
    )
