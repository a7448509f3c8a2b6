"""The large page: a daily almanac of the invented valley, more than 3 MB of HTML, the same bytes every time."""

import datetime
from typing import Final

FIRST_YEAR: Final = 2009
LAST_YEAR: Final = 2025

_SKY: Final = (
    "Clear from first light, with a thin haze over the water meadows until the sun reached the mill wall",
    "Low cloud on both ridges all day and the tops never once seen from the town",
    "Broken cloud and quick shadows, bright enough at noon to dry hay on the upper strips",
    "Fog in the bottom until ten, sunshine above it, and the church tower standing out of it like a mast",
    "Steady drizzle out of a flat grey sky, the kind that wets a coat without ever sounding on a roof",
    "Showers with long gaps between them and two rainbows reported from the school yard",
    "High thin cloud and a ring about the sun, which the wardens have learned to take as a warning",
)
_RIVER: Final = (
    "The Wend ran clear over the stepping stones and a child could have crossed",
    "The river was coloured but falling, with a line of straw left on the bank at the old ford",
    "The gauge at Quill Bridge rose through the afternoon and then held without reaching the amber mark",
    "Water stood in the ruts of Ferry Lane, though the river itself stayed well inside its banks",
    "The weir was loud enough to hear from the market square after dark",
)
_SEEN: Final = (
    "a dipper was feeding below the weir",
    "the first lamb of the week was turned out at Longstone Farm",
    "rooks carried sticks across to the library limes",
    "an otter was watched for a quarter of an hour from the footbridge",
    "swifts screamed low along Pottle Lane at supper time",
    "a heron stood on the ferry chain and would not be moved",
    "bees were working the ivy on the south side of the signal box",
    "fieldfares stripped the last haws from the station hedge",
    "a barn owl quartered the glebe in daylight",
    "the smell of the bakery carried as far as the upper lock",
    "leaf fall blocked the culvert at the foot of Skep Hill and was raked clear",
)
_MONTH_NOTE: Final = (
    "Ice is the thing to watch: the gauge freezes before the river does and then reads falsely steady.",
    "Snowmelt reaches the town about thirty hours after a thaw begins at the hut.",
    "Strong drying winds, and the month in which most of the gates are mended.",
    "The ferry goes back into the water and the first swallow is usually a week behind it.",
    "Growth outpaces every scythe in the valley and the banks should be left uncut for the nesting birds.",
    "The longest days, read at five in the morning and again at nine at night.",
    "Thunder comes up the valley rather than down it, against what visitors expect.",
    "Low water: the old mill sluice and the foundations of the drowned cottage can both be seen.",
    "The first westerlies; wardens check the sandbag store and sign the book.",
    "Leaves matter more than rain this month, since it is blocked drains that flood cellars.",
    "The wettest month in most years, and the one for which the siren was bought.",
    "Short days; readings are taken at eight and at four and never after dark by one person alone.",
)


def _mix(day: int, salt: int) -> int:
    """A small integer hash, 0 to 65535, so that neighbouring days differ without a random source."""
    value = (day * 2654435761 + salt * 40503) & 0xFFFFFFFF
    value ^= value >> 15
    value = (value * 2246822519) & 0xFFFFFFFF
    return (value >> 13) & 0xFFFF


def _row(date: datetime.date) -> str:
    day = date.toordinal()
    rain_tenths = _mix(day, 1) % 190 if _mix(day, 2) % 5 < 2 else 0
    level_cm = 38 + rain_tenths // 3 + _mix(day, 3) % 22
    low = _mix(day, 4) % 9 + (2 if date.month in (4, 5, 6, 7, 8, 9) else -4)
    high = low + 5 + _mix(day, 5) % 8
    sky = _SKY[_mix(day, 6) % len(_SKY)]
    river = _RIVER[_mix(day, 7) % len(_RIVER)]
    seen = _SEEN[_mix(day, 8) % len(_SEEN)]
    return (
        f'<tr><th scope="row">{date.isoformat()}</th><td>{low} / {high}</td><td>{rain_tenths / 10:.1f}</td>'
        f"<td>{level_cm}</td><td>{sky}. {river}; {seen}. Read at the bridge by the warden of the day, entered in the "
        f"book as line {_mix(day, 9)}, with the glass at {985 + _mix(day, 10) % 48} and falling or rising as the "
        f"morning sheet for station {1 + _mix(day, 11) % 6} shows.</td></tr>\n"
    )


def almanac_html() -> str:
    """The main part of the almanac page: one table a month, one row a day, `FIRST_YEAR` to `LAST_YEAR` inclusive."""
    parts = [
        "<h1>The Wendale Almanac</h1>\n<p>The flood wardens of Quillbeck have written one line a day since the spring "
        f"of {FIRST_YEAR}. This page is the whole book in one piece, kept that way so that it can be searched with "
        "nothing but a browser. Temperatures are in degrees Celsius, rain in millimetres, and the level in "
        "centimetres above the sill at Quill Bridge.</p>\n"
    ]
    date = datetime.date(FIRST_YEAR, 1, 1)
    while date.year <= LAST_YEAR:
        month = date.month
        parts.append(
            f"<h2>{date:%B} {date.year}</h2>\n<p>{_MONTH_NOTE[month - 1]}</p>\n<table><caption>Daily readings, "
        )
        parts.append(f"{date:%B} {date.year}</caption>\n<thead><tr><th>Date</th><th>Low / high</th><th>Rain</th>")
        parts.append("<th>Level</th><th>Remarks</th></tr></thead>\n<tbody>\n")
        while date.month == month:
            parts.append(_row(date))
            date += datetime.timedelta(days=1)
        parts.append("</tbody></table>\n")
    return "".join(parts)
