"""`make bench-gate`: hold the results of the last `make bench` against bounds.toml.

It fails when a ratio is worse than its bound by more than its noise, or when work of ours was not
measured. A peer that was absent is named and fails nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.ratios import Standing, judge, load_bounds, load_results
from bench.report import show, verdicts_table


def main() -> int:
    """Print how every ratio stands; return 1 when one fails, 2 when there are no results."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=Path("build/bench.json"))
    path = parser.parse_args().results
    try:
        results = load_results(path)
    except FileNotFoundError:
        print(f"bench-gate: no results at {path}\nhint: `make bench` makes them", file=sys.stderr)
        return 2
    verdicts = [judge(results, bound) for bound in load_bounds()]
    show(verdicts_table(verdicts))
    return int(any(v.standing in (Standing.WORSE, Standing.NOT_MEASURED) for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
