"""Tables with titles, totals, and columns without a name or with an unknown one."""

import io

import pytest

from products.catalogue import Catalogue, CatalogueError, Writer, preview, validate

A, B, C = (f"https://h.example/{name}.jpg" for name in "abc")


def read(text: str) -> Catalogue:
    return Catalogue(io.BytesIO(text.encode()))


def rows_of(text: str) -> list[tuple[str, str, list[str]]]:
    return [(row.serial_number, row.product_name, row.image_urls) for row in read(text)]


def warnings_of(text: str) -> list[tuple[str, int | None, int | None]]:
    return [(problem.code, problem.line, problem.column) for problem in preview(read(text)).warnings]


def result_of(text: str, *, replace: bool = False) -> str:
    """Return the result with each row's pictures numbered."""
    catalogue = read(text)
    writer = Writer(catalogue, replace=replace)
    lines = [
        part
        if isinstance(part, str)
        else writer.row(part, [str(n) for n in range(len(part.image_urls))], "completed", "")
        for part in catalogue.parts()
    ]
    return b"".join(writer.start()).decode() + "".join(lines)


def test_columns_without_a_name_at_the_end_take_what_spills_over() -> None:
    text = f"Serial Number,Product Name,Input Image Urls,,\n1,Lamp,{A},{B},{C}\n2,Chair,{A},,\n"
    assert rows_of(text) == [("1", "Lamp", [A, B, C]), ("2", "Chair", [A])]
    assert warnings_of(text) == []
    assert validate(read(text)).problems == []
    assert result_of(text, replace=True) == text.replace(f"{A},{B},{C}", "0,1,2").replace(A, "0")
    assert result_of(text).splitlines()[1] == f'1,Lamp,{A},{B},{C},"0,1,2",completed,'
    again = result_of(result_of(text))
    assert again == result_of(text)


def test_urls_in_a_column_without_a_name_elsewhere_are_a_warning_with_their_place() -> None:
    text = f"Serial Number,,Input Image Urls,Product Name\n1,,{A},Lamp\n2,{B},{A},Chair\n3,{B},,Sofa\n"
    assert warnings_of(text) == [("unread_urls", 3, 2)]


def test_pictures_in_a_column_that_is_not_read_are_a_warning_and_links_to_pages_are_not() -> None:
    text = f"SKU,Name,Image,Link,Size chart\n1,Lamp,{A},https://shop.example/lamp,{B}\n"
    assert warnings_of(text) == [("unread_urls", 2, 5)]


def test_titles_above_the_header_and_totals_below_are_no_products() -> None:
    text = (
        f"Catalogue of spring;;\n\nPrinted on 1 March;;\nSKU;Name;Image\n1;Lamp;{A}\n2;Chair;{B}\nTotal:;2;\n"
    )
    assert rows_of(text) == [("1", "Lamp", [A]), ("2", "Chair", [B])]
    assert warnings_of(text) == [
        ("skipped_line", 1, None),
        ("skipped_line", 3, None),
        ("skipped_line", 7, None),
    ]
    assert result_of(text, replace=True) == text.replace(A, "0").replace(B, "0")


def test_titles_without_delimiters_do_not_hide_the_delimiter() -> None:
    assert rows_of(f"Spring\nSKU;Name;Image\n1;Lamp;{A}\n") == [("1", "Lamp", [A])]
    assert rows_of(f"Lamps, chairs, beds\nSKU;Name;Image\n1;Lamp;{A}\n") == [("1", "Lamp", [A])]
    assert rows_of(f"Spring\nArtikel;Was;Wo\nA1;Lamp;{A}\n") == [("A1", "Lamp", [A])]


@pytest.mark.parametrize("second", ["item_sku,item_name,main_image_url", "SKU,Name,Image"])
def test_a_second_header_is_no_product(second: str) -> None:
    text = f"SKU,Name,Image\n{second}\n1,Lamp,{A}\n"
    assert rows_of(text) == [("1", "Lamp", [A])]
    assert warnings_of(text) == [("skipped_line", 2, None)]


def test_files_that_were_joined_repeat_the_header() -> None:
    text = f"SKU,Name,Image\n1,Lamp,{A}\nSKU,Name,Image\n2,Chair,{B}\n"
    assert rows_of(text) == [("1", "Lamp", [A]), ("2", "Chair", [B])]
    assert warnings_of(text) == [("skipped_line", 3, None)]


def test_a_product_with_the_name_of_a_total_and_a_picture_is_one() -> None:
    assert rows_of(f"Name,SKU,Image\nTotal,1,{A}\nTotal Gym,2,\n") == [
        ("1", "Total", [A]),
        ("2", "Total Gym", []),
    ]


def test_rows_after_others_are_the_same_rows() -> None:
    text = f"SKU,Name,Image\nSKU,Name,Image\n1,Lamp,{A}\nTotal,,\n2,Chair,{B}\n"
    assert list(read(text).rows(after=1)) == list(read(text))[1:]


def test_the_columns_of_a_result_get_names_that_are_free() -> None:
    text = f"SKU,Name,Image,Status\n1,Lamp,{A},active\n"
    result = f"SKU,Name,Image,Status,Output Image Urls,Status 2,Error\n1,Lamp,{A},active,0,completed,\n"
    assert result_of(text) == result
    assert result_of(result) == result


def test_serial_number_and_name_may_be_missing() -> None:
    text = f"Image,Price\n{A},9.50\n{B},9.50\n"
    assert rows_of(text) == [("1", "", [A]), ("2", "", [B])]
    assert warnings_of(text) == []
    assert preview(read(text)).columns == {"serial": "", "name": "", "images": ["Image"]}


def test_columns_with_unknown_names_are_found_by_their_content() -> None:
    text = "Shade,Kennung,Was,Preis,Wo,Seite\n" + "".join(
        f"red,K-{n},Lamp of kind {n},{n}.50,https://h.example/{n}.jpg,https://shop.example/{n}\n"
        for n in range(30)
    )
    assert preview(read(text)).columns == {"serial": "Kennung", "name": "Was", "images": ["Wo"]}
    assert warnings_of(text) == [
        (code, 1, column) for code, column in [("column_by_content", n) for n in (2, 3, 5)]
    ]


def test_a_file_without_any_urls_is_refused() -> None:
    with pytest.raises(CatalogueError) as refused:
        read("Kennung,Was\nK-1,Lamp\n")
    assert [problem.code for problem in refused.value.problems] == ["missing_column"]
