"""
What a process remembers for as long as it lasts, and nothing on a disk: a master's worker makes one pillar after the
other.
"""

import sys
import types

PLACE = "rick_infra_memory"


def of(purpose):
    """
    Return what is remembered for a purpose, a dictionary to read and to write.

    Salt loads the tree's modules anew for each pillar, so none of their globals would last.

    purpose
        A text, the same each time.
    """
    place = sys.modules.setdefault(PLACE, types.ModuleType(PLACE))
    return place.__dict__.setdefault(purpose, {})
