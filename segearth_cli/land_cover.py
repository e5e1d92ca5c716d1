"""Words of common land cover, and which of them a class list leaves to its background."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BUILT = "built urban city town village settlement residential industrial commercial downtown suburb neighborhood slum"
_BUILT += " shanty impervious artificial infrastructure manmade"
_PLANTS = "vegetation vegetated greenery green plant nature natural"

# word of a distractor -> the words by which a class list names it, or something that holds it; singular
COVERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "water": _names(
            "water river lake sea ocean pond reservoir stream creek canal lagoon bay flood flooded flooding wetland "
            "marsh swamp pool waterway seawater harbor harbour nature natural"
        ),
        "building": _names(
            f"building house roof rooftop home villa cottage edifice facade factory warehouse shed hut skyscraper "
            f"greenhouse tent {_BUILT}"
        ),
        "road": _names(
            f"road street highway freeway motorway expressway avenue lane path track trail driveway pavement paved "
            f"asphalt concrete sidewalk parking runway taxiway apron bridge viaduct overpass roundabout intersection "
            f"crossroad plaza square railway railroad {_BUILT}"
        ),
        "tree": _names(
            f"tree forest wood woodland jungle orchard plantation palm mangrove shrub bush canopy {_PLANTS}"
        ),
        "grass": _names(
            f"grass grassland lawn turf meadow pasture rangeland range grazing prairie savanna steppe shrubland golf "
            f"park garden chaparral {_PLANTS}"
        ),
        "cropland": _names(
            f"crop cropland farm farmland field agriculture agricultural cultivated arable paddy orchard vineyard "
            f"plantation {_PLANTS}"
        ),
        "bare soil": _names(
            "soil bare bareland barren dirt earth ground sand sandy desert dune beach shore rock rocky stone gravel "
            "mud quarry mine nature natural"
        ),
    }
)
_ALL_BUT_WATER = frozenset({"land", "terrain", "dry land", "land surface"})  # phrases, whole


def not_covered(phrases: Iterable[str]) -> tuple[str, ...]:
    """The words of common land cover that no phrase of a class list covers, in a fixed order.

    A word is taken to be covered as soon as any word of any phrase names it, a kind of it, or something that holds
    it: a distractor that competes with a class of the list does more harm than one too few.

    >>> not_covered(["house", "swimming pool"])
    ('road', 'tree', 'grass', 'cropland', 'bare soil')
    """
    asked = [" ".join(re.findall(r"[^\W\d_]+", phrase.casefold().replace("man-made", "manmade"))) for phrase in phrases]
    words = {form for phrase in asked for word in phrase.split() for form in _singular(word)}
    dry = any(phrase in _ALL_BUT_WATER for phrase in asked)
    return tuple(cover for cover, names in COVERS.items() if not words & names and not (dry and cover != "water"))


def _singular(word: str) -> tuple[str, ...]:
    """A word and what it may be the plural of.

    >>> _singular("houses"), _singular("bushes"), _singular("cities")
    (('houses', 'house', 'hous'), ('bushes', 'bushe', 'bush'), ('cities', 'citie', 'citi', 'city'))
    """
    forms = [word]
    if word.endswith("s"):
        forms.append(word[:-1])
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    return tuple(forms)
