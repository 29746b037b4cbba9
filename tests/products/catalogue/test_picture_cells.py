"""Cells with picture URLs in the forms that shops, spreadsheets and people give them."""

import pytest

from products.catalogue.picture_cells import cell_warnings, replace_urls, separator_in, split_urls

A, B = "https://h.example/a.jpg", "https://h.example/b.jpg"


@pytest.mark.parametrize(
    ("cell", "replaced"),
    [
        (f'["{A}","{B}"]', '["1","2"]'),
        (f"['{A}', '{B}']", "['1', '2']"),
        (f"{{{A},{B}}}", "{1,2}"),
        (f'[{{"url": "{A}", "alt": "A, lamp"}}, {{"url": "{B}"}}]', None),
        (f'"{A}","{B}"', '"1","2"'),
        (f"“{A}” “{B}”", "“1” “2”"),
        (f"<{A}> <{B}>", "<1> <2>"),
        (f"a.jpg ({A}),b (1).jpg ({B})", "a.jpg (1),b (1).jpg (2)"),
        (f'<p><img src="{A}" alt="x"><IMG alt=y SRC=\'{B}\'/></p>', None),
        (f'<a href="{A}">front</a> <a href={B}>back</a>', '<a href="1">front</a> <a href=2>back</a>'),
        (f"![front]({A}) ![back]({B})", "![front](1) ![back](2)"),
        (f"{A}<br>{B}", "1<br>2"),
        (f"{A}<BR />\n{B}", "1<BR />\n2"),
        (f"{A} ! alt : Lamp, red ! title : Lamp | {B} ! alt : Back", None),
        (f"\u200b{A}\ufeff, \u2009{B}\u200e", "\u200b1\ufeff, \u20092\u200e"),
        (f"{A}\u3000{B}", "1\u30002"),
        (f"{A}\u2028{B}", "1\u20282"),
    ],
)
def test_urls_are_found_and_written_back_in_their_own_form(cell: str, replaced: str | None) -> None:
    assert split_urls(cell) == [A, B]
    expected = cell.replace(A, "1").replace(B, "2") if replaced is None else replaced
    assert replace_urls(cell, iter(["1", "2"])) == expected
    assert replace_urls(cell, iter(["", ""])) == cell
    assert list(cell_warnings(cell)) == []


@pytest.mark.parametrize(
    ("cell", "url"),
    [
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        (r"http://h.example/images\a.jpg?b=\c", r"http://h.example/images/a.jpg?b=\c"),
        (r'["https:\/\/h.example\/a.jpg?b=1\u0026c=2"]', "https://h.example/a.jpg?b=1&c=2"),
        (f"“{A}”", A),
        (f"<{A}>", A),
        (f"a.jpg ({A})", A),
        (f'<img src="{A}">', A),
        (f"![x]({A})", A),
        ("https://h.example/a_(1).jpg", "https://h.example/a_(1).jpg"),
        ("https://h.example/a.jpg!large", "https://h.example/a.jpg!large"),
        ("https://h.example/it's.jpg", "https://h.example/it's.jpg"),
        ("https://h.example/größe.jpg", "https://h.example/größe.jpg"),
        ("https://h.example/a.jpg?b=1&c=2&copy=3", "https://h.example/a.jpg?b=1&c=2&copy=3"),
    ],
)
def test_a_url_is_read_as_it_is_meant(cell: str, url: str) -> None:
    assert split_urls(cell) == [url]
    assert list(cell_warnings(cell)) == []


@pytest.mark.parametrize("cell", ["?w=600&amp;h=400", "?w=600&#38;h=400", "?w=600&#x26;h=400"])
def test_html_entities_are_characters_and_a_warning(cell: str) -> None:
    assert split_urls(A + cell) == [f"{A}?w=600&h=400"]
    assert [code for _url, code, _detail in cell_warnings(A + cell)] == ["html_entities"]


@pytest.mark.parametrize(
    "cell", ["https://h.example/a\u200bb.jpg", f"{A}\u200b{B}", "https://h.example/a\x02.jpg"]
)
def test_an_invisible_character_inside_is_a_warning(cell: str) -> None:
    assert split_urls(cell) in ([cell], [A, B])
    assert [code for _url, code, _detail in cell_warnings(cell)] == ["invisible_character"]


@pytest.mark.parametrize(
    "cell",
    [
        "N/A",
        "n/a",
        "nan",
        "NaN",
        "NULL",
        "None",
        "-",
        "#N/A",
        "0",
        " N/A ",
        "no_selection",
        "[]",
        "\u200b",
        "–",
    ],
)
def test_a_word_for_nothing_is_no_picture(cell: str) -> None:
    assert split_urls(cell) == []
    assert split_urls(cell, "https://shop.example/media") == []
    assert replace_urls(cell, iter([])) == cell


def test_a_url_that_the_markup_does_not_explain_is_not_lost() -> None:
    for cell in (f'<img src="{A}"> {B}', f"a.jpg ({A}) {B}"):
        assert len(split_urls(cell)) == 2
        assert split_urls(cell)[-1] == B


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        (f'["{A}","{B}"]', ","),
        (f"{A} ! alt : x, y | {B}", " | "),
        (f"{A}<br>{B}", ","),
        (f"a ({A}), b ({B})", ", "),
        (f"“{A}” “{B}”", " "),
    ],
)
def test_outputs_are_separated_as_the_urls_are(cell: str, separator: str) -> None:
    assert separator_in(cell) == separator


def test_paths_may_stand_in_a_list_too() -> None:
    base = "https://shop.example/media"
    assert split_urls('["a/1.jpg","b.jpg"]', base) == [f"{base}/a/1.jpg", f"{base}/b.jpg"]
    assert split_urls("a.jpg?b=1&amp;c=2,N/A;d.jpg", base) == [f"{base}/a.jpg?b=1&c=2", f"{base}/d.jpg"]
