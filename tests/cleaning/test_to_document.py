"""A page from bytes to document: hostile, broken, foreign and plain ones."""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cleaning
from cleaning import Document, Dropped, to_document
from cleaning.document import DROP_REASONS, PAGE_TYPES

URL = "https://example.org/news/2024/05/06/the-river-and-the-town"

PARAGRAPHS = [
    "The river rose in the night, and by the morning the lower town stood under half a metre of water.",
    "Volunteers carried furniture to the upper floors while the fire brigade closed the bridge to traffic.",
    "The mayor said on Sunday that the new wall, planned for eleven years, would now be built within two.",
    "Nobody was hurt. The school stays closed until Thursday, and the market moves to the station square.",
]


def article(paragraphs: list[str] = PARAGRAPHS, head: str = "", extra: str = "") -> bytes:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>The river and the town | Herald</title>{head}</head>"
        f"<body><nav><a href=/>Home</a> <a href=/sport>Sport</a></nav>"
        f"<main><article><h1>The river and the town</h1>{body}{extra}</article></main>"
        f"<footer>© Herald, all rights reserved, cookie settings</footer></body></html>"
    ).encode()


def document(body: bytes, content_type: str | None = "text/html; charset=utf-8", url: str = URL) -> Document:
    result = to_document(body, url=url, content_type=content_type)
    assert isinstance(result, Document), result
    return result


def dropped(body: bytes, content_type: str | None = "text/html", url: str = URL) -> str:
    result = to_document(body, url=url, content_type=content_type)
    assert isinstance(result, Dropped)
    assert result.url == url
    return result.reason


def test_an_article_with_everything() -> None:
    head = (
        '<meta property="og:type" content="article"><script type="application/ld+json">'
        + json.dumps(
            [{"@type": "NewsArticle", "headline": "x", "datePublished": "2024-05-06", "author": {"name": "Ida Holm"}}]
        )
        + "</script>"
    )
    table = "<table><tr><th>Day<th>Level<tr><td>Saturday<td>3.1 m<tr><td>Sunday<td>4.7 m</table>"
    found = document(article(head=head, extra=f'<p>More in <a href="../07/after">the next report</a>.</p>{table}'))
    assert found.title == "The river and the town"
    assert (found.author, found.published, found.language, found.page_type) == (
        "Ida Holm",
        "2024-05-06",
        "en",
        "article",
    )
    for paragraph in PARAGRAPHS:
        assert paragraph in found.text
        assert paragraph in found.markdown
    assert "cookie settings" not in found.text
    assert "[the next report](https://example.org/news/2024/05/07/after)" in found.markdown
    assert found.tables[0].rows == (("Saturday", "3.1 m"), ("Sunday", "4.7 m"))
    assert {link.url for link in found.links} >= {"https://example.org/", "https://example.org/news/2024/05/07/after"}
    assert json.loads(found.structured_data.json_ld[0])[0]["author"] == {"name": "Ida Holm"}
    assert found.structured_data.open_graph == (("og:type", "article"),)


@pytest.mark.parametrize(
    ("language", "codec", "label", "text"),
    [
        (
            "ru",
            "cp1251",
            "windows-1251",
            "Ночью вода в реке поднялась, и к утру нижний город стоял под водой по колено. ",
        ),
        (
            "ja",
            "shift_jis",
            "shift_jis",
            "夜のうちに川の水位が上がり、朝には下町が五十センチほど水に浸かっていました。",
        ),
        ("zh", "gb18030", "gb2312", "夜里河水上涨，到了早上，下城区已经被半米深的水淹没，消防队封闭了桥梁。"),
        ("ko", "cp949", "euc-kr", "밤사이 강물이 불어나 아침에는 아랫마을이 반 미터 깊이의 물에 잠겨 있었습니다. "),
        (
            "el",
            "iso8859_7",
            "iso-8859-7",
            "Το ποτάμι ανέβηκε τη νύχτα και το πρωί η κάτω πόλη ήταν μισό μέτρο κάτω από το νερό. ",
        ),
        ("ar", "utf-8", "utf-8", "ارتفع منسوب النهر في الليل، وفي الصباح كانت المدينة السفلى تحت نصف متر من الماء. "),
        ("he", "utf-8", "utf-8", "הנהר עלה בלילה, ובבוקר עמדה העיר התחתית מתחת לחצי מטר של מים וגשר הרחוב נסגר. "),
        ("th", "utf-8", "utf-8", "แม่น้ำสูงขึ้นในตอนกลางคืน และในตอนเช้าเมืองด้านล่างจมอยู่ใต้น้ำลึกครึ่งเมตร "),
    ],
)
def test_other_scripts_and_charsets(language: str, codec: str, label: str, text: str) -> None:
    html = f"<html><head><meta charset={label}><title>t</title></head><body><article>{f'<p>{text * 3}</p>' * 4}</article></body></html>"
    found = document(html.encode(codec), content_type="text/html")
    assert text.strip() in found.text
    assert found.language == language


def test_broken_markup_keeps_its_text() -> None:
    html = (
        "<html><body><div class=a><p>" + PARAGRAPHS[0] + "<div><b><i>" + PARAGRAPHS[1] + "</b></div></p></i><table><p>"
        "<tr>" + PARAGRAPHS[2] + "<td></span></body></html><p>" + PARAGRAPHS[3] + "<a href='unclosed>"
    )
    found = document(html.encode())
    for paragraph in PARAGRAPHS[:3]:
        assert paragraph in found.text


def test_a_page_nested_deeper_than_libxml2_reads_keeps_its_text() -> None:
    html = (
        "<html><body>" + "<div>" * 600 + "".join(f"<p>{p}</p>" for p in PARAGRAPHS) + "</div>" * 600 + "</body></html>"
    )
    found = document(html.encode())
    assert all(paragraph in found.text for paragraph in PARAGRAPHS)


def test_a_short_page_keeps_its_sentences_whole() -> None:
    found = document(
        b"<html><body><h1>Moved</h1><p>We are now at <a href='/new'>our new place</a>, see you there.</p></body>"
    )
    assert "We are now at our new place, see you there." in found.text


def test_a_plain_text_body_is_a_document() -> None:
    found = document(
        "Première ligne\r\n\r\n\r\n\r\n    indented <b>not markup</b>\r\n".encode(), content_type="text/plain"
    )
    assert found.text == "Première ligne\n\n    indented <b>not markup</b>"
    assert (found.title, found.links) == (None, ())


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", "text/html", "empty_body"),
        (b" \r\n\t\x00 ", "text/html", "empty_body"),
        (b"\xef\xbb\xbf", "text/html", "empty_body"),
        (b'{"a": 1}', "application/json", "not_html"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "text/html", "not_html"),
        (b"%PDF-1.4 ...", None, "not_html"),
        (gzip.compress(article(), mtime=0), "text/html", "not_html"),
        (random.Random(7).randbytes(50_000), "text/html", "not_html"),
        (b"<div>" * 100_000, "text/html", "too_deep"),
        (b"<p " + b"a='1' " * 80_000 + b">x", "text/html", "too_many_attributes"),
        (b"<html><body><script>var x = 1</script></body></html>", "text/html", "no_text"),
        (b"<html><head><title>t</title></head><body><nav>a b</nav></body></html>", "text/html", "no_text"),
        (b"\n--- ***\n", "text/plain", "no_text"),
        (b"x" * (20 * 1024 * 1024 + 1), "text/html", "too_large"),
    ],
)
def test_drops(body: bytes, content_type: str | None, reason: str) -> None:
    assert dropped(body, content_type) == reason
    assert reason in DROP_REASONS


def test_a_3_mb_page() -> None:
    found = document(article(PARAGRAPHS * 8000))
    assert found.text.count(PARAGRAPHS[0]) > 7900


@pytest.mark.parametrize(
    "url", ["not a url", "", "http://[", "https://ex ample/", "javascript:x", "https://例え.jp/道?q=空"]
)
def test_any_address_string_is_carried_through(url: str) -> None:
    assert document(article(), url=url).url == url


def test_the_same_page_gives_the_same_document() -> None:
    pages = [article(), article(PARAGRAPHS[:2]), article(extra="<ul><li>a<li>b</ul>")]
    assert [document(page) for page in pages] == [document(page) for page in reversed(pages)][::-1]


def test_a_document_survives_encoding() -> None:
    found = document(article(extra="<p>&#xD800; &#0; &#x1F600; a\u2028b</p>"))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Document) == found


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = "import sys, cleaning; print([m for m in ('lxml', 'trafilatura', 'resiliparse', 'pyarrow', 'msgspec') if m in sys.modules])"
    root = Path(cleaning.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_no_socket_is_opened_and_no_file_is_written() -> None:
    code = (
        "import sys\n"
        "from cleaning import to_document\n"
        "def watch(event, arguments):\n"
        "    writes = event == 'open' and isinstance(arguments[1], str) and set(arguments[1]) & set('wax+')\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.exec')) or writes:\n"
        "        print(event, arguments)\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(watch)\n"
        "page = sys.stdin.buffer.read()\n"
        "print(to_document(page, url='https://example.org/a', content_type='text/html').language)\n"
    )
    root = Path(cleaning.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], input=article(), capture_output=True, cwd=root, check=True)
    assert done.stdout.decode().split() == ["en"]


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(cleaning, "no_such_name")  # noqa: B009  # the attribute access is what is tested


_TOKENS = st.sampled_from(
    ["<div>", "</div>", "<p>", "<table>", "<tr>", "<td rowspan=9>", "</table>", "<a href=", "'", '"', ">", "<", "&#x", ";",
     "<script type=application/ld+json>", "{", '"@graph":', "[", "]", "}", "</script>", "<svg>", "<title>", "<base href=//x>",
     "<meta property=og:title content=", "<h1>", "<li>", "<ul>", "<pre>", "<!--", "-->", "<![CDATA[", "<template>", "<form>",
     "<select>", "<frameset>", "<math>", "<plaintext>", "word ", "слово ", "字", "\u202e", "\x00", "\ud7ff", "😀", "<time datetime="]
)  # fmt: skip


def _is_whole(result: Document | Dropped) -> None:
    if isinstance(result, Dropped):
        assert result.reason in DROP_REASONS
        return
    assert result.page_type in PAGE_TYPES
    assert any(character.isalnum() or character == "_" for character in result.text)
    msgspec.json.encode(result)
    assert all(link.url.startswith(("http://", "https://")) for link in result.links)
    assert all(len(row) == len(table.rows[0]) for table in result.tables for row in table.rows)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.binary(max_size=3000),
    content_type=st.sampled_from([None, "text/html", "text/plain", "text/html; charset=gb2312", "x"]),
)
def test_any_bytes_give_a_document_or_a_reason(body: bytes, content_type: str | None) -> None:
    _is_whole(to_document(body, url=URL, content_type=content_type))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tokens=st.lists(_TOKENS, max_size=80))
def test_any_markup_gives_a_document_or_a_reason(tokens: list[str]) -> None:
    _is_whole(to_document("".join(tokens).encode("utf-8"), url=URL, content_type="text/html; charset=utf-8"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 30), st.binary(max_size=8)), max_size=12))
def test_a_damaged_page_gives_a_document_or_a_reason(cuts: list[tuple[int, int, bytes]]) -> None:
    body = article(extra="<table><tr><td>1<td>2<tr><td>3<td>4</table>")
    for place, length, noise in cuts:
        body = body[:place] + noise + body[place + length :]
    _is_whole(to_document(body, url=URL, content_type="text/html"))
