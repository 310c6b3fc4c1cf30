"""Whether this process is still a member of its consumer group, as far as it can know.

The group's coordinator gives a member's partitions away when it has not heard from it for a
session. A process that was stopped, starved or cut off does not see that happen, and what it still
has to send may be older than what the new owner has sent: an old fact over a newer one in a
changelog. So a session is a lease. It runs from the moment a heartbeat was *asked for*, and so ends
here no later than there; while it has run out, nothing is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

Send = Callable[..., Awaitable[Any]]

_RENEWING = {0, RebalanceInProgressError.errno}
_EVICTED = {UnknownMemberIdError.errno, IllegalGenerationError.errno}
_LOOK_AGAIN_SECONDS = 0.05


class Membership:
    """The lease of one process. Read and renewed by two threads, a float at a time.

    Args:
        session: Kafka's session timeout (s).
        on_evicted: called when the coordinator says that it has given the partitions away. What
            waits to be sent must never be sent then.
    """

    def __init__(
        self,
        session: float,
        on_evicted: Callable[[], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session = session
        self._on_evicted = on_evicted
        self._clock = clock
        # Who is in no group (a command that only sends) has nothing to lose.
        self._until = float("inf")

    @property
    def is_valid(self) -> bool:
        return self._clock() < self._until

    def asking(self, send: Send) -> Send:
        """Wrap the coordinator's ``_send_req``: its answers renew the lease, or end it."""

        async def ask(request: Any) -> Any:
            asked = self._clock()
            answer = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest):
                if answer.error_code in _RENEWING:
                    self._until = asked + self._session
                elif answer.error_code in _EVICTED and isinstance(request, HeartbeatRequest):
                    self._on_evicted()
            return answer

        return ask

    def sending(self, send: Send) -> Send:
        """Wrap the producer's ``_send_produce_req``: it waits while the lease has run out.

        The last look is right before the request is written, and a retry looks again.
        """

        async def send_in_time(node_id: Any, batches: Any) -> None:
            while not self.is_valid:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            await send(node_id, batches)

        return send_in_time
