import io
import itertools
from tempfile import SpooledTemporaryFile

import pytest

from products.catalogue import (
    Catalogue,
    CatalogueError,
    Columns,
    Encoding,
    Problem,
    Row,
    Writer,
    host_of,
    known_encoding,
    preview,
    split_urls,
    url_problem,
    validate,
)
from products.catalogue.records import MAX_CELL_CHARS, MAX_ROW_CHARS
from tests.support.factories import make_csv

HEADER = "Serial Number,Product Name,Input Image Urls\n"
URL = "https://cdn.example.com/1.jpg"
OTHER_URL = "https://cdn.example.com/2.jpg"


def read(text: str | bytes) -> Catalogue:
    return Catalogue(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def rows_of(text: str | bytes) -> list[Row]:
    return list(read(text))


def problems_of(text: str | bytes) -> list[Problem]:
    return validate(read(text)).problems


def refusal_of(text: str | bytes) -> Problem:
    with pytest.raises(CatalogueError) as refusal:
        problems_of(text)
    (problem,) = refusal.value.problems
    assert str(refusal.value) == problem.detail
    return problem


def test_a_plain_catalogue_is_read_row_by_row() -> None:
    cell = f"{URL}, {OTHER_URL}"
    catalogue = read(HEADER + f'7 , Lamp ,"{cell}"\n8,Chair,\n')
    assert catalogue.header == ["Serial Number", "Product Name", "Input Image Urls"]
    assert catalogue.columns == Columns(serial=0, name=1, images=(2,))
    assert list(catalogue) == [
        Row(1, 2, ["7 ", " Lamp ", cell], f'7 , Lamp ,"{cell}"\n', "7", "Lamp", [URL, OTHER_URL]),
        Row(2, 3, ["8", "Chair", ""], "8,Chair,\n", "8", "Chair", []),
    ]


def test_a_catalogue_can_be_read_again_and_from_any_seekable_file() -> None:
    with SpooledTemporaryFile(max_size=10) as file:
        file.write((HEADER + f"1,Lamp,{URL}\n2,Chair,{URL}\n").encode())
        catalogue = Catalogue(file)
        assert next(iter(catalogue)).product_name == "Lamp"
        assert [row.product_name for row in catalogue] == ["Lamp", "Chair"]


# Headers


@pytest.mark.parametrize(
    "serial", ["Serial Number", "S. No.", "S.No", "Sr No", "serial_number", " SERIAL  NUMBER "]
)
@pytest.mark.parametrize(
    "pictures", ["Input Image Urls", "Input Image URLs", "Image Urls", "'input-image urls:'"]
)
def test_headers_are_known_by_several_names_whatever_their_case_and_punctuation(
    serial: str, pictures: str
) -> None:
    (row,) = rows_of(f"{serial},Product Name,{pictures}\n1,Lamp,{URL}\n")
    assert (row.serial_number, row.product_name, row.image_urls) == ("1", "Lamp", [URL])


def test_a_header_may_contain_a_line_break() -> None:
    catalogue = read(f'Serial Number;"Product\nName";"Image\r\nUrls"\n1;Lamp;{URL}\n')
    assert (catalogue.delimiter, catalogue.columns) == (";", Columns(0, 1, (2,)))
    assert [row.line for row in catalogue] == [4]


def test_columns_stand_in_any_order_and_others_are_kept() -> None:
    catalogue = read(f"Image Urls,Price,Product Name,S. No.\n{URL}, 9.50,Lamp,1\n")
    assert catalogue.columns == Columns(serial=3, name=2, images=(0,))
    assert [row.cells for row in catalogue] == [[URL, " 9.50", "Lamp", "1"]]


def test_of_two_names_for_a_column_the_better_one_wins() -> None:
    catalogue = read("Image Urls,Sr No,Serial Number,Product Name,Input Image Urls\n")
    assert catalogue.columns == Columns(serial=2, name=3, images=(4,), unused=(0, 1))


def test_two_columns_of_the_same_name_refuse_the_file() -> None:
    problem = refusal_of(HEADER.replace("\n", ",Price,serial number.\n") + "1,Lamp,,9,1\n")
    assert (problem.code, problem.line, problem.column) == ("duplicate_column", 1, 5)
    assert "“Serial Number”, “serial number.”" in problem.detail


def test_columns_without_a_name_are_no_duplicates() -> None:
    assert read(HEADER.replace("\n", ",,\n")).header[3:] == ["", ""]


def test_missing_columns_are_named_together_with_those_found() -> None:
    problem = refusal_of("\nArticle,Product Name,Price\n1,Lamp,9\n")
    assert (problem.code, problem.line) == ("missing_column", 2)
    assert problem.detail == (
        "No column with picture URLs was found. The file has “Article”, “Product Name”, “Price”."
    )


def test_a_huge_header_does_not_make_a_huge_sentence() -> None:
    assert len(refusal_of(",".join(f"{n}{'x' * 100}" for n in range(5000))).detail) < 3000


# Encoding


def test_a_byte_order_mark_is_not_part_of_the_first_header() -> None:
    catalogue = read(b"\xef\xbb\xbf" + (HEADER + "1,Stühle,\n").encode())
    assert (catalogue.encoding, catalogue.header[0]) == (Encoding("utf-8", b"\xef\xbb\xbf"), "Serial Number")
    assert [row.product_name for row in catalogue] == ["Stühle"]


def test_utf_8_is_known_without_a_byte_order_mark() -> None:
    catalogue = read(HEADER + "1,椅子,\n")
    assert catalogue.encoding == Encoding("utf-8")
    assert [row.product_name for row in catalogue] == ["椅子"]


def test_what_is_not_utf_8_is_read_as_cp1252() -> None:
    catalogue = read((HEADER + "1,Stühle – 5 €,\n").encode("cp1252"))
    assert catalogue.encoding == Encoding("cp1252")
    assert [row.product_name for row in catalogue] == ["Stühle – 5 €"]


def test_bytes_that_cp1252_does_not_define_are_not_lost() -> None:
    (row,) = rows_of(HEADER.encode() + b"1,\x93a\x81\x8d\x8f\x90\x9db\x94,\n")
    assert row.product_name == "“a\x81\x8d\x8f\x90\x9db”"


def test_every_byte_of_a_cell_survives_reading_and_encoding() -> None:
    name = bytes(byte for byte in range(0x20, 0x100) if byte not in b'",')
    catalogue = read(HEADER.encode() + b"1," + name + b"x,\n")
    assert [catalogue.encoding.encode(row.cells[1]) for row in catalogue] == [name + b"x"]
    assert catalogue.encoding.encode("€ 椅子") == b"\x80 ??"
    assert read(HEADER).encoding.encode("€ 椅子") == "€ 椅子".encode()


def test_the_encoding_is_decided_by_the_whole_file() -> None:
    file = (HEADER + "1,Lamp,\n" * 100_000).encode()
    assert read(file).encoding.name == "utf-8"
    assert read(file + "2,Stühle,".encode("cp1252")).encoding.name == "cp1252"
    assert read(file + "2,Stü".encode()[:-1]).encoding.name == "cp1252"


@pytest.mark.sample("shift")
@pytest.mark.parametrize("shift", range(4))
def test_characters_and_line_ends_may_straddle_the_blocks_that_are_read(shift: int) -> None:
    text = HEADER.replace("\n", "\r\n") + "x" * shift + ",ü€😀,\r\n" * 50_000
    rows = rows_of(text)
    assert [row.line for row in rows] == list(range(2, 50_002))
    assert {row.product_name for row in rows} == {"ü€😀"}


def test_a_file_wrongly_marked_as_utf_8_is_read_with_its_bytes_kept() -> None:
    catalogue = read(b"\xef\xbb\xbf" + (HEADER + "1,Stühle,\n").encode("cp1252"))
    assert [row.product_name for row in catalogue] == ["St\ufffdhle"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_by_its_mark_and_no_text_without(encoding: str) -> None:
    text = HEADER + "1,Stühle 椅子 😀,\n"
    catalogue = read(("\ufeff" + text).encode(encoding))
    assert catalogue.encoding == Encoding(encoding, "\ufeff".encode(encoding))
    assert [row.product_name for row in catalogue] == ["Stühle 椅子 😀"]
    assert refusal_of(text.encode(encoding)).code == "not_text"


def test_a_file_wrongly_marked_as_utf_16_is_refused_with_the_line() -> None:
    problem = refusal_of(("\ufeff" + HEADER).encode("utf-16-le") + b"\x00\xdc\x00")
    assert (problem.code, problem.line) == ("unsupported_encoding", 2)
    assert (
        problem.detail == "The file has a UTF-16-LE byte order mark but is not valid UTF-16-LE. See line 2."
    )


def test_control_characters_in_utf_16_refuse_the_file_if_they_are_many() -> None:
    problem = refusal_of(("\ufeff" + HEADER + "1,\x00\x01,\n" * 100).encode("utf-16-be"))
    assert (problem.code, problem.line) == ("not_text", 2)
    (row,) = rows_of(("\ufeff" + HEADER + "1,a\x00b,\n").encode("utf-16-be"))
    assert row.product_name == "a\ufffdb"


def test_the_encoding_that_is_given_wins_over_mark_and_guess() -> None:
    data = HEADER.encode() + "1,Лампа,\n".encode("cp1251")
    catalogue = Catalogue(io.BytesIO(data), encoding="cp1251")
    assert [row.product_name for row in catalogue] == ["Лампа"]
    assert [row.product_name for row in read(data)] == ["Ëàìïà"]
    marked = b"\xef\xbb\xbf" + HEADER.encode()
    assert Catalogue(io.BytesIO(marked), encoding="utf-8").header[0] == "Serial Number"
    assert Catalogue(io.BytesIO(marked), encoding="cp1251").header[0] == "п»їSerial Number"


def test_a_file_that_is_not_in_the_encoding_given_is_refused_with_the_line() -> None:
    data = HEADER.encode() + b"1,Lamp,\n" * 100_000 + b"2,\xff\xff,\n"
    with pytest.raises(CatalogueError) as refusal:
        Catalogue(io.BytesIO(data), encoding="gbk")
    (problem,) = refusal.value.problems
    assert (problem.code, problem.line) == ("unsupported_encoding", 100_002)
    assert problem.detail == "The file is not encoded as gbk. See line 100002."


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(("UTF8", "utf-8"), ("utf-8-sig", "utf-8"), ("Windows-1252", "cp1252"), (" latin-1 ", "iso8859-1")),
        *(("GB2312-80", ""), ("macroman", "mac-roman"), ("cp936", "gbk"), ("UTF-16LE", "utf-16-le")),
        *(("utf-7", ""), ("base64", ""), ("zip", ""), ("idna", ""), ("nonsense", ""), ("a\0b", ""), ("", "")),
    ],
)
def test_encodings_are_known_by_all_their_names_and_others_are_none(name: str, known: str) -> None:
    if known:
        assert known_encoding(name) == known
    else:
        with pytest.raises(ValueError, match="Unknown encoding"):
            known_encoding(name)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG picture"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
    ],
)
def test_a_file_of_another_kind_is_named_for_what_it_is(start: bytes, kind: str) -> None:
    problem = refusal_of(start)
    assert problem.code == "not_text"
    assert problem.detail == f"This is {kind}, not a catalogue. Upload a table, a workbook or a feed."


def test_many_control_characters_refuse_the_file_and_the_first_is_located() -> None:
    file = HEADER.encode() + b"1,Lamp,\n" * 100_000
    assert refusal_of(file + b"2,\x00\x01,\n" * 20_000).line == 100_002
    assert refusal_of(file + b"\xff,\x0b\x0b,\n" * 20_000).line == 100_002


@pytest.mark.parametrize("character", ["\x0b", "\x02", "\x1d", "\x1a", "\x00"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_control_character_in_a_description_does_not_matter(character: str, encoding: str) -> None:
    text = HEADER.replace("\n", ",Text\n") + f"1,Lämp,{URL},warm{character}light\n"
    data = text.encode(encoding)
    (row,) = rows_of(data)
    assert (row.product_name, row.image_urls) == ("Lämp", [URL])
    assert "\x00" not in row.cells[3]
    assert problems_of(data) == []
    assert written_again(data) == data


def test_a_mark_of_the_end_is_no_product() -> None:
    data = (HEADER + f"1,Lamp,{URL}\n\x1a").encode()
    assert [row.product_name for row in rows_of(data)] == ["Lamp"]
    assert written_again(data) == data
    assert rows_of(data.replace(b"\n\x1a", b"\x1a"))[0].image_urls == [URL]


def test_one_byte_that_is_not_utf_8_does_not_change_the_others() -> None:
    data = (HEADER + "1,Größe,https://h.example/größe.jpg\n2,Stuhl,https://h.example/2.jpg\n").encode()
    data = data.replace(b"Stuhl", b"St\xfchle")
    assert read(data).encoding == Encoding("utf-8", is_damaged=True)
    assert [(row.product_name, row.image_urls) for row in rows_of(data)] == [
        ("Größe", ["https://h.example/größe.jpg"]),
        ("St\ufffdhle", ["https://h.example/2.jpg"]),
    ]
    assert written_again(data) == data
    warnings = preview(read(data)).warnings
    assert [(warning.code, warning.line, warning.column) for warning in warnings] == [
        ("unreadable_character", 3, 2)
    ]


def written_again(data: bytes) -> bytes:
    """Return the result that replaces no URL."""
    catalogue = read(data)
    writer = Writer(catalogue, replace=True)
    parts = [
        part if isinstance(part, str) else writer.row(part, [""] * len(part.image_urls), "", "")
        for part in catalogue.parts()
    ]
    return b"".join(writer.start()) + writer.encode("".join(parts))


# Delimiters and lines


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(delimiter: str) -> None:
    catalogue = read(HEADER.replace(",", delimiter) + delimiter.join(["1", "Lamp", URL]))
    assert catalogue.delimiter == delimiter
    assert [row.image_urls for row in catalogue] == [[URL]]


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_delimiters_inside_quotes_or_below_the_header_do_not_count(line_end: str) -> None:
    text = f'Serial Number;"Price, net, in €, rounded";Product Name;Image Urls{line_end}1;9,5;a,b,c,d;'
    assert read(text).delimiter == ";"


@pytest.mark.parametrize("declaration", ["sep=;", "SEP=;", '"sep=;"'])
def test_a_delimiter_declared_in_the_first_line_is_honoured(declaration: str) -> None:
    catalogue = read(f"{declaration}\r\nSerial Number;Product Name;Image Urls\r\n1;Lamp;\r\n")
    assert (catalogue.delimiter, catalogue.header[0]) == (";", "Serial Number")
    assert [(row.number, row.line) for row in catalogue] == [(1, 3)]


def test_a_declared_delimiter_wins_over_a_more_frequent_one() -> None:
    catalogue = read(f"sep=;\nSerial Number;Product Name;Image Urls;a,b,c,d,e\n1;Lamp;{URL};\n")
    assert catalogue.delimiter == ";"


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_each_kind_of_line_end_is_read(line_end: str) -> None:
    rows = rows_of((HEADER + "1,Lamp,\n\n2,Chair,").replace("\n", line_end))
    assert [(row.number, row.line, row.product_name, row.text) for row in rows] == [
        (1, 2, "Lamp", f"1,Lamp,{line_end}"),
        (2, 4, "Chair", "2,Chair,"),
    ]


def test_rows_with_nothing_but_blanks_are_not_rows() -> None:
    rows = rows_of("\n  \n" + HEADER + "\n,,\n1,Lamp,\n , ,\n2,Chair,\n\n")
    assert [(row.number, row.line) for row in rows] == [(1, 6), (2, 8)]


def test_quotes_protect_delimiters_line_breaks_and_doubled_quotes() -> None:
    (row,) = rows_of(HEADER + f'1,"Lamp, 15"" wide;\r\nblack",{URL}\n')
    assert row.product_name == 'Lamp, 15" wide;\r\nblack'


def test_a_quote_in_the_middle_of_a_cell_is_just_a_character() -> None:
    assert [row.product_name for row in rows_of(HEADER + f'1,15" lamp,{URL}\n2,Chair,\n')] == [
        '15" lamp',
        "Chair",
    ]


def test_line_numbers_count_lines_and_row_numbers_count_rows() -> None:
    names = [
        "plain",
        "two\nlines",
        "three\r\nlines\n",
        '"\n"',
        "next\x85line\u2028separator",
    ]
    for chosen in itertools.product(names, repeat=3):
        for gap in ("", "\r\n", "\n,,\n"):
            text, expected = HEADER, []
            for number, name in enumerate(chosen, 1):
                text += gap
                expected.append((number, text.count("\n") + 1, name.strip()))
                quoted = name.replace('"', '""')
                text += f'{number},"{quoted}",\r\n'
            assert [(row.number, row.line, row.product_name) for row in rows_of(text)] == expected


# Files that are refused


@pytest.mark.parametrize("text", ["", "\ufeff", "\r\n \r\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert refusal_of(text).code == "empty_file"


@pytest.mark.parametrize("text", [HEADER, HEADER.strip(), HEADER + "\n,,\n"])
def test_a_file_without_rows_is_refused(text: str) -> None:
    assert refusal_of(text).code == "no_rows"


def test_a_file_with_nothing_but_a_declared_delimiter_is_refused() -> None:
    assert refusal_of("sep=;\n").detail.endswith("The file has nothing.")


@pytest.mark.parametrize("before", ["", HEADER, HEADER + "1,Lamp,\n" * 100_000])
def test_a_line_of_megabytes_is_refused_in_one_sentence(before: str) -> None:
    problem = refusal_of(before + "x" * 2_500_000)
    line = before.count("\n") + 1
    assert (problem.code, problem.line) == ("line_too_long", line)
    assert problem.detail == f"The row in line {line} is longer than 2,000,000 characters."


def test_no_more_of_a_file_is_held_than_a_row_may_have() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= MAX_ROW_CHARS
            block = super().read(size)
            self.taken += len(block)
            return block

    file = Counting(b"x" * 10_000_000)
    with pytest.raises(CatalogueError):
        Catalogue(file)
    assert file.taken < 10_000_000 + 2 * MAX_ROW_CHARS  # the pass over the bytes, then the part of the line


def test_a_row_that_grows_over_many_lines_is_refused() -> None:
    problem = refusal_of(HEADER + "1,Lamp,\n" + '"\n",' * 900_000)
    assert (problem.code, problem.line) == ("line_too_long", 3)


def test_a_cell_of_a_million_characters_is_read_and_a_longer_one_is_refused() -> None:
    for length in (143_000, MAX_CELL_CHARS):
        (row,) = rows_of(HEADER + f"2,{'x' * length},{URL}\n")
        assert (len(row.product_name), row.image_urls) == (length, [URL])
    problem = refusal_of(HEADER + f"1,Lamp,\n2,{'x' * (MAX_CELL_CHARS + 1)},\n")
    assert (problem.code, problem.line) == ("cell_too_long", 3)


@pytest.mark.parametrize("following", ["", "3,Table,\n", "3,Table,\n" * 100_000])
@pytest.mark.parametrize(
    ("opening", "line"),
    [('2,"Chair,\n', 3), ('2,"Cha\nir","\n', 4), ('2,"Cha\n\r\nir","https:\n', 5), ('2,Chair,"', 3)],
)
def test_a_quote_that_is_never_closed_is_reported_where_it_opens(
    opening: str, line: int, following: str
) -> None:
    problem = refusal_of(HEADER + "1,Lamp,\n" + opening + following)
    assert (problem.code, problem.line) == ("unclosed_quote", line)
    assert f"line {line} " in problem.detail


def test_an_unclosed_quote_in_the_header_is_reported() -> None:
    problem = refusal_of('Serial Number,"Product Name,Image Urls\n1,Lamp,\n')
    assert (problem.code, problem.line) == ("unclosed_quote", 1)


# Bad rows and cells


def test_missing_cells_are_empty_and_reported() -> None:
    text = HEADER + "1\n2,Chair\n"
    assert [(row.cells, row.product_name, row.image_urls) for row in rows_of(text)] == [
        (["1"], "", []),
        (["2", "Chair"], "Chair", []),
    ]
    assert problems_of(text) == [
        Problem("too_few_cells", "The row has 1 cells, the header has 3.", 2),
        Problem("too_few_cells", "The row has 2 cells, the header has 3.", 3),
    ]


def test_an_unquoted_list_spills_into_surplus_cells_that_still_count() -> None:
    text = HEADER + f"1,Lamp,{URL}, {OTHER_URL},//cdn.example.com/3.jpg,,\n"
    (row,) = rows_of(text)
    assert row.image_urls == [URL, OTHER_URL, "https://cdn.example.com/3.jpg"]
    assert row.cells == ["1", "Lamp", URL, f" {OTHER_URL}", "//cdn.example.com/3.jpg", "", ""]
    assert problems_of(text) == []


def test_surplus_cells_that_are_no_urls_are_reported() -> None:
    text = HEADER + f"1,Lamp,{URL},,see below,{OTHER_URL}\n"
    assert [row.image_urls for row in rows_of(text)] == [[URL, OTHER_URL]]
    assert problems_of(text) == [
        Problem("too_many_cells", "The row has 6 cells, the header has 3.", line=2, column=5)
    ]


def test_surplus_cells_belong_to_no_picture_column_but_the_last() -> None:
    text = f"S. No.,Image Urls,Product Name\n1,{URL},Lamp,{OTHER_URL}\n2,{URL},Chair,,\n"
    assert [row.image_urls for row in rows_of(text)] == [[URL], [URL]]
    assert [(p.code, p.line, p.column) for p in problems_of(text)] == [("too_many_cells", 2, 4)]


def test_a_bad_url_is_reported_with_its_line_and_cell() -> None:
    text = f'Product Name,Image Urls,S. No.\n"La\nmp","{URL} ftp://a.example/1.jpg",1\nChair,{URL},2\n'
    detail = "ftp://a.example/1.jpg: The URL does not start with http:// or https://."
    assert problems_of(text) == [Problem("invalid_url", detail, line=2, column=2)]


def test_validation_counts_rows_and_urls_and_keeps_the_first_hundred_problems() -> None:
    text = HEADER + f"1,Lamp,{URL}|{URL}|foo.jpg\n" * 150
    summary = validate(read(text))
    assert (summary.rows, summary.urls, summary.problem_count) == (150, 450, 150)
    assert [problem.line for problem in summary.problems] == list(range(2, 102))


def test_strict_validation_refuses_any_problem_with_the_first_hundred() -> None:
    with pytest.raises(CatalogueError) as refusal:
        validate(read(HEADER + "1\n" * 150), strict=True)
    assert [problem.line for problem in refusal.value.problems] == list(range(2, 102))


def test_strict_validation_accepts_a_file_without_problems() -> None:
    assert validate(read(HEADER + f"1,Lamp,{URL}\n"), strict=True).problem_count == 0


# Several URLs in a cell

CLOUDINARY = "https://res.cloudinary.com/demo/image/upload/w_300,h_200,c_fill/sample.jpg"
CLOUDINARY_FETCH = "https://res.cloudinary.com/demo/image/fetch/w_90,h_90/https://upload.example.org/a,b.png"
WIX = "https://static.wixstatic.com/media/a1_2f.jpg/v1/fill/w_303,h_170,al_c,q_80/a1_2f.jpg"
CLOUDFLARE = "https://shop.example/cdn-cgi/image/width=80,quality=75/https://shop.example/uploads/lamp.jpeg"
CROPPED = "https://images.example.net/lamp?rect=0,4,600,400&fm=jpg"
SHOPIFY = "https://cdn.shopify.com/s/files/1/0533/2089/files/lamp_3,5_kg.jpg?v=1680000000"
SEMICOLONS = "https://img.example.com/lamp;jsessionid=1F?size=l;format=jpg"
SPACES = "https://shop.example/pictures/Lamp black, large.jpg"
NESTED_QUERY = "https://proxy.example/?w=1,2&url=http://origin.example/a.jpg"
REAL_URLS = [
    CLOUDINARY,
    CLOUDINARY_FETCH,
    WIX,
    CLOUDFLARE,
    CROPPED,
    SHOPIFY,
    SEMICOLONS,
    SPACES,
    NESTED_QUERY,
]


@pytest.mark.parametrize("url", REAL_URLS)
def test_a_url_with_commas_semicolons_or_spaces_stays_whole(url: str) -> None:
    assert split_urls(url) == [url]
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "separator", [",", ", ", ";", "; ", "|", " | ", "\n", "\r\n", "\t", " ", ",\n", ",,", " ;|, "]
)
@pytest.mark.parametrize("url", REAL_URLS)
def test_urls_are_split_at_every_known_separator(url: str, separator: str) -> None:
    urls = [url, URL, url, "http://b.example/x"]
    assert split_urls(separator.join(urls)) == urls


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("", []),
        (" ,;|\n\t\xa0", []),
        (f" ,{URL}; ,\n", [URL]),
        (f"{URL},//cdn.example/a.jpg", [URL, "https://cdn.example/a.jpg"]),
        (f"{URL},ftp://a.example/b.jpg", [URL, "ftp://a.example/b.jpg"]),
        (f"{URL}|b.jpg", [URL, "b.jpg"]),
        (f"{URL}\xa0{OTHER_URL}", [URL, OTHER_URL]),
        (f"{URL},{URL}", [URL, URL]),
        (f"{URL},b.jpg", [f"{URL},b.jpg"]),
        (f"{URL}{OTHER_URL}", [f"{URL}{OTHER_URL}"]),
        ("a.jpg, b.jpg", ["a.jpg, b.jpg"]),
    ],
)
def test_cells_are_split_by_the_rule(cell: str, urls: list[str]) -> None:
    assert split_urls(cell) == urls


def test_very_long_runs_of_separators_are_no_burden() -> None:
    assert split_urls("a" + ", " * 500_000 + "b|" + "|" * 500_000 + "c")[1:] == ["c"]


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        (f'"{URL},{OTHER_URL}"', ","),
        (f'"{URL}, {OTHER_URL}"', ", "),
        (f'"{CLOUDINARY};{OTHER_URL}"', ";"),
        (f"{URL}|{OTHER_URL}|{URL}", "|"),
        (f"{URL} | {OTHER_URL}", " | "),
        (f'" {URL}\n{OTHER_URL}"', "\n"),
        (f'"{URL}\r\n{OTHER_URL}"', "\r\n"),
        (f"{URL} {OTHER_URL}", " "),
        (f'"{URL}, ,,{OTHER_URL}"', ", "),
        (f"{URL},{OTHER_URL}", ","),
        (URL, ","),
    ],
)
def test_the_separator_is_that_of_the_first_cell_with_several_urls(cell: str, separator: str) -> None:
    catalogue = read(HEADER + f"1,Lamp,{URL}\n2,Chair,{cell}\n")
    assert catalogue.separator == ","
    assert len(list(catalogue)) == 2
    assert catalogue.separator == separator


def test_later_cells_do_not_change_the_separator() -> None:
    catalogue = read(HEADER + f"1,Lamp,{URL}|{OTHER_URL}\n2,Chair,{URL} {OTHER_URL}\n")
    assert [catalogue.separator for _ in catalogue] == ["|", "|"]


def test_an_unquoted_list_is_separated_by_the_delimiter() -> None:
    catalogue = read(HEADER.replace(",", ";") + f"1;Lamp;{URL};{OTHER_URL}\n")
    assert [catalogue.separator for _ in catalogue] == [";"]


# URLs that cannot be tried


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://a/",
        "HTTPS://Shop.Example:65535/A.JPG",
        "https://shop.example",
        "https://shop.example?id=1",
        "https://bücher.example/böse bilder.jpg",
        "https://127.0.0.1:8000/x",
        "http://[2001:db8::1]:8080/x",
        "https://user.example/@name/a.jpg",
        "https://a.example/" + "x" * 2030,
    ],
)
def test_a_url_that_can_be_tried_has_no_problem(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://H.example/a", "h.example"),
        ("https://h.example:443/a", "h.example"),
        ("http://h.example:80/a", "h.example"),
        ("HTTP://user@H.example:80?a", "h.example"),
        ("https://[::1]:443/a", "[::1]"),
        ("http://[::80]/a", "[::80]"),
        ("https://h.example:80/a", "h.example:80"),
        ("http://h.example:443/a", "h.example:443"),
        ("http://h.example:8080/a", "h.example:8080"),
        ("http://h.example:10443/a", "h.example:10443"),
        ("a.jpg", ""),
        ("http://[/", ""),
    ],
)
def test_a_host_has_a_port_unless_it_is_the_one_of_the_scheme(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ("https://a.example/" + "x" * 2031, "longer than 2,048 characters"),
        ("https://a.example/x\x07.jpg", "control character"),
        ("https://a.example/x\n.jpg", "control character"),
        ("https://a.example/x\x85.jpg", "control character"),
        ("foo.jpg", "does not start with http"),
        ("foo.jpg, bar.jpg", "does not start with http"),
        ("//cdn.example/a.jpg", "does not start with http"),
        ("https:/a.example/b.jpg", "does not start with http"),
        ("ftp://a.example/b.jpg", "does not start with http"),
        ("file:///etc/passwd", "does not start with http"),
        ("data:image/png;base64,AAAA", "does not start with http"),
        ("https://", "has no host"),
        ("https:///a.jpg", "has no host"),
        ("https://:80/a.jpg", "has no host"),
        ("https://?a.jpg", "has no host"),
        ("https://a.example:65536/b.jpg", "invalid host or port"),
        ("https://a.example:b/c.jpg", "invalid host or port"),
        ("https://[::1/a.jpg", "invalid host or port"),
        ("https://a example/b.jpg", "invalid host or port"),
        ("https://a.example\\b.jpg", "invalid host or port"),
        ("https://joe@a.example/b.jpg", "user name or password"),
        ("https://joe:secret@a.example/b.jpg", "user name or password"),
    ],
)
def test_a_url_that_cannot_be_tried_has_a_reason(url: str, reason: str) -> None:
    problem = url_problem(url)
    assert problem is not None
    assert reason in problem
    assert problem.endswith(".")


def test_a_row_of_more_than_a_thousand_urls_is_a_warning() -> None:
    urls = "|".join(f"https://cdn.example/{number}.jpg" for number in range(1001))
    report = preview(Catalogue(io.BytesIO(make_csv((1, "Lamp", urls), (2, "Chair", urls)))))
    assert [(warning.code, warning.line) for warning in report.warnings] == [
        ("many_urls", 2),
        ("many_urls", 3),
    ]
    assert [row.number for row in report.first_rows] == [1]


def test_a_header_with_too_many_columns_is_refused_before_its_names_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(*_arguments: object) -> None:
        raise AssertionError("Names were compared.")

    monkeypatch.setattr("products.catalogue.reading.find_columns", find)
    with pytest.raises(CatalogueError) as refused:
        Catalogue(io.BytesIO(",".join(f"c{n}" for n in range(100_000)).encode()))
    assert refused.value.problems[0].code == "too_many_columns"


def test_hosts_of_a_preview_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.catalogue.inspection.MAX_HOSTS", 2)
    rows = [(n, "Lamp", f"https://h{n % 5}.example/{n}.jpg") for n in range(20)]
    assert preview(Catalogue(io.BytesIO(make_csv(*rows)))).hosts == {"h0.example": 4, "h1.example": 4}
