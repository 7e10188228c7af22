"""Tables: what each implementation cost, and how the ratios stand to their bounds."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table

from bench.ratios import Costs, Results, Standing, Verdict

_PLAIN_WIDTH = 135  # of a file or pipe, which has no width of its own

_STYLE = {
    Standing.HOLDS: "green",
    Standing.WITHIN_NOISE: "yellow",
    Standing.WORSE: "bold red",
    Standing.PEER_ABSENT: "dim",
    Standing.NOT_MEASURED: "bold red",
}


def cost(costs: Costs) -> str:
    """The median in a unit that suits it: µs, ms or s; MiB or KiB."""
    value = costs.median
    if costs.unit == "B":
        return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.1f} KiB"
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


def costs_table(results: Results) -> Table:
    """Medians, a row for each workload and implementation, in the order they were measured."""
    table = Table("work", "implementation", "median of rounds", title="Costs", title_justify="left")
    table.columns[2].justify = "right"
    for work, implementations in results.items():
        for row, (name, costs) in enumerate(implementations.items()):
            table.add_row("" if row else work, name, cost(costs))
        table.add_section()
    return table


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """Ratios with the least and greatest of the rounds, bounds, and how they stand."""
    table = Table(title="Ratios (median of rounds)", title_justify="left")
    for heading in ("work", "ours", "against", "ratio", "rounds", "bound", ""):
        table.add_column(heading, justify="right" if heading in ("ratio", "bound") else "left")
    for verdict in verdicts:
        bound = verdict.bound
        ratio = spread = "-"
        if verdict.ratios:
            ratio = f"{verdict.median:.2f} x"
            spread = f"{verdict.ratios[0]:.2f} to {verdict.ratios[-1]:.2f}"
        limit = f"{'at least' if bound.faster else 'at most'} {bound.limit:g} x ±{bound.noise:.0%}"
        standing = f"[{_STYLE[verdict.standing]}]{verdict.standing.value}"
        table.add_row(bound.title, bound.ours, bound.against, ratio, spread, limit, standing)
    return table


def tables(results: Results, verdicts: Sequence[Verdict]) -> RenderableType:
    """Both tables, the second when there is a ratio."""
    costs = costs_table(results)
    return Group(costs, "", verdicts_table(verdicts)) if verdicts else costs


def show(renderable: RenderableType) -> None:
    """Print to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    console.print(renderable)
