"""A session is a lease: it runs from the asking, and nothing is sent while it has run out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from marketlag.engine.membership import Membership

SESSION = 6.0


class Coordinator:
    """Answers with a code, after some time has passed."""

    def __init__(self) -> None:
        self.now = 100.0
        self.evicted = 0
        self.membership = Membership(SESSION, self._evict, clock=lambda: self.now)

    def _evict(self) -> None:
        self.evicted += 1

    async def answer(self, request: Any, code: int = 0, *, after: float = 0.0) -> None:
        async def send(_: Any) -> Any:
            self.now += after
            return SimpleNamespace(error_code=code)

        await self.membership.asking(send)(request)


def heartbeat() -> Any:
    return HeartbeatRequest("group", 1, "member")


def sync() -> Any:
    return SyncGroupRequest("group", 1, "member", None, [])


async def test_whoever_is_in_no_group_may_send() -> None:
    """A command has no partitions that another could have taken."""
    assert Coordinator().membership.is_valid


@pytest.mark.parametrize("request_of", [heartbeat, sync])
async def test_a_lease_runs_from_the_asking(request_of: Any) -> None:
    """An answer that took 2 s leaves 4 of the 6: the coordinator's clock began before it."""
    group = Coordinator()
    await group.answer(request_of(), after=2.0)
    group.now += 3.9
    assert group.membership.is_valid
    group.now += 0.2
    assert not group.membership.is_valid


async def test_a_member_of_a_group_that_rebalances_is_a_member() -> None:
    """The coordinator counts such a heartbeat."""
    group = Coordinator()
    await group.answer(heartbeat())
    group.now += 5
    await group.answer(heartbeat(), RebalanceInProgressError.errno)
    group.now += 5
    assert group.membership.is_valid


async def test_an_absent_coordinator_renews_nothing_and_evicts_nobody() -> None:
    group = Coordinator()
    await group.answer(heartbeat())
    group.now += 7
    await group.answer(heartbeat(), CoordinatorNotAvailableError.errno)
    assert not group.membership.is_valid
    assert group.evicted == 0


@pytest.mark.parametrize("error", [UnknownMemberIdError, IllegalGenerationError])
async def test_a_stranger_is_told_by_its_heartbeat(error: Any) -> None:
    group = Coordinator()
    await group.answer(heartbeat(), error.errno)
    assert group.evicted == 1


async def test_nothing_is_sent_without_a_lease() -> None:
    """What waits goes out when the coordinator knows this member again, and in order."""
    group = Coordinator()
    sent: list[int] = []

    async def send(node_id: int, _: Any) -> None:
        sent.append(node_id)

    await group.answer(heartbeat())
    sending = group.membership.sending(send)
    await sending(1, {})
    group.now += SESSION
    waiting = asyncio.ensure_future(sending(2, {}))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    assert sent == [1]
    await group.answer(heartbeat())
    await waiting
    assert sent == [1, 2]
