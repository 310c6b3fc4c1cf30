"""A Kafka that dies, restarts, or is far away."""

from tests.chaos.arena import Arena
from tests.chaos.faults import fault


@fault("node-killed", nodes=3)
def node_killed(arena: Arena) -> None:
    """One Kafka node of three killed, and back after 8 to 12 s"""
    arena.feed(seconds=14)
    arena.pause(1, 5)
    node = arena.rng.choice(arena.kafka.nodes)
    arena.strike()
    node.kill()
    arena.pause(8, 12)
    arena.kafka.restart(node)


@fault("node-restarted")
def node_restarted(arena: Arena) -> None:
    """The only Kafka node killed or stopped, and started again"""
    arena.feed(seconds=14)
    arena.pause(1, 6)
    node = arena.kafka.nodes[0]
    arena.strike()
    arena.rng.choice([node.kill, node.stop])()
    arena.pause(0, 4)
    arena.kafka.restart(node)


@fault("network", proxied=True)
def network(arena: Arena) -> None:
    """300 ms of latency between workers and broker, and connections cut"""
    arena.feed(seconds=14)
    arena.proxy.delay = 0.3
    for _ in range(5):
        arena.pause(0.5, 3)
        arena.strike()
        arena.proxy.cut()
    arena.wait_fed(1.0)
    arena.proxy.delay = 0.0


@fault("network-kill", proxied=True)
def network_kill(arena: Arena) -> None:
    """SIGKILL at random moments on a network with 300 ms of latency"""
    arena.proxy.delay = 0.3
    arena.feed(seconds=14)
    for _ in range(3):
        arena.pause(1, 4)
        arena.strike()
        arena.rng.choice(arena.alive()).kill()
    arena.wait_fed(1.0)
    arena.proxy.delay = 0.0
