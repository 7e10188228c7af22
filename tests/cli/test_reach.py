"""Reaching a node for a verb."""

import pytest
import trio

from execnode.cli.failure import Failure
from execnode.cli.reach import Target
from execnode.client.errors import Unsupported
from tests.cli.programs import RunningNode


def test_what_a_node_does_not_offer_is_a_failure_with_its_name(node: RunningNode) -> None:
    async def use() -> None:
        async with Target(node.url, None).connected():
            raise Unsupported("process/list", "processList")

    with pytest.raises(Failure, match=r"this node has no process/list \(capability processList\)"):
        trio.run(use)
