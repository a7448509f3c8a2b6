"""Links, tables, structured data, metadata, language, kind of page, markdown: each step on its own."""

import json

import pytest
from lxml.html import HtmlElement

from cleaning.document import Link, Table
from cleaning.language import declared_language, detect_language, primary_subtag
from cleaning.links import MAX_LINKS, extract_links, resolve
from cleaning.markdown import render_reduced_html
from cleaning.metadata import extract_metadata_of, iso_date
from cleaning.page_type import classify
from cleaning.structured_data import ReadStructuredData, extract_structured_data, types_of
from cleaning.tables import MAX_CELLS, extract_tables
from cleaning.tree import base_url, parse_html

URL = "https://example.org/shop/page.html?q=1"


def parse(html: str) -> HtmlElement:
    root = parse_html(html)
    assert root is not None
    return root


def links(html: str) -> tuple[Link, ...]:
    root = parse(html)
    return extract_links(root, base_url(root, URL))


def stated(*objects: object, meta: str = "") -> ReadStructuredData:
    scripts = "".join(f'<script type="application/ld+json">{json.dumps(o)}</script>' for o in objects)
    return extract_structured_data(parse(f"<html><head>{meta}{scripts}</head><body>x</body></html>"))


class TestLinks:
    def test_are_absolute_and_normalised(self) -> None:
        assert [
            link.url
            for link in links("<a href='../a/./b'>1</a><a href='//EXAMPLE.com:443/x y'>2</a><a href='?z'>3</a>")
        ] == [
            "https://example.org/a/b",
            "https://example.com/x%20y",
            "https://example.org/shop/page.html?z",
        ]

    def test_start_from_the_base_element(self) -> None:
        assert links("<base href='/docs/v2/'><a href=intro>i</a>") == (Link("https://example.org/docs/v2/intro", "i"),)
        assert links("<base href='http://['><a href=i>i</a>") == (Link("https://example.org/shop/i", "i"),)

    @pytest.mark.parametrize(
        "href",
        ["javascript:alert(1)", "mailto:a@b.c", "data:text/html,x", "#top", " #top", "", "http://[", "ftp://a.b/c",
         "https://user:pass@example.org/", "tel:+1", "http://" + "a" * 3000 + ".org/", "java\nscript:x"],
    )  # fmt: skip
    def test_leave_out_what_is_not_a_plain_web_address(self, href: str) -> None:
        assert links(f'<a href="{href}">x</a>') == ()

    def test_carry_text_and_rel_and_stand_once(self) -> None:
        html = "<a href=/x rel='NoFollow  ugc'>  one \n<b>two</b><script>no</script></a>" * 3
        assert links(html) == (Link("https://example.org/x", "one two", "nofollow ugc"),)
        assert links("<map><area href=/m alt='the  map'></map>") == (Link("https://example.org/m", "the map"),)

    def test_international_hosts_become_ascii(self) -> None:
        assert resolve("https://bücher.example/straße", URL) == "https://xn--bcher-kva.example/stra%C3%9Fe"

    def test_are_bounded(self) -> None:
        assert len(links("".join(f"<a href=/{i}>x</a>" for i in range(MAX_LINKS + 50)))) == MAX_LINKS


class TestTables:
    def test_caption_header_and_rows(self) -> None:
        html = """<table><caption> Heights </caption><thead><tr><th>Peak<th>m</thead>
                  <tbody><tr><td>Ararat <td>5137<tr><td>Շխարա<td>5193</table>"""
        assert extract_tables(parse(html)) == (
            Table("Heights", ("Peak", "m"), (("Ararat", "5137"), ("Շխարա", "5193"))),
        )

    def test_a_first_row_of_headings_is_the_header(self) -> None:
        html = "<table><tr><th>a</th><th>b</th></tr><tr><th>row</th><td>1</td></tr></table>"
        assert extract_tables(parse(html)) == (Table("", ("a", "b"), (("row", "1"),)),)

    def test_spans_are_expanded(self) -> None:
        html = """<table><tr><td rowspan=2>A</td><td colspan=2>B</td></tr><tr><td>c</td><td>d</td></tr>
                  <tr><td>e</td></tr></table>"""
        assert extract_tables(parse(html))[0].rows == (("A", "B", "B"), ("A", "c", "d"), ("e", "", ""))

    def test_a_nested_table_is_its_own_and_its_frame_is_layout(self) -> None:
        html = """<table><tr><td>frame <table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table></td></tr>
                  </table>"""
        assert extract_tables(parse(html)) == (Table("", (), (("1", "2"), ("3", "4"))),)

    def test_a_nested_table_inside_a_data_table_is_not_repeated(self) -> None:
        inner = "<table><tr><td>x</td><td>y</td></tr><tr><td>z</td><td>w</td></tr></table>"
        html = f"<table><tr><td>a</td><td>b {inner}</td></tr><tr><td>c</td><td>d</td></tr></table>"
        assert [table.rows for table in extract_tables(parse(html))] == [
            (("a", "b"), ("c", "d")),
            (("x", "y"), ("z", "w")),
        ]

    @pytest.mark.parametrize(
        "html",
        ["<table role=presentation><tr><td>1<td>2<tr><td>3<td>4</table>", "<table><tr><td>1<tr><td>2</table>",
         "<table><tr><td>1<td>2</table>", "<table></table>", "<table><tr><td><td><tr><td><td></table>"],
    )  # fmt: skip
    def test_layout_is_left_out(self, html: str) -> None:
        assert extract_tables(parse(html)) == ()

    def test_span_attacks_are_bounded(self) -> None:
        html = "<table>" + "<tr><td colspan=1000 rowspan=65534>x<td>y" * 3000 + "</table>"
        assert sum(len(row) for table in extract_tables(parse(html)) for row in table.rows) <= MAX_CELLS
        assert extract_tables(parse("<table><tr><td colspan=-1>a<td colspan=x>b<tr><td rowspan=0>c<td>d</table>"))


class TestStructuredData:
    def test_lists_graphs_and_nested_entities_are_visited(self) -> None:
        read = stated(
            [{"@type": "WebSite"}, {"@type": ["NewsArticle", "Article"]}],
            {
                "@graph": [
                    {"@type": "http://schema.org/Person"},
                    {"@type": "WebPage", "mainEntity": {"@type": "Question"}},
                ]
            },
        )
        names = [types_of(node) for node in read.nodes()]
        assert names == [("WebSite",), ("NewsArticle", "Article"), (), ("Person",), ("WebPage",), ("Question",)]

    @pytest.mark.parametrize(
        "source",
        ['{"a": "x\ny"}', '<!-- {"a": "x\\ny"} -->', '//<![CDATA[\n{"a":"x\\ny"}\n//]]>', '{"a":"x\\ny"};'],
    )
    def test_scripts_are_read_as_publishers_write_them(self, source: str) -> None:
        read = extract_structured_data(parse(f'<script type="application/ld+json">{source}</script><p>x'))
        assert [json.loads(text) for text in read.data.json_ld] == [{"a": "x\ny"}]

    @pytest.mark.parametrize("source", ["", "{", "null", "[]", '"text"', '{"a": 1,}', "[" * 100_000, '{"a":"\\ud800"}'])
    def test_what_is_no_json_is_left_out(self, source: str) -> None:
        read = extract_structured_data(parse(f'<script type="application/ld+json">{source}</script><p>x'))
        assert read.data.json_ld == ()

    def test_open_graph_keeps_repeats_in_order(self) -> None:
        meta = "".join(f'<meta property="og:image" content="{i}">' for i in range(3)) + "<meta name=viewport content=x>"
        assert stated(meta=meta).data.open_graph == (("og:image", "0"), ("og:image", "1"), ("og:image", "2"))


class TestMetadata:
    def test_json_ld_comes_first(self) -> None:
        html = """<html><head><title>Other | Site</title><meta name=author content="Meta Author">
            <meta property="article:published_time" content="2020-01-01"></head><body><p>By Somebody Else</p></body></html>"""
        read = stated(
            {"@graph": [{"@type": "Article", "headline": "Stated", "datePublished": "2023-04-05T23:00:00+09:00",
                         "author": [{"@type": "Person", "name": "Ana Ruiz"}, {"name": "李 明"}]}]}
        )  # fmt: skip
        found = extract_metadata_of(parse(html), URL, "article", read)
        assert (found.title, found.author, found.published) == ("Stated", "Ana Ruiz, 李 明", "2023-04-05")

    def test_markup_fills_in(self) -> None:
        html = """<html><head><title>The long way home - The Herald</title></head><body><article>
            <h1>The long way home</h1><p class="byline">By <a rel="author" href="/a">Jane Doe</a></p>
            <time datetime="2021-11-09T08:00">Nov 9</time><p>Text of it.</p></article></body></html>"""
        found = extract_metadata_of(parse(html), URL, "article", stated())
        assert (found.title, found.author, found.published) == ("The long way home", "Jane Doe", "2021-11-09")

    def test_a_product_takes_no_date_from_its_footer(self) -> None:
        html = "<html><head><title>Mug</title></head><body><h1>Mug</h1><footer>© 2019-05-05</footer></body></html>"
        assert extract_metadata_of(parse(html), URL, "product", stated()).published is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("2024-02-29", "2024-02-29"), ("2023-02-29", None), ("2024-1-1", None), ("0001-01-01", None), ("soon", None),
         (" 1999-12-31T00:00Z", "1999-12-31")],
    )  # fmt: skip
    def test_dates(self, text: str, expected: str | None) -> None:
        assert iso_date(text) == expected


class TestLanguage:
    @pytest.mark.parametrize(
        ("language", "text"),
        [
            ("de", "Am Wochenende fuhren wir mit dem Zug in die Berge und wanderten den ganzen Tag durch den Wald."),
            ("ru", "В воскресенье мы поехали на дачу и целый день собирали яблоки в старом саду за домом."),
            ("ar", "ذهبنا في عطلة نهاية الأسبوع إلى الجبل وقضينا اليوم كله نمشي بين الأشجار القديمة مع الأصدقاء."),
            ("hi", "सप्ताह के अंत में हम पहाड़ों पर गए और पूरे दिन पुराने जंगल में दोस्तों के साथ घूमते रहे।"),
            ("th", "ในวันหยุดสุดสัปดาห์เราเดินทางไปภูเขาและใช้เวลาทั้งวันเดินเล่นในป่าเก่ากับเพื่อน"),
            ("ja", "週末には電車で山へ行き、友達と一緒に古い森の中を一日中歩きました。とても楽しかったです。"),
            ("zh", "周末我们坐火车去山里，和朋友们一起在古老的森林里走了一整天，大家都很开心。"),
            ("el", "Το Σαββατοκύριακο πήγαμε στο βουνό και περπατήσαμε όλη μέρα στο παλιό δάσος με φίλους."),
        ],
    )
    def test_the_text_decides_over_a_template(self, language: str, text: str) -> None:
        assert detect_language(text * 3, parse("<html lang=en><body>x")) == language

    def test_short_text_leaves_it_to_the_declaration(self) -> None:
        assert detect_language("OK", parse("<html lang='pt-BR'><body>x")) == "pt"
        assert detect_language("OK", parse("<html><body>x")) is None

    def test_declarations(self) -> None:
        assert declared_language(parse("<meta property='og:locale' content='sv_SE'><p>x")) == "sv"
        assert declared_language(parse("<html lang='und'><meta http-equiv=Content-Language content=fi><p>x")) == "fi"
        assert [primary_subtag(tag) for tag in ("EN-us", "zh_Hant", "x-klingon", "", "english", "mul")] == [
            "en", "zh", None, None, None, None,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "url", "objects", "body"),
    [
        ("forum", "https://forum.example.org/viewtopic.php?t=12345", [], ""),
        ("forum", "https://example.org/x", [{"@type": "DiscussionForumPosting"}], ""),
        ("documentation", "https://docs.example.org/api/reference/", [], "<pre>x</pre>" * 5),
        ("product", "https://example.org/products/red-mug", [{"@type": "Product", "name": "Mug"}], ""),
        ("collection", "https://example.org/collections/mugs", [{"@type": "Product"}] * 12, ""),
        (
            "article",
            "https://example.org/2023/05/04/how-the-river-was-saved",
            [{"@type": "NewsArticle"}],
            "<p>" + "word " * 400,
        ),
        ("listing", "https://example.org/tag/rivers", [], "<article>x</article>" * 12),
        ("service", "https://example.org/services/roofing", [{"@type": "LocalBusiness"}], ""),
        ("other", "https://example.org/x", [], ""),
    ],
)
def test_the_kind_of_page(kind: str, url: str, objects: list[object], body: str) -> None:
    assert classify(parse(f"<html><body>{body or 'x'}</body></html>"), url, stated(*objects)) == kind


class TestMarkdown:
    def test_blocks_lists_and_links(self) -> None:
        html = """<h2>A <a href="b">link</a></h2><p>One<br>two</p><ul><li>x<ol><li>y</li><li>z</li></ol></li></ul>
                  <pre>a ``` b\n  c</pre><p><a href="javascript:x">no</a></p>loose text"""
        assert render_reduced_html(html, "https://example.org/a/") == (
            "## A [link](https://example.org/a/b)\n\nOne  \ntwo\n\n- x\n    1. y\n    2. z\n\n"
            "````\na ``` b\n  c\n````\n\nno\n\nloose text"
        )

    def test_text_is_not_markup(self) -> None:
        rendered = render_reduced_html(
            "<p># no 1. heading</p><p>1. no list</p><p>*a* [b](c) &lt;i&gt; snake_case _x_</p>", URL
        )
        assert rendered == "\\# no 1. heading\n\n1\\. no list\n\n\\*a\\* \\[b\\](c) \\<i> snake_case \\_x\\_"
