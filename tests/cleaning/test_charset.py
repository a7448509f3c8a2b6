"""Which encoding a body is read in, and which bodies are no text at all."""

import codecs

import pytest

from cleaning.charset import Decoded, Undecodable, body_kind, decode

GERMAN = "Die Größe der Übung überraschte viele Bürger, schrieb die Zeitung."
RUSSIAN = "Каждый вечер на площади собирались люди и слушали музыку до ночи."
JAPANESE = "毎朝、駅前の小さな店でコーヒーを飲みながら新聞を読むのが習慣です。"
CHINESE = "城市的地铁在早上非常拥挤，人们常常要等待两三趟列车才能上车。"
KOREAN = "도서관은 매일 아침 아홉 시에 문을 열고 저녁 여덟 시에 닫습니다."
GREEK = "Το πλοίο έφτασε στο λιμάνι λίγο πριν από τα μεσάνυχτα της Κυριακής."


def page(text: str, head: str = "") -> str:
    return f"<!doctype html><html><head>{head}</head><body><p>{text}</p></body></html>"


def text_of(body: bytes, content_type: str | None) -> str:
    decoded = decode(body, content_type)
    assert isinstance(decoded, Decoded)
    return decoded.text


@pytest.mark.parametrize(
    ("text", "codec", "label"),
    [
        (GERMAN, "cp1252", "iso-8859-1"),
        (GERMAN + " €", "cp1252", "latin1"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (JAPANESE, "shift_jis", "Shift_JIS"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (JAPANESE, "iso2022_jp", "iso-2022-jp"),
        (CHINESE, "gb18030", "gb2312"),
        (CHINESE, "big5", "big5"),
        (KOREAN, "cp949", "euc-kr"),
        (GREEK, "iso8859_7", "iso-8859-7"),
        (GREEK, "utf-16-le", "utf-16"),
    ],
)
def test_the_header_names_the_encoding(text: str, codec: str, label: str) -> None:
    if codec == "big5":
        text = "城市".encode("big5").decode("big5") * 20
    assert text in text_of(page(text).encode(codec), f"text/html; charset={label}")


@pytest.mark.parametrize(("text", "codec", "label"), [(RUSSIAN, "cp1251", "windows-1251"), (KOREAN, "cp949", "euc-kr")])
def test_a_meta_names_the_encoding_when_the_header_does_not(text: str, codec: str, label: str) -> None:
    for head in (f"<meta charset={label}>", f'<meta http-equiv="Content-Type" content="text/html; charset={label}">'):
        assert text in text_of(page(text, head).encode(codec), "text/html")


def test_the_header_comes_before_the_meta() -> None:
    body = page(RUSSIAN, "<meta charset=koi8-r>").encode("cp1251")
    assert RUSSIAN in text_of(body, "text/html; charset=windows-1251")


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_comes_before_everything(codec: str) -> None:
    mark = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}[codec]
    decoded = text_of(mark + page(GREEK).encode(codec), "text/html; charset=iso-8859-1")
    assert GREEK in decoded
    assert not decoded.startswith("\ufeff")


def test_well_formed_utf8_is_utf8_whatever_its_label() -> None:
    assert JAPANESE in text_of(page(JAPANESE, "<meta charset=iso-8859-1>").encode(), "text/html; charset=windows-1252")


def test_a_label_that_makes_nonsense_is_not_believed() -> None:
    assert RUSSIAN in text_of(page(RUSSIAN * 5).encode("cp1251"), "text/html; charset=utf-8")


def test_an_unlabelled_legacy_page_is_guessed() -> None:
    assert RUSSIAN in text_of(page(RUSSIAN * 5).encode("cp1251"), None)


def test_utf7_and_unknown_labels_are_ignored() -> None:
    text = text_of(b"<p>+ADw-script+AD4- stays text</p>", "text/html; charset=utf-7")
    assert "+ADw-script" in text
    assert GERMAN in text_of(page(GERMAN).encode(), "text/html; charset=no-such-thing")


def test_a_codec_that_is_not_of_text_is_no_encoding() -> None:
    assert "plain" in text_of(b"<p>plain</p>", "text/html; charset=rot13")
    assert "plain" in text_of(b"<p>plain</p>", "text/html; charset=base64")


def test_control_characters_do_not_reach_the_text() -> None:
    assert text_of(b"<p>a\x00b\x08c\x1fd</p>\n\tz", None) == "<p>abcd</p>\n\tz"


def test_noise_is_undecodable() -> None:
    noise = bytes((i * 7919 + i // 3) % 256 for i in range(20_000))
    assert isinstance(decode(noise, "text/html"), Undecodable)


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"<html>", "text/html", "html"),
        (b"<html>", "TEXT/HTML; Charset=UTF-8", "html"),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", "application/xml", "html"),
        (b"<?xml version='1.0'?><rss>", "application/xml", "other"),
        (b"<p>hello", None, "html"),
        (b"hello", None, "text"),
        (b"hello < 5", "text/plain", "text"),
        (b"<p>not markup here", "text/plain; charset=utf-8", "text"),
        (b"{}", "application/json", "other"),
        (b"p{}", "text/css", "other"),
        (b"%PDF-1.7\n...", "text/html", "binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "text/html; charset=utf-8", "binary"),
        (b"\x1f\x8b\x08\x00\x00", None, "binary"),
        (bytes(range(256)) * 4, "text/html", "binary"),
        ("<html>".encode("utf-16-le"), "text/html; charset=utf-16le", "html"),
        (codecs.BOM_UTF16_LE + "<p>x".encode("utf-16-le"), None, "html"),
    ],
)
def test_the_kind_of_a_body(body: bytes, content_type: str | None, kind: str) -> None:
    assert body_kind(body, content_type) == kind
