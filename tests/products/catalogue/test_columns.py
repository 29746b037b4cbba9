"""Columns are found by the rank of their names, or as the caller names them."""

import pytest

from products.catalogue import CatalogueError, ColumnNames, Columns
from products.catalogue.columns import find_columns


def names_of(header: str, names: ColumnNames | None = None) -> tuple[ColumnNames, list[str]]:
    """Return the columns found, and the unused ones."""
    cells = header.split(",")
    columns = find_columns(cells, 1, names)
    return columns.names(cells), [cells[index] for index in columns.unused]


def refusal_of(header: str, names: ColumnNames | None = None) -> str:
    with pytest.raises(CatalogueError) as refusal:
        names_of(header, names)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("header", "serial"),
    [
        ("ID,SKU,Name,Images", "SKU"),
        ("SKU,ID,Name,Images", "SKU"),
        ("SKU,Product ID,Name,Images", "Product ID"),
        ("Reference,Product ID,Name,Images", "Product ID"),
        ("SKU,Handle,Name,Images", "Handle"),
        ("Handle,Sr No,Name,Images", "Sr No"),
        ("Serial Number,Sr No,Name,Images", "Serial Number"),
    ],
)
def test_of_several_serial_numbers_the_best_is_taken_and_the_others_are_reported(
    header: str, serial: str
) -> None:
    names, unused = names_of(header)
    assert names["serial"] == serial
    assert unused == [name for name in header.split(",")[:2] if name != serial]


@pytest.mark.parametrize(
    ("header", "images", "unused"),
    [
        ("id,name,image_url,image_url_2,image_url10", ["image_url", "image_url_2", "image_url10"], []),
        (
            "id,name,Product Image URL - 1,Product Image URL - 2",
            ["Product Image URL - 1", "Product Image URL - 2"],
            [],
        ),
        ("id,name,additional_image_link,image_link", ["additional_image_link", "image_link"], []),
        ("id,name,additional_images,base_image", ["additional_images", "base_image"], []),
        ("id,name,image_url,Images", ["Images"], ["image_url"]),
        ("id,name,Image Urls,image_url_1", ["Image Urls"], ["image_url_1"]),
        ("id,name,Image Src,Variant Image,Image Alt Text", ["Image Src", "Variant Image"], []),
        ("id,name,base_image,swatch_image", ["base_image", "swatch_image"], []),
        (
            "id,title,image_link,additional_image_link,additional_image_link",
            ["image_link", "additional_image_link", "additional_image_link"],
            [],
        ),
        ("id,name,base_image,base_image_label", ["base_image"], []),
    ],
)
def test_pictures_are_read_from_all_columns_of_the_best_family(
    header: str, images: list[str], unused: list[str]
) -> None:
    names, others = names_of(header)
    assert (names["images"], others) == (images, unused)


def test_numbers_make_families_of_pictures_only() -> None:
    names, _unused = names_of("ID 2,Name,Images")
    assert names["serial"] == ""


def test_what_the_caller_names_wins_and_the_rest_is_guessed() -> None:
    names, unused = names_of("SKU,Name,Images,ean,Foto", {"serial": "EAN", "images": ["foto"]})
    assert names == {"serial": "ean", "name": "Name", "images": ["Foto"]}
    assert unused == []


def test_columns_named_by_the_caller_are_read_in_the_order_of_the_file() -> None:
    columns = find_columns(["a", "b", "c", "d"], 1, {"serial": "d", "name": "d", "images": ["c", "a", "C"]})
    assert columns == Columns(serial=3, name=3, images=(0, 2))


def test_a_column_that_is_named_but_not_there_is_reported() -> None:
    sentence = refusal_of("SKU,Name,Images", {"images": ["Images", "Photo"]})
    assert sentence == "Missing columns: “Photo”. Found in the file: “SKU”, “Name”, “Images”."


@pytest.mark.parametrize("header", ["sku,SKU,Name,Images", "ID,Name,name:,Images"])
def test_two_columns_of_the_same_name_are_refused_where_one_would_be_read(header: str) -> None:
    assert "Two columns have the same name" in refusal_of(header)


@pytest.mark.parametrize(
    "header",
    [
        *("SKU,Name,Images,Note,note:", "#,#,SKU,Name,Images", "SKU,Name,Images,Price €,Price $"),
        *("SKU,Name,Images,Tag,Tag", "SKU,Name,Images,Discount,Discount %"),
    ],
)
def test_two_columns_of_the_same_name_that_are_not_read_do_not_matter(header: str) -> None:
    for given in (None, ColumnNames(serial="SKU", name="Name", images=["Images"])):
        names, _unused = names_of(header, given)
        assert names == {"serial": "SKU", "name": "Name", "images": ["Images"]}


@pytest.mark.parametrize(
    "header",
    [
        *("SKU,Name,Image", "SKU,Name,Image 1,Image 2", "SKU,Name,Photo", "SKU,Name,Picture URL"),
        *(
            "SKU,Name,Main image",
            "Artikelnummer,Bezeichnung,Bild 1,Bild 2",
            "Art.-Nr.;Produktname;Produktbild",
        ),
        *("Référence,Nom du produit,URL de l'image", "UGS,Nom,Images", "Referencia,Nombre,Imagen"),
        *(
            "Código,Título,URL imagen",
            "Codice articolo,Nome prodotto,Immagine",
            "Artikelcode,Naam,Afbeelding",
        ),
        *("Kod produktu,Nazwa,Zdjęcie 1,Zdjęcie 2", "Indeks,Nazwa produktu,Link do zdjęcia"),
        "item_sku,item_name,main_image_url,other_image_url1,other_image_url2",
        "handleId,name,productImageUrl",
        "SKU,Title,Hosted Image URLs",
        "Custom label (SKU),Title,Item photo URL",
        "SKU,TITLE,IMAGE1,IMAGE2",
        "Internal Reference,Name,Image",
        "model,name,image,additional_image",
    ],
)
def test_columns_of_shops_and_languages_are_known(header: str) -> None:
    cells = header.split(";" if ";" in header else ",")
    columns = find_columns(cells, 1)
    assert (columns.serial, columns.name, columns.images) == (0, 1, tuple(range(2, len(cells))))


def test_names_made_of_signs_alone_can_be_told_apart() -> None:
    names, _unused = names_of("#,*,Name,Images", {"serial": "#"})
    assert names["serial"] == "#"
