"""Values of pages that match a schema: from what pages state, from what they show, and from real ones."""

import gzip
import json
import re
from typing import Any

import pytest

from cleaning.document import Document
from cleaning.json_extraction import Filled, fill_schema
from cleaning.json_schema import faults_of, schema_fault
from cleaning.page_facts import PageFacts
from cleaning.pipeline import to_document
from cleaning.property_names import meanings
from cleaning.scalar_values import as_date, as_flag, as_number, as_one_of
from cleaning.structured_data import extract_structured_data
from cleaning.tree import parse_html
from cleaning.wants import Wants
from tests.cleaning.test_gold import GOLD

TEXT, NUMBER, WHOLE, FLAG = ({"type": name} for name in ("string", "number", "integer", "boolean"))
ADDRESS = {"type": "string", "format": "uri"}
LD = '<script type="application/ld+json">{}</script>'


def shape(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def filled(html: str, schema: dict[str, Any], **known: str) -> Filled:
    root = parse_html(html)
    assert root is not None
    return fill_schema(
        json.dumps(schema), PageFacts(root, "https://example.org/d/p", extract_structured_data(root), known)
    )


def value(html: str, schema: dict[str, Any], **known: str) -> Any:
    found = filled(html, schema, **known)
    assert found.json is not None
    return json.loads(found.json)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.299,00 €", 1299), ("$1,299.50", 1299.5), ("£51.77", 51.77), ("1,299", 1299), ("12.345", 12.345),
        ("1.299.000", 1299000), ("3,5 of 5", 3.5), ("−4 °C", -4), ("1 234 pages", 1234), ("CHF 1'000.50", 1000.5),
        ("none", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text: str, number: float | None) -> None:
    assert as_number(text) == number


def test_other_scalars_are_read_from_text() -> None:
    assert as_date("on 12 March 2024", with_time=False) == as_date("Mar. 12th, 2024", with_time=False) == "2024-03-12"
    assert as_date("2024-03-12 08:30", with_time=True) == "2024-03-12T08:30"
    assert as_date("soon", with_time=False) is None
    assert [as_flag(text) for text in ("https://schema.org/OutOfStock", "In stock (22)", "perhaps")] == [
        False, True, None
    ]  # fmt: skip
    assert as_one_of("https://schema.org/InStock", ["in_stock", "sold"]) == "in_stock"


def test_names_are_compared_by_what_they_mean() -> None:
    assert "datepublished" in meanings("publishedAt") and "price" in meanings("product_price")
    assert "isbn" in meanings("ISBN13") and "datepublished" in meanings("Date Published:")


def test_what_a_page_states_in_json_ld() -> None:
    product = {
        "@type": "Product", "name": "Lamp", "brand": {"@type": "Brand", "name": "Lux"},
        "offers": {"price": "1.299,00", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"},
        "aggregateRating": {"ratingValue": "4.5", "reviewCount": "12"},
    }  # fmt: skip
    publisher = {"@type": "Organization", "name": "Shop Ltd"}
    schema = shape(
        title=TEXT, price=NUMBER, currency=TEXT, inStock=FLAG, brand=TEXT, rating=NUMBER, reviewCount=WHOLE,
        offers=shape(price=NUMBER, availability={"enum": ["InStock", "OutOfStock"]}), colour=TEXT,
    )  # fmt: skip
    found = filled(LD.format(json.dumps([publisher, product])), schema)
    assert found.json is not None and json.loads(found.json) == {
        "title": "Lamp", "price": 1299, "currency": "EUR", "inStock": True, "brand": "Lux", "rating": 4.5,
        "reviewCount": 12, "offers": {"price": 1299, "availability": "InStock"},
    }  # fmt: skip
    assert found.missing == ("colour",) and found.warnings == ("json: not found in the page: colour",)


def test_what_a_page_marks_up() -> None:
    recipe = (
        '<div itemscope itemtype="https://schema.org/Recipe"><h1 itemprop=name>Soup</h1>'
        "<span itemprop=recipeIngredient>water</span><span itemprop=recipeIngredient>salt</span>"
        '<div itemprop=author itemscope itemtype="https://schema.org/Person"><b itemprop=name>Ada</b></div>'
        '<time itemprop=datePublished datetime="2024-01-02T10:00:00Z">once</time></div>'
    )
    ingredients = {"type": "array", "items": TEXT}
    schema = shape(
        title=TEXT, ingredients=ingredients, author=shape(name=TEXT), published={"type": "string", "format": "date"}
    )
    expected = {"title": "Soup", "ingredients": ["water", "salt"], "author": {"name": "Ada"}, "published": "2024-01-02"}
    assert value(recipe, schema) == expected
    rdfa = recipe.replace("itemscope itemtype=", "typeof=").replace("itemprop=", "property=")
    assert value(rdfa, schema) == expected


def test_what_a_page_shows_in_labels_tables_and_classes() -> None:
    page = (
        "<div><h1>A Light</h1><p class=price_color>£51.77</p><p class='instock availability'>In stock (22)</p></div>"
        "<table><tr><th>UPC</th><td>a897</td></tr><tr><th>Number of reviews</th><td>3</td></tr></table>"
        "<dl><dt>Telephone:</dt><dd>+41 1</dd></dl><p>Publisher: North Press</p>"
        "<h2>Ingredients</h2><ul><li>egg</li><li>milk</li></ul>"
    )
    schema = shape(
        price=NUMBER, availability=TEXT, upc=TEXT, number_of_reviews=WHOLE, phone=TEXT, publisher=TEXT,
        ingredients={"type": "array", "items": TEXT},
    )  # fmt: skip
    assert value(page, schema) == {
        "price": 51.77, "availability": "In stock (22)", "upc": "a897", "number_of_reviews": 3, "phone": "+41 1",
        "publisher": "North Press", "ingredients": ["egg", "milk"],
    }  # fmt: skip


def test_lists_of_things() -> None:
    cards = "".join(
        f'<li class=item><a href="/{name}">{name}</a><span class=price>{price}</span></li>'
        for name, price in (("Alpha", "$1"), ("Beta", "$2"), ("Gamma", ""))
    )
    price = {"anyOf": [NUMBER, {"type": "null"}]}
    items = {"type": "array", "items": shape(name=TEXT, price=price, url=ADDRESS)}
    assert value(f"<ul>{cards}</ul>", shape(items=items)) == {
        "items": [
            {"name": "Alpha", "price": 1, "url": "https://example.org/Alpha"},
            {"name": "Beta", "price": 2, "url": "https://example.org/Beta"},
            {"name": "Gamma", "price": None, "url": "https://example.org/Gamma"},
        ]
    }
    table = (
        "<table><thead><tr><th>Country</th><th>Population</th></tr></thead>"
        "<tr><td>CH</td><td>8,700,000</td></tr><tr><td>DE</td><td>83,000,000</td></tr></table>"
    )
    schema = shape(countries={"type": "array", "items": {"$ref": "#/$defs/Country"}})
    schema["$defs"] = {"Country": shape(country=TEXT, population=WHOLE)}
    assert value(table, schema)["countries"][1] == {"country": "DE", "population": 83_000_000}
    steps = {"itemListElement": [{"@type": "ListItem", "item": {"name": "One"}}, {"item": {"name": "Two"}}]}
    found = value(LD.format(json.dumps({"@type": "HowTo", "courses": steps})), shape(courses={
        "type": "array", "items": shape(name=TEXT)
    }))  # fmt: skip
    assert found == {"courses": [{"name": "One"}, {"name": "Two"}]}


def test_what_the_page_does_not_say_is_null_or_absent_and_told() -> None:
    schema = shape(price=NUMBER, size={"type": ["string", "null"]}, name=TEXT)
    found = filled("<p>words</p>", schema, name="A page")
    assert found.json == '{"size":null,"name":"A page"}' and found.missing == ("price", "size")
    nothing = filled("<p>words</p>", shape(price=NUMBER))
    assert nothing.json is None and "nothing of what the schema asks for" in nothing.warnings[0]


def test_what_does_not_match_the_schema_is_told() -> None:
    schema = {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[0-9]+$"}}}
    found = filled("<dl><dt>SKU</dt><dd>abc</dd></dl>", schema)
    assert found.json == '{"sku":"abc"}' and "/sku: 'abc' does not match" in found.warnings[0]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "no object"),
        ({"type": "object"}, "names no properties"),
        ({"type": 5, "properties": {}}, "no JSON Schema"),
        ({"properties": {"a": {"$ref": "https://example.org/x"}}}, "leads out of the schema"),
        ({"properties": {"a": {"enum": ["x" * 70_000]}}}, "longer than"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: Any, words: str) -> None:
    assert words in (schema_fault(schema) or "")


def test_a_schema_that_leads_in_a_circle_ends() -> None:
    schema = shape(node={"$ref": "#/properties/node"}, tree={"$ref": "#/$defs/T"})
    schema["$defs"] = {"T": shape(name=TEXT, child={"$ref": "#/$defs/T"})}
    assert schema_fault(schema) is None
    assert filled("<h1>x</h1>", schema, name="x").missing[0] == "node"
    assert faults_of(json.dumps(schema), {"node": 1})
    assert faults_of('{"properties":{"a":{"$ref":"#/nowhere"}}}', {"a": 1})


def test_real_pages_fill_what_they_are_known_to_say() -> None:
    if not GOLD.is_dir():
        pytest.skip("the gold pages (../shared) are not here")
    with gzip.open(GOLD / "gold.jsonl.gz", "rt") as lines:
        pages = [json.loads(line) for line in lines]
    schema = json.dumps(shape(title=TEXT, published={"type": "string", "format": "date"}))
    right = {"title": 0, "published": 0}
    asked = {"title": 0, "published": 0}
    for page in pages[::40]:
        body = gzip.decompress((GOLD / "html" / f"{page['id']}.html.gz").read_bytes())
        made = to_document(body, url=page["url"], content_type="text/html; charset=utf-8", wants=Wants(schema=schema))
        extract = made.extract if isinstance(made, Document) else None
        found = json.loads(extract.json) if extract is not None and extract.json else {}
        title, gold = (" ".join(re.findall(r"\w+", text.lower())) for text in (found.get("title", ""), page["title"]))
        if gold:
            asked["title"] += 1
            right["title"] += bool(title) and (title in gold or gold in title)
        if page["publish_date"]:
            asked["published"] += 1
            right["published"] += found.get("published") == page["publish_date"][:10]
    assert right["title"] >= 0.7 * asked["title"] and right["published"] >= 0.7 * asked["published"], (right, asked)
