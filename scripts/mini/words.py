"""The map maker's words: phrases that share supervision, and how captions and scene types tell that they are there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Word:
    """One concept.

    phrases: what a user may call it. pattern: what a caption that shows it says. area: share of an image that must
    answer when it is there. parents: concepts that are there too. scenes: file-name stems (lower case, no digits) of
    images nearly covered by it.
    """

    phrases: tuple[str, ...]
    pattern: str
    area: float = 0.1
    parents: tuple[str, ...] = ()
    scenes: tuple[str, ...] = field(default=())


def _w(phrases: str, pattern: str = "", area: float = 0.1, parents: str = "", scenes: str = "") -> Word:
    split = tuple(p.strip() for p in phrases.split(","))
    forms = pattern or "|".join(split)
    return Word(split, rf"\b(?:{forms})\b", area, tuple(parents.split()), tuple(scenes.split()))


BACKGROUND = ("background", "clutter", "background, clutter", "other", "something else", "nothing", "unlabelled")

WORDS: dict[str, Word] = {
    "water": _w("water,water body,water bodies,water surface,waters,flood water,flooded area,muddy water,flood",
                "waters?", 0.2, scenes="sealake"),
    "river": _w("river,stream,creek,rivers,canal,waterway", "rivers?|streams?|creeks?|canals?", 0.15, "water"),
    "lake": _w("lake,reservoir,lagoon,lakes", "lakes?|reservoirs?|lagoons?", 0.2, "water", "sealake"),
    "sea": _w("sea,ocean,seawater,coastal water", "seas?|oceans?|seaside|sea ?water", 0.2, "water", "sealake"),
    "pond": _w("pond,ponds,pool of water", "ponds?", 0.1, "water"),
    "wetland": _w("wetland,marsh,swamp,wetlands", "wetlands?|marsh(?:es)?|swamps?|shoals?", 0.1),
    "building": _w("building,buildings,edifice", "buildings?|blocks|edifices?|skyscrapers?",
                   0.15),
    "house": _w("house,houses,villa,home,cottage", "houses?|villas?|homes?|cottages?", 0.15, "building"),
    "roof": _w("roof,roofs,rooftop", "roofs?|roofed|rooftops?", 0.15, "building"),
    "built-up": _w("built-up,built-up area,urban,urban area,settlement,developed area", "urban|towns?|city|villages?",
                   0.3, "building", "residential denseresidential mediumresidential industrial commercial center"),
    "residential": _w(
        "residential area,residential,residential buildings,dense residential area,neighborhood",
        "residential|neighborhoods?|resident|residence", 0.3, "building house built-up",
        "residential denseresidential mediumresidential mobilehomepark"),
    "slum": _w("slum,shanty,slums,informal settlement,shanty town,mobile home park", "mobile homes?", 0.3,
               "building house roof built-up", "mobilehomepark"),
    "industrial": _w("industrial area,industrial,factory,industrial buildings,warehouse,plant building",
                     "industrial|factory|factories|warehouses?|workshops?", 0.3, "building built-up", "industrial"),
    "commercial": _w("commercial area,commercial,business district,downtown", "commercial|business|downtown", 0.2,
                     "building built-up", "commercial"),
    "church": _w("church,cathedral", "church(?:es)?|cathedral", 0.1, "building"),
    "school": _w("school,campus", "schools?|campus|teaching", 0.1, "building"),
    "stadium": _w("stadium,arena", "stadiums?|gyms?", 0.2, "building"),
    "road": _w("road,roads,path,lane,driveway", "roads?|paths?|lanes?|crossroads?|roadside|intersections?", 0.12),
    "street": _w("street,streets,avenue", "streets?|avenues?", 0.1, "road"),
    "highway": _w("highway,freeway,motorway,expressway", "highways?|freeways?|motorways?|expressways?", 0.12, "road"),
    "intersection": _w("intersection,crossroads,junction", "intersections?|cross ?roads?|junctions?", 0.1, "road"),
    "pavement": _w("pavement,paved ground,asphalt,concrete,sidewalk,paved area,impervious surface",
                   "pavements?|asphalt|concrete|cement|apron|parking lots?|squares?|runways?", 0.12),
    "runway": _w("runway,airstrip,taxiway", "runways?|tracks? on the airport", 0.15, "pavement"),
    "parking lot": _w("parking lot,car park,parking", "parking(?: lots?)?|parked", 0.15, "pavement"),
    "bridge": _w("bridge,bridges", "bridges?", 0.08, "road"),
    "viaduct": _w("viaduct,overpass,flyover,elevated road", "viaducts?|overpass(?:es)?|flyovers?", 0.15, "road"),
    "railway": _w("railway,railroad,rail tracks,train tracks", "railways?|railroads?|rails?|train station", 0.12),
    "train station": _w("train station,railway station", "(?:train|railway) stations?", 0.15, "railway"),
    "roundabout": _w("roundabout,traffic circle", "roundabouts?|turntables?", 0.1, "road"),
    "square": _w("square,plaza,town square", "squares?|plazas?", 0.15),
    "vegetation": _w("vegetation,plants,greenery,herbaceous vegetation,low vegetation",
                     "vegetations?|plants?|greenery|green belts?|greens|green land", 0.2,
                     scenes="herbaceousvegetation"),
    "tree": _w("tree,trees", "trees?|wooded", 0.15, "vegetation", "forest"),
    "forest": _w("forest,woods,woodland,forests", "forests?|woods?|woodlands?|jungle", 0.25, "tree vegetation",
                 "forest"),
    "grass": _w("grass,lawn,turf,grassland,lawns", "grass|lawns?|turfs?|grass ?lands?|meadows?|pastures?", 0.15,
                "vegetation", "pasture meadow"),
    "meadow": _w("meadow,meadows", "meadows?|prairies?", 0.25, "grass vegetation", "meadow"),
    "pasture": _w("pasture,rangeland,grazing land,range land", "pastures?|ranch|grazing|herbaceous", 0.25, "vegetation",
                  "pasture"),
    "shrub": _w("shrub,bush,shrubs,bushes,chaparral,scrub", "shrubs?|bush(?:es)?|chaparral", 0.15, "vegetation",
                "chaparral"),
    "cropland": _w(
        "cropland,farmland,agricultural field,agricultural land,farm,crop land,agricultural,agriculture,crops,"
        "cultivated land,field,fields,paddy,rice field,annual crop land",
        "crop ?lands?|farm ?lands?|farms?|agricultural|crops?|cultivated|paddy|terraces?|(?<!baseball )(?<!football )"
        "(?<!soccer )(?<!basketball )fields? of", 0.25, "", "annualcrop permanentcrop farmland agricultural"),
    "orchard": _w("orchard,orchards,plantation,vineyard,permanent crop land",
                  "orchards?|plantations?|permanent crop", 0.3, "cropland", "permanentcrop"),
    "greenhouse": _w("greenhouse,greenhouses", "greenhouses?", 0.1),
    "bare soil": _w(
        "bare soil,bare land,bareland,barren land,barren,bare ground,ground,soil,dirt,land,earth,bare earth",
        "bare ?lands?|bare|barren|soil|dirt|naked|loess|nueland|khaki|bald|earth|waste ?lands?|desolate|wilderness"
        "|open space|ground is yellow|yellow ground|deserts?|dusty", 0.2, "", "bareland desert"),
    "sand": _w("sand,sands,sandy ground", "sands?|sandy|deserts?|beach(?:es)?|dunes?", 0.15, "", "desert"),
    "desert": _w("desert,dunes", "deserts?|dunes?", 0.3, "sand bare_soil", "desert"),
    "beach": _w("beach,shore,sandy beach", "beach(?:es)?|shores?", 0.12, "sand"),
    "rock": _w("rock,rocks,stones,rocky ground", "rocks?|stones?|rocky|cliffs?|reefs?", 0.1),
    "mountain": _w("mountain,mountains,hill,hills", "mountains?|hills?|peaks?|ridges?|valleys?", 0.3, "", "mountain"),
    "snow": _w("snow,ice,glacier", "snows?|snowy|ice|icy|glaciers?", 0.15),
    "island": _w("island,islands", "islands?|islets?", 0.1),
    "swimming pool": _w("swimming pool,pool,swimming pools", "swimming ?pools?|pools?|thermal pool", 0.04),
    "tennis court": _w("tennis court,tennis courts,badminton court", "(?:tennis|badminton) ?courts?", 0.1),
    "basketball court": _w("basketball court,basketball courts", "basketball (?:courts?|fields?)", 0.08),
    "baseball diamond": _w("baseball diamond,baseball field", "base ?ball ?(?:diamonds?|fields?|courts?)", 0.15),
    "soccer field": _w("soccer field,football field,soccer ball field,football pitch",
                       "(?:soccer|football) (?:fields?|pitch|grounds?)|playing fields?", 0.15),
    "playground": _w("playground,sports field,ground track field,running track", "playgrounds?|sports? fields?",
                     0.2),
    "golf course": _w("golf course,golf", "golf", 0.2, "grass"),
    "park": _w("park,garden", "parks?(?! lot)|gardens?|resorts?", 0.15),
    "car": _w("car,cars,vehicle,vehicles,small vehicle,automobile,truck,large vehicle",
              "cars?|vehicles?|automobiles?|trucks?|parked|traffic", 0.03),
    "train": _w("train,trains", "trains?(?! station)", 0.04),
    "ship": _w("ship,boat,boats,ships,vessel", "ships?|boats?|yachts?|vessels?|docked", 0.06),
    "harbor": _w("harbor,port,dock,wharf,pier", "harbou?rs?|ports?|docks?|wharfs?|piers?", 0.15),
    "airplane": _w("airplane,plane,aircraft,planes,airplanes", "air ?planes?|planes?|aircrafts?", 0.05),
    "airport": _w("airport,airfield,terminal", "airports?|terminals?", 0.25),
    "storage tank": _w("storage tank,storage tanks,store tank,oil tank", "storage ?tanks?|tanks?|jars|oil", 0.08),
    "construction": _w("construction site,building site,construction", "construction|unfinished", 0.15),
    "cloud": _w("cloud,clouds", "clouds?|fog|mist", 0.1),
    "shadow": _w("shadow,shadows", "shadows?", 0.05),
}  # fmt: skip

# Covers that exclude each other: a patch shows one of them. Words of no group stand for themselves.
GROUPS: dict[str, str] = {
    "water": "water river lake sea pond",
    "built": "building house roof church school stadium",
    "settlement": "built-up residential slum industrial commercial",
    "road": "road street highway intersection pavement runway parking lot bridge viaduct railway train station "
    "roundabout square",
    "vegetation": "vegetation tree forest grass meadow pasture shrub",
    "crop": "cropland orchard greenhouse",
    "bare": "bare soil sand desert beach rock",
}

# Common things that captions often leave out: where the first is there, silence on the others proves nothing.
UNSAID: dict[str, str] = {
    "building": "road street tree grass vegetation car pavement house roof bare soil shadow parking lot residential "
    "commercial intersection built-up",
    "road": "tree grass vegetation car pavement street highway bare soil intersection building",
    "tree": "vegetation forest grass shrub",
    "vegetation": "tree grass shrub meadow forest pasture",
    "grass": "vegetation meadow pasture bare soil tree",
    "meadow": "pasture grass cropland",
    "pasture": "meadow grass cropland shrub tree",
    "cropland": "grass vegetation tree road bare soil pasture meadow orchard house",
    "water": "river lake sea pond shadow",
    "bare soil": "sand rock desert mountain road",
    "sand": "bare soil beach desert rock",
    "mountain": "rock tree forest vegetation bare soil snow shadow",
    "desert": "mountain rock",
    "forest": "mountain shrub road",
    "shrub": "tree grass bare soil",
    "ship": "water harbor",
    "harbor": "water ship building",
    "beach": "sea water tree",
    "island": "water sea",
    "bridge": "water river",
    "airport": "runway pavement road grass building airplane bare soil",
    "storage tank": "industrial building road bare soil",
    "parking lot": "car road pavement building square tree",
    "pavement": "road parking lot bare soil car square",
    "square": "road building tree car pavement grass",
    "railway": "building road train bare soil",
    "playground": "soccer field grass building tree road",
    "soccer field": "playground grass",
    "stadium": "soccer field playground road parking lot car",
    "swimming pool": "water building house tree",
    "industrial": "building roof road parking lot storage tank",
    "river": "lake pond sea bank grass tree bare soil",
    "pond": "lake river grass tree",
    "lake": "sea pond river",
    "sea": "lake beach sand",
    "baseball diamond": "grass bare soil tree",
    "golf course": "tree grass sand water pond",
}

NAMES = list(WORDS)
_INDEX = {name: i for i, name in enumerate(NAMES)}
_PATTERNS = [re.compile(w.pattern) for w in WORDS.values()]
PRESENT, COVERS, UNKNOWN, ABSENT = 2, 3, 1, 0


# What the words of UC Merced's table of 17 mean here, and what else is not there when they are not.
TABLE: dict[str, tuple[str, str]] = {
    "airplane": ("airplane", ""), "bare-soil": ("bare soil", ""), "cars": ("car", "parking lot"),
    "buildings": ("building", "house roof residential slum industrial commercial church school stadium built-up"),
    "chaparral": ("shrub", ""), "court": ("", "tennis court basketball court"), "dock": ("harbor", ""),
    "field": ("", "cropland"), "grass": ("grass", "meadow golf course"), "mobile-home": ("slum", ""),
    "pavement": ("pavement", "road street highway intersection runway parking lot viaduct"), "sand": ("sand", "beach"),
    "sea": ("sea", ""), "ship": ("ship", ""), "tanks": ("storage tank", ""), "trees": ("tree", "forest orchard"),
    "water": ("water", "river lake sea pond"),
}  # fmt: skip


def presence(captions: list[str], stem: str, table: dict[str, bool] | None = None) -> list[int]:
    """For every word, in the order of NAMES, what is known: PRESENT, COVERS (nearly everywhere), UNKNOWN or ABSENT.

    stem: the scene type that the file name gives, lower case without digits and underscores, may be empty. table: what
    somebody who looked for the words of TABLE found; it counts more than captions, whose silence proves little.

    >>> known = presence(["a river runs through a forest ."], "river")
    >>> [name for name, k in zip(NAMES, known) if k == PRESENT]
    ['water', 'river', 'vegetation', 'tree', 'forest']
    """
    text = " ".join(captions).lower()
    known = [PRESENT if p.search(text) else ABSENT for p in _PATTERNS]
    for i, word in enumerate(WORDS.values()):
        if stem in word.scenes:
            known[i] = COVERS
    for i, word in enumerate(WORDS.values()):
        for parent in word.parents:
            j = _INDEX[parent.replace("_", " ")]
            most = PRESENT if _AREA[i] and not _AREA[j] else COVERS  # a residential area is not all building
            known[j] = max(known[j], min(known[i], most))
    for name, unsaid in UNSAID.items():
        if known[_INDEX[name]] >= PRESENT:
            for other in _names_in(unsaid):
                known[other] = max(known[other], UNKNOWN)
    for name, there in (table or {}).items():
        own, gone = (_names_in(text) for text in TABLE[name])
        for i in own if there else own + gone:
            known[i] = max(known[i], PRESENT) if there else ABSENT
    return known


def groups() -> list[int]:
    """The group of every word, in the order of NAMES: numbers from 0 without gaps."""
    of = list(range(len(NAMES)))
    for members in GROUPS.values():
        found = _names_in(members)
        for i in found:
            of[i] = found[0]
    numbers = {g: n for n, g in enumerate(sorted(set(of)))}
    return [numbers[g] for g in of]


def covers() -> list[bool]:
    """For every group whether it is a ground cover, of which a patch shows only one, and not a thing upon it."""
    numbers = groups()
    grounds = [members for group, members in GROUPS.items() if group != "settlement"]
    found = {numbers[i] for members in grounds for i in _names_in(members)}
    return [g in found for g in range(max(numbers) + 1)]


def in_group(group: str) -> list[bool]:
    """For every word, in the order of NAMES, whether it is of that group."""
    members = _names_in(GROUPS[group])
    return [i in members for i in range(len(NAMES))]


def vocabulary(images: list[int]) -> list[str]:
    """The words whose meaning was shown: of the phrases with at least 20 images, and of the background.

    images: for every word, in the order of NAMES, how many images show it.
    """
    shown = [w.phrases for w, count in zip(WORDS.values(), images, strict=True) if count >= 20]
    return sorted({part for phrases in [*shown, BACKGROUND] for p in phrases for part in re.findall("[a-z]+", p)})


def _names_in(text: str) -> list[int]:
    found = []
    for name in sorted(NAMES, key=len, reverse=True):
        if re.search(rf"\b{name}\b", text):
            found.append(_INDEX[name])
            text = re.sub(rf"\b{name}\b", "", text)
    return found


_AREA = in_group("settlement")
