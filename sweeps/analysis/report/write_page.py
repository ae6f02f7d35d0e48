"""Writes a study's page, and tells where it is."""

from __future__ import annotations

from sweeps.analysis.destination import Destination
from sweeps.analysis.report import headline, whole_page
from sweeps.analysis.report.study_record import StudyRecord

FILE = "report.html"


def write_page(record: StudyRecord, place: Destination) -> None:
    """Draw, write, and print the main result. Raises InvalidInputError before anything is written."""
    contents = {FILE: whole_page.page(record, place.tracking_uri or "").encode()}
    place.write(contents)
    states = ", ".join(f"{count:,} {words}" for words, count in headline.status_counts(record))
    print(f"{record.study}: {len(record.members):,} members, {states}")
    for sentence in headline.headline(record).sentences:
        print(sentence)
    place.tell(contents)
