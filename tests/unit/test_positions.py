"""What is delivered and what is committed."""

from faust.types import TP

from marketlag.engine.positions import Lease, Point, Positions, Verdict

TP0 = TP("t", 0)


def opened(offset: int = 5, generation: int = 1) -> tuple[Positions, Lease]:
    positions = Positions()
    lease = Lease(TP0, generation, offset)
    positions.open(generation, [lease])
    return positions, lease


def test_chunks_follow_each_other() -> None:
    """The first starts where the lease does."""
    positions, _ = opened(5)
    assert positions.judge(TP0, 1, 5, 9) is Verdict.DELIVER
    assert positions.judge(TP0, 1, 10, 10) is Verdict.DELIVER


def test_a_chunk_of_another_generation_is_dropped() -> None:
    """And one of a partition that is not ours."""
    positions, _ = opened(5)
    assert positions.judge(TP0, 2, 5, 9) is Verdict.DROP
    assert positions.judge(TP("t", 1), 1, 0, 1) is Verdict.DROP
    positions.close()
    assert positions.judge(TP0, 1, 5, 9) is Verdict.DROP


def test_a_chunk_out_of_place_is_fetched_again() -> None:
    """One that begins too early was fetched before a seek."""
    positions, _ = opened(5)
    assert positions.judge(TP0, 1, 3, 9) is Verdict.SEEK_BACK
    assert positions.next_offset(TP0) == 5
    assert positions.judge(TP0, 1, 5, 9) is Verdict.DELIVER


def test_a_hole_is_believed_when_it_is_seen_three_times() -> None:
    """Before, it may be chunks that were lost on the way; another hole begins the count anew."""
    positions, _ = opened(5)
    assert positions.judge(TP0, 1, 8, 9) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 8, 9) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 7, 9) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 8, 9) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 8, 9) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 8, 9) is Verdict.DELIVER_AFTER_GAP
    assert positions.judge(TP0, 1, 12, 12) is Verdict.SEEK_BACK
    assert positions.judge(TP0, 1, 10, 12) is Verdict.DELIVER


def test_only_what_was_declared_is_committed() -> None:
    """Once; delivery alone commits nothing."""
    positions, lease = opened(5)
    positions.judge(TP0, 1, 5, 9)
    assert positions.committable() == {}
    lease.advance(7, "x")
    points = positions.committable()
    assert points == {TP0: Point(7, "x")}
    lease.advance(8, "y")
    positions.mark_committed(1, points)
    assert positions.committable() == {TP0: Point(8, "y")}
    assert positions.committed(TP0) == Point(7, "x")


def test_what_was_declared_under_an_old_lease_is_not_committed() -> None:
    """The partition may be another worker's by now."""
    positions, old = opened(5, generation=1)
    positions.open(2, [Lease(TP0, 2, 5)])
    old.advance(9)
    assert positions.committable() == {}
    positions.mark_committed(1, {TP0: Point(9)})
    assert positions.committed(TP0) == Point(5)


def test_a_chunk_is_on_its_way_until_its_agent_has_it() -> None:
    """From being accepted to being begun; without anything delivered there is none."""
    positions, lease = opened(5)
    assert positions.on_their_way() == {}
    positions.judge(TP0, 1, 5, 9)
    assert positions.on_their_way() == {TP0: 5}
    lease.handed_over = 10
    assert positions.on_their_way() == {}
