"""What is derived of a page besides its main content: html, markdown of a scope, images, attributes, changes."""

import random
import subprocess
from pathlib import Path

import pytest

from cleaning.adapters.worker_pool import WorkerPool
from cleaning.differences import MAX_EDITS, difference_of
from cleaning.document import AttributeValues, Change, Document, Dropped, Extract
from cleaning.images import candidates
from cleaning.pipeline import to_document
from cleaning.selectors import selector_fault
from cleaning.wants import AttributeWant, Earlier, Tracking, Wants

URL = "https://example.org/d/p"
PAGE = """<html><head><link rel="icon" href="/f.ico"><meta property="og:image" content="/og.png"></head>
<body><header>Site</header><nav><a href=/a>nav</a></nav><main><article><header><h1>A *title*</h1></header>
<p onclick="x()" style="color:red">Hello <b>bold</b> and <a href="../x y">a <i>link</i></a>.<br>next</p>
<img src="data:image/png;base64,AAAA" alt="dot"> tail <img src=pic.jpg srcset="a.jpg 1x, b.jpg 2x" alt="pic">
<ul><li>one<ul><li>two</li></ul></li><li><p>three</p><p>four</p></li></ul><ol start=3><li>x</li></ol>
<table><tr><th>A</th><th>B|c</th></tr><tr><td>1</td><td>two<br>lines</td></tr></table><pre>code
 x</pre><blockquote><p>quoted</p></blockquote><script>alert(1)</script><a href="javascript:alert(1)">bad</a>
<iframe srcdoc="<script>"></iframe><div style="background:url('bg.png')">- no list</div>
<a href="/card"><div>card</div><p>text</p></a></article></main><footer>foot</footer></body></html>"""


def extract(wants: Wants, page: str = PAGE, content_type: str = "text/html") -> Extract:
    made = to_document(page.encode(), url=URL, content_type=content_type, wants=wants)
    assert isinstance(made, Document) and made.extract is not None
    return made.extract


def test_html_has_no_scripts_and_only_absolute_addresses() -> None:
    html = extract(Wants(html=True)).html or ""
    assert html.startswith("<main><article><header><h1>A *title*</h1></header>")
    for gone in ("script", "onclick", "style=", "javascript", "srcdoc", "AAAA", "nav", "foot", "Site"):
        assert gone not in html
    for kept in ('href="https://example.org/x%20y"', 'src="https://example.org/d/pic.jpg"', "<table>", 'alt="dot"'):
        assert kept in html
    assert "https://example.org/d/a.jpg, https://example.org/d/b.jpg" in html
    whole = extract(Wants(html=True, whole_page=True, keep_inline_images=True)).html or ""
    assert "<nav>" in whole and "foot" in whole and "base64,AAAA" in whole and "script" not in whole


def test_markdown_of_the_whole_page_keeps_its_structure() -> None:
    assert extract(Wants(whole_page=True)).markdown == "\n\n".join(
        [
            "Site",
            "[nav](https://example.org/a)",
            "# A \\*title\\*",
            "Hello **bold** and [a *link*](https://example.org/x%20y).\\\nnext",
            "![dot](<Base64-Image-Removed>) tail ![pic](https://example.org/d/pic.jpg)",
            "- one\n  - two\n- three\n\n  four",
            "3. x",
            "| A | B\\|c |\n| --- | --- |\n| 1 | two lines |",
            "```\ncode\n x\n```",
            "> quoted",
            "bad",
            "\\- no list",
            "[card text](https://example.org/card)",
            "foot",
        ]
    )


def test_a_scope_is_what_is_included_without_what_is_excluded() -> None:
    assert extract(Wants(include=("li", "h1"), exclude=("p",))).markdown == "# A \\*title\\*\n\none\n\n- two\n\nx"
    found = extract(Wants(include=("ul", "nav"), links=True, images=True))
    assert (found.links, found.images) == (("https://example.org/a",), ())
    assert extract(Wants(include=("video",))).markdown == ""
    without = extract(Wants(exclude=("article", "nav"), links=True, images=True))
    assert without.links == () and without.images == ("https://example.org/f.ico", "https://example.org/og.png")


def test_images_stand_in_page_order_each_once() -> None:
    assert extract(Wants(images=True)).images == tuple(
        f"https://example.org/{path}" for path in ("f.ico", "og.png", "d/pic.jpg", "d/a.jpg", "d/b.jpg", "d/bg.png")
    )
    assert "data:image/png;base64,AAAA" in (extract(Wants(images=True, keep_inline_images=True)).images or ())
    assert candidates("a.jpg 1x, b.jpg 2x,c.jpg , d.jpg") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_attributes_are_those_of_the_page_as_it_was_sent() -> None:
    wants = (AttributeWant("main a[href]", "href"), AttributeWant("nothing", "id"))
    assert extract(Wants(attributes=wants)).attributes == (
        AttributeValues("main a[href]", "href", ("../x y", "javascript:alert(1)", "/card")),
        AttributeValues("nothing", "id", ()),
    )


@pytest.mark.parametrize("selector", ["", "a[", "p:nth-of(x)", "*ad*", "a" * 600, "p::before", "a\0b"])
def test_selectors_that_cannot_be_used_are_told(selector: str) -> None:
    assert selector_fault(selector)


def test_selectors_are_css_or_tag_names() -> None:
    assert all(selector_fault(selector) is None for selector in ("main", "#a > .b:first-child", "p, h1", "[data-x]"))


def test_plain_text_has_forms_too() -> None:
    text = "some words <b>here</b>"
    found = extract(Wants(html=True, images=True, whole_page=True), text, "text/plain")
    assert found.html == "<pre>some words &lt;b&gt;here&lt;/b&gt;</pre>"
    assert found.markdown == text and found.images == ()


def test_the_document_is_the_same_whatever_else_is_wanted() -> None:
    page = PAGE.replace("quoted", "quoted " * 60)
    bare = to_document(page.encode(), url=URL, content_type="text/html")
    dressed = to_document(
        page.encode(), url=URL, content_type="text/html", wants=Wants(html=True, include=("h1",), images=True)
    )
    assert isinstance(bare, Document) and isinstance(dressed, Document)
    assert (bare.text, bare.markdown, bare.links) == (dressed.text, dressed.markdown, dressed.links)
    assert bare.extract is None


def test_a_difference_is_a_patch(tmp_path: Path) -> None:
    lines = random.Random(5)
    for number in range(40):
        old = [lines.choice("abcdef") for _ in range(lines.randint(0, 30))]
        new = [lines.choice((line, line, line, "x")) for line in old if lines.random() > 0.1] + ["y"] * (number % 3)
        before, after = ("".join(f"{line}\n" for line in side) for side in (old, new))
        found = difference_of(before, after)
        if found is None:
            assert old == new
            continue
        (tmp_path / "f").write_text(before)
        patch = f"--- f\n+++ f\n{found.text}\n"
        subprocess.run(["patch", "-s", "f"], input=patch, text=True, cwd=tmp_path, check=True)
        assert (tmp_path / "f").read_text() == after
        assert found.additions - found.deletions == len(new) - len(old)


def test_texts_that_have_little_in_common_are_told_as_one_block() -> None:
    old, new = ("\n".join(f"{side}{number}" for number in range(MAX_EDITS)) for side in "ab")
    found = difference_of(f"same\n{old}\nend", f"same\n{new}\nend")
    assert found is not None and (found.additions, found.deletions, len(found.chunks)) == (MAX_EDITS, MAX_EDITS, 1)


def test_what_became_of_a_page() -> None:
    def change(tracking: Tracking) -> Change | None:
        return extract(Wants(tracking=tracking), "<p>" + "some words " * 30).change

    words = ("some words " * 30).strip()
    assert change(Tracking()) == Change("new")
    assert change(Tracking(is_gone=True)) == Change("removed")
    assert change(Tracking(earlier=Earlier("t", markdown=words.replace(" ", "\n ")))) == Change("same", "t")
    assert change(Tracking(earlier=Earlier("t", is_same_body=True))) == Change("same", "t", is_lost=True)
    changed = change(Tracking(earlier=Earlier("t", markdown="other words"), diff=True))
    assert changed is not None and changed.status == "changed" and changed.difference is not None


async def test_wants_go_to_the_worker_and_come_back() -> None:
    async with WorkerPool(1) as pool:
        schema = '{"properties":{"title":{"type":"string"}}}'
        wants = Wants(html=True, schema=schema, attributes=(AttributeWant("a", "href"),))
        made = await pool.clean(PAGE.encode(), url=URL, content_type="text/html", wants=wants)
        assert made == to_document(PAGE.encode(), url=URL, content_type="text/html", wants=wants)
        assert isinstance(made, Document) and made.extract is not None and made.extract.json == '{"title":"A *title*"}'


async def test_a_pattern_that_never_ends_costs_the_page_and_not_the_worker() -> None:
    schema = '{"properties":{"title":{"type":"string","pattern":"^(a+)+$"}}}'
    page = f"<h1>{'a' * 60}!</h1><p>some words</p>".encode()
    async with WorkerPool(1, page_timeout_ms=1_000) as pool:
        made = await pool.clean(page, url=URL, content_type="text/html", wants=Wants(schema=schema))
        assert isinstance(made, Dropped) and made.reason == "timeout"
        assert isinstance(await pool.clean(page, url=URL, content_type="text/html"), Document)
