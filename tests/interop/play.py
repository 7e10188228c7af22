"""Play recorded scenarios against a server and compare: `python -m tests.interop.play`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.interop import compare, programs, scenario
from tests.interop.compare import Accepted, Difference
from tests.interop.player import play, save

# Seconds for one scenario; the longest takes four.
_LONGEST: Final = 60.0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.play",
        description="Play recorded scenarios against a server and compare with the recordings.",
        epilog="Exit status: 0 when nothing differs but what differences.toml lists, 1 otherwise.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="name or number")
    parser.add_argument(
        "--server",
        default=programs.SERVER,
        help="execnode, codex (the real one; no difference is accepted), or a command with "
        "{listen} in it; $EXECNODE_INTEROP_SERVER or execnode when not given",
    )
    parser.add_argument("--strict", action="store_true", help="accept no difference")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the transcripts there")
    parser.add_argument("--record", action="store_true", help="make them the new recordings")
    parser.add_argument("--jobs", type=int, default=6, help="how many at a time (6)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and do nothing")
    parser.add_argument("--table", action="store_true", help="print the table of docs/dialect.md")
    return parser.parse_args()


def chosen(wanted: list[str]) -> list[str]:
    """The scenarios that were asked for, by name or number."""
    known = scenario.names()
    if not wanted:
        return known
    found = [name for each in wanted for name in known if each in (name, name.partition("-")[0])]
    if len(found) < len(wanted):
        sys.exit(f"no such scenario among: {' '.join(wanted)}\nhint: --list names them")
    return found


async def compared(names: list[str], options: argparse.Namespace) -> list[Difference]:
    """Play scenarios, some at a time, and return all differences."""
    turns = asyncio.Semaphore(options.jobs)

    async def one(name: str) -> list[Difference]:
        loaded = scenario.load(name)
        try:
            async with turns, asyncio.timeout(_LONGEST):
                transcript = await play(loaded, options.server)
        except Exception as error:
            return [Difference(name, "the whole", "a server that takes part", repr(error))]
        if options.record:
            save(transcript, scenario.transcript_path(name))
        if options.save:
            save(transcript, options.save / f"{name}.jsonl")
        return compare.differences(loaded, transcript)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name)) for name in names]
    return [each for task in tasks for each in task.result()]


def judge(found: list[Difference], table: list[Accepted], names: list[str]) -> bool:
    """Print the differences that are not in the table, and what is in it for nothing."""
    unexpected = [each for each in found if not any(entry.covers(each) for entry in table)]
    for name in names:
        mine = [each for each in unexpected if each.scenario == name]
        known = sum(each.scenario == name for each in found) - len(mine)
        told = f"{len(mine)} unexpected differences" if mine else "as recorded"
        print(f"{name}: {told}" + (f", {known} accepted" if known else ""))
        for each in mine:
            print(f"  {each}")
    stale = [(entry, pattern) for entry in table for pattern in entry.unused(found, {*names})]
    for entry, pattern in stale:
        print(f"differences.toml: {pattern} does not differ any more (of {entry.scenarios})")
    return not unexpected and not stale


def main() -> int:
    """Play, compare, report."""
    options = arguments()
    names = chosen(options.scenarios)
    if options.table:
        print(compare.rendered(), end="")
        return 0
    if options.list:
        for name in names:
            print(f"{name}: {scenario.load(name).about}")
        return 0
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(compared(names, options))
    table = [] if options.strict or options.server == "codex" else compare.accepted()
    return 0 if judge(found, table, names) else 1


if __name__ == "__main__":
    sys.exit(main())
