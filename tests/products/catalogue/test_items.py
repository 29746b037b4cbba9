"""Product feeds in XML and JSON."""

import io
import json
import tracemalloc

import pytest

from products.catalogue import Catalogue, CatalogueError, Writer, preview
from products.catalogue.items import MAX_FIELDS
from products.catalogue.records import MAX_ROW_CHARS

A, B, C = (f"https://h.example/{name}.jpg" for name in "abc")
SPACE = 'xmlns:g="http://base.google.com/ns/1.0"'
RSS = f"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" {SPACE}><channel><title>Shop</title><link>https://shop.example</link>
<item><g:id>L-1</g:id><title>Lamp &amp; shade</title><g:image_link>{A}?a=1&amp;b=2</g:image_link>
<g:additional_image_link>{B}</g:additional_image_link><g:additional_image_link>{C}</g:additional_image_link>
<g:shipping><g:country>AT</g:country><g:price>5 EUR</g:price></g:shipping></item>
<item><g:id>C-1</g:id><title><![CDATA[Größe "2"]]></title><g:image_link>{B}</g:image_link></item>
</channel></rss>"""
ATOM = f"""<feed xmlns="http://www.w3.org/2005/Atom" {SPACE}><title>Shop</title>
<entry><g:id>L-1</g:id><title>Lamp</title><link href="https://shop.example/l"/><g:image_link>{A}</g:image_link>
</entry></feed>"""
ITEMS = [
    {"sku": "L-1", "name": "Lamp", "images": [A, B]},
    {"sku": 7, "name": "Größe", "images": [], "x": None},
]


def read(text: str | bytes) -> Catalogue:
    return Catalogue(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def rows_of(text: str | bytes) -> list[tuple[str, str, list[str]]]:
    return [(row.serial_number, row.product_name, row.image_urls) for row in read(text)]


def refusal_of(text: str | bytes) -> str:
    with pytest.raises(CatalogueError) as refused:
        list(read(text))
    (problem,) = refused.value.problems
    assert problem.code == "unsupported_file"
    return problem.detail


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_rss_feed_is_read_with_every_picture(encoding: str) -> None:
    assert rows_of(RSS.encode(encoding)) == [
        ("L-1", "Lamp & shade", [f"{A}?a=1&b=2", B, C]),
        ("C-1", 'Größe "2"', [B]),
    ]
    shown = preview(read(RSS))
    assert (shown.encoding, shown.delimiter) == ("xml", None)
    assert shown.columns["images"] == ["image_link", "additional_image_link"]
    assert shown.warnings == []


def test_an_atom_feed_is_read() -> None:
    assert rows_of(ATOM) == [("L-1", "Lamp", [A])]


def test_the_result_of_a_feed_is_csv() -> None:
    catalogue = read(ATOM)
    writer = Writer(catalogue)
    lines = [writer.row(row, ["out"], "completed", "") for row in catalogue]
    assert (b"".join(writer.start()).decode() + "".join(lines)).splitlines() == [
        "id,title,link,image_link,Output Image Urls,Status,Error",
        f"L-1,Lamp,https://shop.example/l,{A},out,completed,",
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ITEMS),
        json.dumps({"shop": "a", "count": 2, "tags": ["x"], "products": ITEMS, "more": [{}]}, indent=1),
        "\ufeff" + json.dumps({"products": ITEMS}, ensure_ascii=False),
    ],
)
def test_json_is_read(text: str) -> None:
    assert rows_of(text) == [("L-1", "Lamp", [A, B]), ("7", "Größe", [])]
    assert preview(read(text)).encoding == "json"


def test_pictures_in_objects_of_json_are_found() -> None:
    items = [{"handle": "lamp", "title": "Lamp", "images": [{"id": 1, "src": A}, {"id": 2, "src": B}]}]
    assert rows_of(json.dumps({"products": items})) == [("lamp", "Lamp", [A, B])]


def test_json_of_many_blocks_is_read_as_a_stream() -> None:
    items = [{"sku": n, "name": "x" * 1000, "image": f"https://h.example/{n}.jpg"} for n in range(2000)]
    assert [serial for serial, _name, _urls in rows_of(json.dumps(items))] == [str(n) for n in range(2000)]


def test_other_xml_json_and_html_are_named_for_what_they_are() -> None:
    assert refusal_of('<?xml version="1.0"?><a><b/></a>').startswith(
        "This is an XML file, but no product feed:"
    )
    assert refusal_of('{"a": 1}').startswith("This is a JSON file, but no product feed:")
    assert refusal_of('[{"a": 1}').startswith("This is a JSON file that is not valid")
    assert refusal_of("<!DOCTYPE html><html>").startswith("This is an HTML page")
    assert "line 1" in refusal_of('<?xml version="1.0"?><rss><item>')


def test_entities_and_references_are_refused() -> None:
    assert "DOCTYPE" in refusal_of(
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><rss><item>&b;</item></rss>'
    )
    assert "DOCTYPE" in refusal_of('<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><rss/>')


def test_deep_json_is_refused() -> None:
    assert refusal_of('[{"a": ' + "[" * 100_000).startswith("This is a JSON file that is not valid")


def test_characters_that_a_database_does_not_take_are_replaced() -> None:
    value = {"a\ud800": "\0"}
    catalogue = read(json.dumps([{"sku": "\ud800", "image": A, "b\udfff\0": ["\0", "x"], "c": value}]))
    (row,) = catalogue
    assert catalogue.header[2] == "b\ufffd\ufffd"
    assert row.cells[0] == "\ufffd"
    assert row.cells[2] == "\ufffd|x"
    assert not {"\0", "\ud800"} & set(row.text)


def code_of(text: str) -> str:
    with pytest.raises(CatalogueError) as refused:
        read(text)
    (problem,) = refused.value.problems
    return problem.code


def feed(item: str) -> str:
    return f'<?xml version="1.0"?><rss><item>{item}</item></rss>'


def test_values_of_repeated_fields_are_joined_without_blank_ones() -> None:
    (row,) = read(
        feed(f"<id>1</id><image_link/><image_link>{A}</image_link><x/><image_link>{B}</image_link>")
    )
    assert (row.image_urls, row.cells) == ([A, B], ["1", f"{A}|{B}", ""])


@pytest.mark.needs("more time")
def test_an_item_of_very_many_elements_is_refused_at_the_first_too_many() -> None:
    endless = "".join(f"<f{n}/>" for n in range(MAX_FIELDS + 1))
    assert code_of(f"<rss><item>{endless}") == "too_many_columns"
    assert code_of("<rss><item>" + "<a/>" * (MAX_ROW_CHARS + 1)) == "line_too_long"
    assert code_of("<rss><item><a>" + f"<{'b' * 1000}/>" * (MAX_ROW_CHARS // 1000 + 1)) == "line_too_long"


def test_white_space_in_json_is_not_kept() -> None:
    space = " " * (3 * MAX_ROW_CHARS)
    items = f'{{"sku": "1", "image": "{A}"}}'
    file = io.BytesIO(f'{{"products"{space}:{space}[{items}{space},{space}{items}{space}]}}'.encode())
    tracemalloc.start()
    try:
        serials = [row.serial_number for row in Catalogue(file)]
        _size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert serials == ["1", "1"]
    assert peak < len(space) / 2


def test_numbers_in_json_stay_as_they_are_written() -> None:
    numbers = '"price": 19.90, "weight": 1e3, "x": NaN, "sizes": [1, 2.50]'
    (row,) = read(f'[{{"sku": {"7" * 5000}, "image": "{A}", {numbers}}}]')
    assert row.cells == ["7" * 5000, A, "19.90", "1e3", "NaN", "1|2.50"]


def test_a_syntax_error_in_front_of_megabytes_is_named_as_such() -> None:
    with pytest.raises(CatalogueError, match="or it is not valid JSON"):
        read('[{"sku": 1 "image": 2}' + "x" * (3 * MAX_ROW_CHARS))
