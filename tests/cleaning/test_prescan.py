"""The linear look at the markup: what it counts, what it refuses, and that it stays linear."""

import time

import pytest

from cleaning.prescan import MAX_ATTRIBUTES, MAX_DEPTH, prescan


@pytest.mark.parametrize(
    ("html", "depth"),
    [
        ("", 0),
        ("plain text, 1 < 2", 0),
        ("<div><section><span>x</span></section></div><div></div>", 3),
        ("<p>a<p>b<p>c", 0),
        ("<br><img><hr>" * 3000, 0),
        ("<div>x</div>" * 3000, 1),
        ("<!-- <div><div><div> --><div>", 1),
        ("<script>if (a<b) { '<div><div>' }</script><div>", 1),
        ("<textarea><div><div></textarea><div>", 1),
        ("<title><b><b></title><div>", 1),
        ('<div title="<div><div>">', 1),
        ("<div title='>'><b>", 2),
        ("<div a=1/><div>", 2),
        ("<DIV></div><Div></DIV>", 1),
        ("<!doctype html><?pi <div>?><div>", 1),
        ("<svg><g/><g/><g a='1'/><g b /></svg>", 1),
        ("<svg><g a=1/><g/></svg>", 2),
        ("<plaintext><div><div>", 0),
        ("<div", 1),
        ('<div><b class="', 2),
    ],
)
def test_depth(html: str, depth: int) -> None:
    assert prescan(html).depth == depth


def test_an_end_tag_that_matches_nothing_does_not_hide_depth() -> None:
    assert prescan("<div></x>" * 3000).too_deep
    assert prescan("<div></b></span></td></p>" * 3000).too_deep


def test_an_end_tag_out_of_scope_does_not_hide_depth() -> None:
    assert prescan("<div><table><tr><td></div>" * 3000).too_deep
    assert prescan("<span><div></span>" * 3000).too_deep
    assert prescan("<b><div></b>" * 3000).too_deep


def test_an_attribute_name_cannot_swallow_markup() -> None:
    assert prescan('<a ="><div>' * 3000).too_deep
    assert prescan('<a "><div>' * 3000).too_deep


def test_svg_titles_are_markup_not_raw_text() -> None:
    assert prescan("<svg><title>" + "<g>" * 3000).too_deep


def test_the_limits_are_exact() -> None:
    assert not prescan("<div>" * MAX_DEPTH).too_deep
    assert prescan("<div>" * (MAX_DEPTH + 1)).too_deep
    names = " ".join(f"a{i}=1" for i in range(MAX_ATTRIBUTES))
    assert not prescan(f"<p {names}>").too_many_attributes
    assert prescan(f"<p {names} last>").too_many_attributes
    assert prescan("<p " + "a " * 80_000 + ">").too_many_attributes
    assert not prescan(f"<p title='{'a=b ' * 5000}'>").too_many_attributes


@pytest.mark.parametrize(
    "piece",
    ["<", "<a", "<!--", "<!-", '<a "', '<a b="', "<a b='", "<a b= ", "</div>", "<li>x", "<p ", "<script>", "= ", "<a/b ",
     "</", "<!", "<?", "--!", "<b></b>", "<table></div>", "<svg></svg>", "&amp;"],
)  # fmt: skip
def test_time_is_linear(piece: str) -> None:
    def seconds(repeats: int) -> float:
        html = piece * repeats
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            prescan(html)
            best = min(best, time.process_time() - started)
        return best

    small, large = seconds(12_500), seconds(100_000)
    # Eight times the text: quadratic would take 64 times as long.
    assert large < 24 * small + 0.02
