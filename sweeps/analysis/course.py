"""A study at its end and on the way there: members' results at each iteration that all of them were evaluated at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from sweeps.analysis import settings


class Course(NamedTuple):
    """Members of a study, as `load_members` gives them."""

    end: pd.DataFrame
    on_the_way: Mapping[int, pd.DataFrame]
    """The same at iterations, ascending, at which all finished members were evaluated: the last may be the end."""

    def where(self, conditions: Sequence[str]) -> Course:
        """Members with given values of fields, each NAME=VALUE. Raises InvalidInputError where there are none."""
        chosen = {iterations: settings.where(members, conditions) for iterations, members in self.on_the_way.items()}
        return Course(settings.where(self.end, conditions), chosen)


def by_iteration(courses: Mapping[str, Course]) -> dict[int, dict[str, pd.DataFrame]]:
    """Members on the way, by iterations, ascending, then by study: those studies that were evaluated there."""
    return {
        iterations: {
            name: course.on_the_way[iterations] for name, course in courses.items() if iterations in course.on_the_way
        }
        for iterations in sorted({iterations for course in courses.values() for iterations in course.on_the_way})
    }
