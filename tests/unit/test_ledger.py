"""What a DLQ holds, read from its log."""

import pytest

from marketlag.dlq.ledger import (
    CLAIM_MS,
    CLAIMED,
    END,
    REPLAYED,
    RUN,
    Coordinates,
    Ledger,
    groups,
    kind_of,
    note_headers,
)
from tests.support.logs import ARRIVAL, Record


def refused(
    place: int, offset: int, reason: str = "not JSON", *, timestamp: int = ARRIVAL, **more: str
) -> Record:
    """A record of ``dlq.rss.events``."""
    headers = {"error": reason, "topic": "rss.events", "partition": "0", "offset": str(offset)}
    return Record(place, b"v", timestamp=timestamp, headers=encoded({**headers, **more}))


def by_producer(place: int, source: str = "https://feed") -> Record:
    return Record(place, b"v", headers=encoded({"error": "no title", "source": source}))


def encoded(headers: dict[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode()) for name, value in headers.items())


def ledger(*records: Record) -> Ledger:
    found = Ledger("rss.events", 0)
    found.fold(records)
    return found


def name(offset: int) -> Coordinates:
    return Coordinates("rss.events", 0, offset)


def test_a_record_that_a_crash_wrote_twice_is_one() -> None:
    """Its coordinates make it one."""
    found = ledger(refused(0, 7), refused(1, 9, "no key"), refused(2, 7))
    assert [(n.offset, item.place.offset) for n, item in found.items.items()] == [(7, 0), (9, 1)]
    assert found.end == 3


def test_offsets_that_began_again_are_other_records() -> None:
    """The topic was made anew; the second record has its place in the DLQ for a name."""
    later = ARRIVAL + 1
    found = ledger(refused(0, 7), refused(1, 7, timestamp=later), refused(2, 7, timestamp=later))
    assert list(found.items) == [name(7), Coordinates("dlq.rss.events", 0, 1)]


def test_what_a_producer_refused_has_its_place_for_a_name() -> None:
    """And can't be published again: it never was a record."""
    [item] = ledger(by_producer(4)).items.values()
    assert (str(item.name), item.source) == ("dlq.rss.events/0/4", "https://feed")
    assert "a producer refused it" in (item.why_not or "")


def test_what_was_cut_cannot_be_published_again() -> None:
    """Its rest is gone."""
    [item] = ledger(refused(0, 7, **{"truncated-from": "3000000"})).items.values()
    assert item.why_not == "only the beginning of its 3000000 bytes was kept"


def test_notes_tell_what_became_of_a_record() -> None:
    """A claim holds for two minutes; the first of those that hold counts."""
    found = ledger(refused(0, 7), refused(1, 8))
    item = found.items[name(7)]
    assert (item.claim_at(ARRIVAL), item.is_replayed) == (None, False)
    for place, run, at in ((2, "a", 0), (3, "b", CLAIM_MS - 1)):
        headers = tuple(note_headers(item, CLAIMED, **{RUN: run, END: "55"}))
        found.fold([Record(place, b"", timestamp=ARRIVAL + at, headers=headers)])
    holders = [item.claim_at(ARRIVAL + at) for at in (0, CLAIM_MS - 1, CLAIM_MS, 2 * CLAIM_MS)]
    assert [claim and (claim.run, claim.end) for claim in holders] == [
        ("a", 55),
        ("a", 55),
        ("b", 55),
        None,
    ]
    found.fold([Record(4, b"", headers=tuple(note_headers(item, REPLAYED)))])
    assert [each.is_replayed for each in found.items.values()] == [True, False]


def test_notes_find_their_record_when_retention_has_taken_another_of_its_name() -> None:
    """Two of one place, the first gone: the second takes its name, and keeps its own notes."""
    later = refused(1, 7, timestamp=ARRIVAL + 1)
    both = ledger(refused(0, 7), later)
    first, second = both.items.values()
    notes = [
        Record(2 + n, b"", headers=tuple(note_headers(item, note)))
        for n, (item, note) in enumerate([(second, REPLAYED), (first, REPLAYED)])
    ]
    [left] = ledger(later, notes[0]).items.values()
    assert (left.name, left.is_replayed) == (name(7), True)
    [left] = ledger(later, notes[1]).items.values()
    assert (left.name, left.is_replayed) == (name(7), False)


def test_a_note_whose_record_is_gone_is_passed_over() -> None:
    """Retention takes the older one first."""
    item = ledger(refused(0, 7)).items[name(7)]
    assert ledger(Record(5, b"", headers=tuple(note_headers(item, REPLAYED)))).items == {}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("price 1.7 is not a probability", "price … is not a probability"),
        ("value of 1048576 bytes, too many", "value of … bytes, too many"),
        ("not an ISO-8601 time: 'first of May'", "not an ISO-8601 time: …"),
        ('23514 new row for relation "x" violates', "23514 new row for relation … violates"),
        ("invalid: Expected `str`, got `array` - at `$.title`",) * 2,
    ],
)
def test_reasons_of_a_kind_are_counted_together(reason: str, kind: str) -> None:
    """Without quoted texts and numbers, but for a number in a word and Postgres's code."""
    assert kind_of(reason) == kind


def test_groups_are_in_order_of_frequency() -> None:
    """Each with its newest record for an example."""
    found = ledger(
        refused(0, 1, "price 1.5 is not a probability"),
        refused(1, 2, "empty key"),
        refused(2, 3, "price 9 is not a probability", timestamp=ARRIVAL + 1),
    )
    found.items[name(3)].is_replayed = True
    [first, second] = groups([(found, found.items.values())])
    assert (first.total, first.replayed, first.example.name) == (2, 1, name(3))
    assert (second.reason, second.total, second.topic) == ("empty key", 1, "rss.events")


def test_coordinates_read_back() -> None:
    """What are none is refused."""
    place = Coordinates("dlq.lag_signals", 2, 15)
    assert Coordinates.parse(str(place)) == place
    for text in ("rss.events", "rss.events/0", "rss.events/x/1", ""):
        with pytest.raises(ValueError):
            Coordinates.parse(text)
