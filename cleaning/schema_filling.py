"""A page's facts to a value that matches a JSON Schema, without a model: the same page always gives the same value.

What a property is filled from, in this order: the JSON-LD object or marked up item that has most of the properties
asked for, what the other steps of cleaning found, `meta` elements, other such objects, labels and tables, and elements
whose class or id means the property. Names are compared by what they mean (`property_names`), values are brought to
the type asked for (`scalar_values`). What is not found is left out, or null where the schema says that it may be.
"""

import msgspec
from lxml.html import HtmlElement

from cleaning.page_facts import PageFacts, marked_in, table_records, value_in
from cleaning.property_names import meaning, meanings
from cleaning.scalar_values import (
    as_address,
    as_date,
    as_email,
    as_flag,
    as_number,
    as_one_of,
    as_text,
    as_whole,
    properties_of,
)
from cleaning.schema_shapes import MAX_DEPTH, Shapes, kind_of, may_be_null, wants_address
from cleaning.similar_elements import card_groups, card_share, shown_by
from cleaning.structured_data import JsonObject, JsonValue

MAX_RECORDS = 500
_HEAVY = 2
"""A thing that has so many of the properties asked for is what the schema is about."""
_BESIDE = 1.5
_SIDE_KINDS = frozenset(
    {
        "Person", "Organization", "NewsMediaOrganization", "Corporation", "WebSite", "ImageObject", "Brand", "ListItem",
        "BreadcrumbList", "Review", "SiteNavigationElement", "PostalAddress", "SearchAction",
    }
)  # fmt: skip
"""What nearly every page names beside what it is about: such things count for less."""


class Nothing:
    """The page does not say."""


NOTHING = Nothing()


class _Place(msgspec.Struct, frozen=True):
    """Where a value is looked for: under a name, in the object `own` and the element it stands in, or in the whole page
    where both are None. `path` names it for the lab."""

    name: str = ""
    path: str = ""
    own: JsonObject | None = None
    element: HtmlElement | None = None
    depth: int = 0

    @property
    def is_page(self) -> bool:
        return self.own is None and self.element is None

    def under(self, key: str, own: JsonObject | None) -> "_Place":
        path = f"{self.path}.{key}" if self.path else key
        return _Place(key, path, own, None if own is None else self.element, self.depth + 1)


class Filler:
    """Fills one schema from one page. `missing` names what was not found, as `offers.price` or `items[].name`."""

    def __init__(self, schema: JsonObject, facts: PageFacts) -> None:
        self._schema, self._facts, self._shapes = schema, facts, Shapes(schema)
        properties = schema.get("properties")
        self._wanted = list(properties) if isinstance(properties, dict) else []
        self._weighed: list[JsonObject] | None = None
        self.missing: dict[str, None] = {}

    def value(self) -> JsonValue | Nothing:
        """Fill the schema."""
        return self._fill(self._schema, _Place())

    def _fill(self, schema: JsonValue, place: _Place) -> JsonValue | Nothing:
        shape = self._shapes.resolved(schema)
        if shape is None or place.depth > MAX_DEPTH or "const" in shape:
            return NOTHING
        kind = kind_of(shape)
        if kind == "object":
            return self._object(shape, place)
        if kind == "array":
            return self._array(shape, place)
        for found in self._found(place, address=wants_address(shape, place.name)):
            value = self._converted(found, shape, place.name)
            if value is not None:
                return value
        return NOTHING

    def _object(self, shape: JsonObject, place: _Place) -> JsonValue | Nothing:
        properties = shape.get("properties")
        if not isinstance(properties, dict):
            return NOTHING
        inner = self._inner(properties, place) if place.name else place.own
        filled: JsonObject = {}
        for key, wanted in properties.items():
            value: JsonValue | Nothing = NOTHING
            if inner is not None:
                value = self._fill(wanted, place.under(key, inner))
            if isinstance(value, Nothing) and place.is_page and not place.name:
                value = self._fill(wanted, place.under(key, None))
            where = place.under(key, None).path
            if isinstance(value, Nothing):
                self.missing[where] = None
                if may_be_null(self._shapes.followed(wanted)):
                    filled[key] = None
            else:
                self.missing.pop(where, None)
                filled[key] = value
        return filled if not place.name or any(value is not None for value in filled.values()) else NOTHING

    def _inner(self, properties: JsonObject, place: _Place) -> JsonObject | None:
        """The object that a property of kind object is filled from."""
        if place.own is not None:
            inner = next((item for value in _of(place.own, place.name) if (item := properties_of(value))), None)
            # What is flat on the page may be nested in the schema: `offers.price` from `price`.
            return inner if inner is not None or place.element is not None else place.own
        for thing in self._by_weight():
            for value in _of(thing, place.name):
                if (inner := properties_of(value)) is not None:
                    return inner
        return self._best(properties, place.name)

    def _array(self, shape: JsonObject, place: _Place) -> JsonValue | Nothing:
        items = self._shapes.resolved(shape.get("items")) or {"type": "string"}
        if kind_of(items) == "object":
            return self._objects(items, place)
        listed: dict[str, JsonValue] = {}
        for found in self._lists(place, address=wants_address(items, place.name)):
            for item in found:
                value = self._converted(item, items, place.name)
                if value is not None:
                    listed.setdefault(msgspec.json.encode(value).decode(), value)
            if listed:
                return list(listed.values())[:MAX_RECORDS]
        return NOTHING

    def _objects(self, items: JsonObject, place: _Place) -> JsonValue | Nothing:
        inside = f"{place.path}[]"
        before = dict(self.missing)
        full: list[JsonObject] = []
        for own, element in self._records(items, place):
            value = self._object(items, _Place("", inside, own, element, place.depth + 1))
            if isinstance(value, dict) and any(part is not None for part in value.values()):
                full.append(value)
        # A property is missing of a list where no item of it has one.
        of_items = [key for key in self.missing if key.startswith(f"{inside}.")]
        self.missing = before
        for key in of_items:
            if not any(value.get(key.removeprefix(f"{inside}.").partition(".")[0]) is not None for value in full):
                self.missing[key] = None
        return list(full) if full else NOTHING

    def _found(self, place: _Place, *, address: bool) -> list[JsonValue]:
        """What the page says of a property, the most trustworthy first."""
        name, own, element = place.name, place.own, place.element
        found: list[JsonValue] = []
        keys = meanings(name)
        if own is not None:
            found.extend(_of(own, name))
            if element is not None:
                found.extend(_marked(marked_in(element), keys, address=address))
                found.extend(shown_by(element, keys))
            return found
        facts = self._facts
        for thing in self._by_weight():
            if _weight(thing, self._wanted) >= _HEAVY:
                found.extend(_of(thing, name))
        found.extend(facts.known[key] for key in keys if key in facts.known)
        found.extend(value for key in keys for value in facts.metas.get(key, []))
        # What shares one property with the schema may be anything: the publisher has a name too.
        found.extend(value for thing in self._by_weight() for value in _of(thing, name))
        found.extend(value for key in keys for value in facts.labels.get(key, []))
        found.extend(_marked(facts.marked, keys, address=address))
        return found

    def _lists(self, place: _Place, *, address: bool) -> list[list[JsonValue]]:
        name, own, element = place.name, place.own, place.element
        found: list[list[JsonValue]] = []
        keys = meanings(name) + ((meaning(name[:-1]),) if name.endswith("s") else ())
        if own is not None:
            found.extend(_listed(value) for key in (name, name[:-1]) if key for value in _of(own, key))
            if element is not None:
                found.append(_marked(marked_in(element), keys, address=address))
            return found
        facts = self._facts
        for thing in self._by_weight():
            found.extend(_listed(value) for key in dict.fromkeys((name, name[:-1])) if key for value in _of(thing, key))
        for key in keys:
            if values := facts.metas.get(key):
                found.append([part for value in values for part in _listed(value)])
        found.append(facts.lists_under(keys))
        for key in keys:
            found.extend(_listed(value) for value in facts.labels.get(key, []))
        found.append([_within(element, address=address) for key in keys for element in facts.marked.get(key, [])[:500]])
        return [values for values in found if values]

    def _records(self, items: JsonObject, place: _Place) -> list[tuple[JsonObject, HtmlElement | None]]:
        """The similar things of a page that match the schema of a list's items best."""
        name, own, element = place.name, place.own, place.element
        properties = items.get("properties")
        wanted = list(properties) if isinstance(properties, dict) else []
        if own is not None:
            inner = [item for value in _of(own, name) for item in _objects(value)]
            if inner or element is None:
                return [(item, None) for item in inner[:MAX_RECORDS]]
        facts = self._facts
        groups: list[tuple[float, list[tuple[JsonObject, HtmlElement | None]]]] = []

        def offer(records: list[tuple[JsonObject, HtmlElement | None]], matched: float, trust: float) -> None:
            if records and matched > 0:
                groups.append((matched * trust * min(len(records), 5) ** 0.25, records[:MAX_RECORDS]))

        if own is None:
            by_type: dict[str, list[JsonObject]] = {}
            for thing in facts.things:
                for value in _of(thing, name):
                    inner = _objects(value)
                    offer([(item, None) for item in inner], _share(inner, wanted), 1.5)
                by_type.setdefault(str(thing.get("@type")), []).append(thing)
            for alike in by_type.values():
                matching = [thing for thing in alike if _matches(thing, wanted) >= min(2, len(wanted))]
                offer([(thing, None) for thing in matching], _share(matching, wanted), 1.2)
            for table in facts.tables:
                rows = table_records(table)
                offer([(row, None) for row in rows], _share(rows[:20], wanted), 1.0)
        for cards in card_groups(element if element is not None else facts.root, wanted):
            share = sum(card_share(card, wanted) for card in cards[:5]) / min(len(cards), 5)
            offer([({}, card) for card in cards], share, 0.9)
        return max(groups, key=lambda group: group[0])[1] if groups else []

    def _best(self, properties: JsonObject, name: str) -> JsonObject | None:
        """The thing of the page that has most of these properties; one at least, or the name as its type."""
        keys = set(meanings(name))
        best, best_weight = None, 0.0
        for thing in self._facts.things:
            named = meaning(str(thing.get("@type", "")).rpartition("/")[2]) in keys
            weight = _matches(thing, list(properties)) + (2.0 if named else 0.0)
            if weight > best_weight and (named or weight >= 2):
                best, best_weight = thing, weight
        return best

    def _by_weight(self) -> list[JsonObject]:
        """The things of the page, those first that have most of what the schema asks for."""
        if self._weighed is None:
            self._weighed = sorted(self._facts.things, key=lambda thing: -_weight(thing, self._wanted))[:200]
        return self._weighed

    def _converted(self, found: JsonValue, shape: JsonObject, name: str) -> JsonValue:
        allowed = shape.get("enum")
        if isinstance(allowed, list):
            return as_one_of(found, allowed)
        kind = kind_of(shape)
        if kind == "number":
            return as_number(found)
        if kind == "integer":
            return as_whole(found)
        if kind == "boolean":
            return as_flag(found)
        form = shape.get("format")
        if form in {"date", "date-time"}:
            return as_date(found, with_time=form == "date-time")
        if wants_address(shape, name):
            return as_address(found, self._facts.base)
        if form == "email":
            return as_email(found)
        return as_text(found)


def _of(thing: JsonObject, name: str) -> list[JsonValue]:
    """The values of a thing's property: of the name itself, then of names that mean the same."""
    if name in thing:
        return [thing[name], *_of_like(thing, name)]
    return _of_like(thing, name)


def _of_like(thing: JsonObject, name: str) -> list[JsonValue]:
    keys = meanings(name)
    found = [value for key in keys for own, value in thing.items() if own != name and meaning(own) == key]
    if not found:
        # What schema.org keeps one level down: a product's price in its offers, a rating in its aggregate.
        for holder in ("offers", "aggregateRating", "priceSpecification", "mainEntity", "address", "itemOffered"):
            inner = properties_of(thing.get(holder))
            if inner is not None and holder != name:
                found.extend(value for key in keys for own, value in inner.items() if meaning(own) == key)
    return found


def _matches(thing: JsonObject, wanted: list[str]) -> float:
    return float(sum(bool(_of(thing, name)) for name in wanted))


def _weight(thing: JsonObject, wanted: list[str]) -> float:
    kind = str(thing.get("@type", "")).rpartition("/")[2]
    return _matches(thing, wanted) - (_BESIDE if kind in _SIDE_KINDS else 0.0)


def _share(records: list[JsonObject], wanted: list[str]) -> float:
    if not records or not wanted:
        return 0.0
    shown = records[:20]
    return sum(_matches(record, wanted) for record in shown) / len(shown) / len(wanted)


def _objects(value: JsonValue) -> list[JsonObject]:
    """The objects of a list, those of list items (`ListItem.item`) in their place."""
    listed = value if isinstance(value, list) else [value]
    found: list[JsonObject] = []
    for item in listed:
        if not isinstance(item, dict):
            continue
        inner = item.get("item")
        nested = item.get("itemListElement")
        if isinstance(nested, list):
            found.extend(_objects(nested))
        else:
            found.append({**item, **inner} if isinstance(inner, dict) else item)
    return found


def _listed(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        if "\n" in value:
            return [part.strip() for part in value.split("\n") if part.strip()]
        parts = [part.strip() for part in value.split(",")]
        return [part for part in parts if part] if len(parts) > 1 and all(len(part) < 80 for part in parts) else [value]
    return [] if value is None else [value]


def _marked(marks: "dict[str, list[HtmlElement]]", keys: tuple[str, ...], *, address: bool) -> list[JsonValue]:
    return [_within(element, address=address) for key in keys for element in marks.get(key, [])[:50]]


def _within(element: HtmlElement, *, address: bool) -> str:
    return value_in(element, address=address)
