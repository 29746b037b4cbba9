"""Finds the columns for serial number, product name and pictures by their names in the header."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypedDict

from products.catalogue.problems import CatalogueError, list_names, refusal

# Known names of each column, best first; case, punctuation and spaces are ignored. Names in one tuple are a
# group: pictures are read from all columns of the best group, and from columns with a number appended.
ALIASES: dict[str, list[tuple[str, ...]]] = {
    "serial": [
        *(("Serial Number",), ("S. No.",), ("Sr No",)),
        *(("Handle",), ("URL Handle",), ("handleId",), ("Product ID",), ("SKU",), ("ID",), ("Reference",)),
        # Amazon, eBay, Etsy, Odoo, OpenCart, Squarespace
        *(
            ("item_sku",),
            ("seller-sku",),
            ("Custom label (SKU)",),
            ("Custom label",),
            ("Internal Reference",),
        ),
        *(("Variant SKU",), ("Product SKU",), ("Listing ID",), ("Item ID",), ("Item number",), ("Model",)),
        *(("Article number",), ("Item no",), ("Part number",), ("Product code",), ("Product number",)),
        *(("Item code",), ("Article",), ("Style number",), ("Code",)),
        *(("Artikelnummer",), ("Artikel-Nr.",), ("Art.-Nr.",), ("Bestellnummer",), ("Produktnummer",)),
        *(("Référence",), ("Réf.",), ("Code article",), ("Référence produit",), ("UGS",)),
        *(("Referencia",), ("Código",), ("Código de producto",), ("Código de artículo",)),
        *(("Codice",), ("Codice articolo",), ("Codice prodotto",), ("Riferimento",)),
        *(("Artikelcode",), ("Productcode",), ("Productnummer",), ("Artikelnr",), ("Referentie",)),
        *(("Kod produktu",), ("Numer katalogowy",), ("Indeks",), ("Symbol",), ("Kod",)),
        *(("EAN",), ("GTIN",), ("UPC",), ("Barcode",), ("ASIN",)),
    ],
    "name": [
        *(("Product Name",), ("Title",), ("Name",), ("item_name",), ("Item name",), ("Product title",)),
        *(("Item title",), ("Product",)),
        *(("Produktname",), ("Artikelname",), ("Bezeichnung",), ("Artikelbezeichnung",), ("Titel",)),
        *(("Nom du produit",), ("Nom",), ("Titre",), ("Désignation",), ("Libellé",), ("Nom de l'article",)),
        *(("Nombre del producto",), ("Nombre",), ("Título",), ("Nombre del artículo",)),
        *(("Nome prodotto",), ("Nome del prodotto",), ("Nome",), ("Titolo",), ("Denominazione",)),
        *(("Productnaam",), ("Naam",), ("Artikelnaam",), ("Omschrijving",)),
        *(("Nazwa produktu",), ("Nazwa",), ("Tytuł",)),
    ],
    "images": [
        *(("Input Image Urls",), ("Image Urls",), ("Image Src", "Variant Image"), ("Product Image URL",)),
        *(("Images",),),
        # Magento; OpenCart has the first picture in `image_name`
        (
            *("base_image", "small_image", "thumbnail_image", "swatch_image", "additional_images"),
            "image_name",
        ),
        ("Image URLs (x,y,z...)",),
        ("image_link", "additional_image_link"),
        ("image_url",),
        # Amazon, Wix, Squarespace, eBay
        ("main_image_url", "other_image_url", "swatch_image_url", "other_image_location"),
        ("productImageUrl",),
        ("Hosted Image URLs",),
        ("PicURL", "Item photo URL", "Picture URL", "Gallery URL"),
        # Etsy, Odoo, OpenCart and everybody else
        (
            *("Image", "Main image", "Additional image", "Additional images", "Product image"),
            *("Product images", "Extra images", "Gallery", "Gallery images", "image_1920", "product_image"),
            *("Image link", "Image links", "Featured image", "Cover image", "Primary image", "Img"),
            *("Main image link", "Additional image url", "Additional image urls", "Image file"),
            *("Photo", "Photos", "Photo URL", "Photo URLs", "Photo link", "Product photo", "Main photo"),
            *("Picture", "Pictures", "Picture URLs", "Main picture", "Picture link", "Product picture"),
            *("Bild", "Bilder", "Bild-URL", "Bild-URLs", "Bildlink", "Bildadresse", "Hauptbild"),
            *("Produktbild", "Produktbilder", "Artikelbild", "Artikelbilder", "Weitere Bilder"),
            *("Foto", "Fotos", "Foto-URL", "Zusatzbild", "Zusatzbilder"),
            *("Image du produit", "Images du produit", "URL de l'image", "URL image", "URL des images"),
            *("URLs des images", "Lien image", "Lien de l'image", "Image principale", "Photo produit"),
            *("Images supplémentaires", "Visuel", "Visuels"),
            *("Imagen", "Imágenes", "Imagen principal", "URL imagen", "URL de imagen", "URL de la imagen"),
            *(
                "URL imágenes",
                "URLs de imágenes",
                "Imagen del producto",
                "Imágenes del producto",
                "Enlace de imagen",
            ),
            *("Imágenes adicionales", "Fotografía"),
            *("Immagine", "Immagini", "Immagine principale", "URL immagine", "URL immagini"),
            *("Immagine prodotto", "Immagini prodotto", "Link immagine", "Immagini aggiuntive"),
            *("Afbeelding", "Afbeeldingen", "Afbeelding URL", "Afbeeldings-URL", "URL afbeelding"),
            *("Hoofdafbeelding", "Productafbeelding", "Productafbeeldingen", "Extra afbeeldingen"),
            *("Zdjęcie", "Zdjęcia", "Zdjęcie główne", "URL zdjęcia", "Link do zdjęcia", "Zdjęcie produktu"),
            *("Zdjęcia produktu", "Obraz", "Obrazek", "Obrazy", "Obrazki", "Adres zdjęcia"),
        ),
    ],
}

# Of the names of serial numbers and products, those so far up that a column with one is missed if another
# one is read.
_REPORTED = {"serial": 10, "name": 3, "images": len(ALIASES["images"])}

# Columns that a result adds after those of its input. They are replaced when a result is uploaded again.
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]
# Those of renditions follow the first of them, and may be numbered.
_RENDITION_COLUMN = re.compile(r"Output Image Urls \([a-z0-9_-]{1,20}\)( \d++)?", re.IGNORECASE)

_PUNCTUATION = re.compile(r"[\W_]+")
_NUMBER = re.compile(r" ?(?<!\d)\d++$")
_COPY = re.compile(r" (?<!\d)\d++$")
#: Longer names are compared as they are: normalising takes time with the square of their combining marks.
MAX_NORMALISED_CHARS = 1000


class ColumnNames(TypedDict, total=False):
    """Columns by their names in the header, as given by a caller and shown in a preview."""

    serial: str
    name: str
    images: list[str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of the columns that are read. There may be none for serial number and name.

    `unused` are further columns with a known name, passed over for a better one. `guessed` are those that
    were found by their content.
    """

    serial: int | None
    name: int | None
    images: tuple[int, ...]
    unused: tuple[int, ...] = ()
    guessed: tuple[int, ...] = ()

    def names(self, header: list[str]) -> ColumnNames:
        """Return the names of the columns that are read, "" where there is none."""
        serial, name = ("" if at is None else header[at].strip() for at in (self.serial, self.name))
        return {"serial": serial, "name": name, "images": [header[index].strip() for index in self.images]}


def find_columns(header: list[str], line: int, names: ColumnNames | None = None) -> Columns:
    """Return the columns given by `names`; for those not given, the ones with the best known name.

    Columns without a known name are left out, pictures too. `line` is the line of the header, for errors.
    Raises CatalogueError if a given column is missing, or two columns have the name that is read as the
    serial number or as the product name.
    """
    names = names or {}
    given = {
        "serial": [names.get("serial", "")],
        "name": [names.get("name", "")],
        "images": names.get("images", []),
    }
    positions = _positions(header)
    found: dict[str, list[int]] = {}
    unused: set[int] = set()
    for role, wanted in given.items():
        if any(wanted):
            if unknown := [name for name in wanted if normalise(name) not in positions]:
                raise missing_columns(unknown, header, line)
            found[role] = [index for name in wanted for index in positions[normalise(name)]]
        else:
            groups = _known_groups(role, positions)
            found[role] = groups[min(groups)] if groups else []
            unused.update(*(group for rank, group in groups.items() if rank < _REPORTED[role]))
        if role != "images" and len(found[role]) > 1:
            raise _duplicate(found[role], header, line)
    unused.difference_update(*found.values())
    serial, name = (found[role][0] if found[role] else None for role in ("serial", "name"))
    return Columns(serial, name, tuple(sorted(set(found["images"]))), tuple(sorted(unused)))


def known_roles(cells: list[str]) -> int:
    """Return how many of serial number, name and pictures have a known name among the cells of a row."""
    positions = _positions(cells)
    return sum(bool(_known_groups(role, positions)) for role in ALIASES)


def is_picture_name(name: str) -> bool:
    """Return whether this is a known name of a picture column."""
    return bool(_known_groups("images", _positions([name])))


def input_columns(header: list[str]) -> int:
    """Return the number of columns without those that an earlier result has added at the end.

    These are RESULT_COLUMNS, with those of renditions, and may be numbered.
    """
    start = max(0, len(header) - len(RESULT_COLUMNS) + 1)
    while start and _RENDITION_COLUMN.fullmatch(header[start - 1].strip()):
        start -= 1
    ending = [*header[start - 1 : start], *header[1 - len(RESULT_COLUMNS) :]] if start else []
    is_result = [_COPY.sub("", normalise(name)) for name in ending] == list(map(normalise, RESULT_COLUMNS))
    return start - 1 if is_result else len(header)


def result_columns(header: list[str], renditions: Sequence[str] = ()) -> list[str]:
    """Return the names of the columns that a result adds: numbered where the header has such a name."""
    taken = set(map(normalise, header))
    names = []
    first, *others = RESULT_COLUMNS
    for name in (first, *(f"{first} ({rendition})" for rendition in renditions), *others):
        number, free = 2, name
        while normalise(free) in taken:
            free, number = f"{name} {number}", number + 1
        names.append(free)
    return names


def normalise(name: str) -> str:
    """Return a column name in the form in which names are compared."""
    if len(name) > MAX_NORMALISED_CHARS:
        return name.strip()
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip() or name.strip()


def hash_of_header(header: list[str]) -> str:
    """Return a SHA-256 that headers share if they have the same column names, normalised and in any order.

    Columns of an earlier result are not counted.
    """
    names = header[: input_columns(header)]
    return sha256(json.dumps(sorted(map(normalise, names))).encode()).hexdigest()


def missing_columns(names: list[str], header: list[str], line: int) -> CatalogueError:
    """Return the error for columns, by name, that the header does not have."""
    detail = f"Missing columns: {list_names(names)}. Found in the file: {list_names(header)}."
    return refusal("missing_column", detail, line)


def _positions(header: list[str]) -> dict[str, list[int]]:
    """Return the indices of each normalised name, without empty ones."""
    positions: dict[str, list[int]] = {}
    for index, name in enumerate(header):
        if key := normalise(name):
            positions.setdefault(key, []).append(index)
    return positions


def _known_groups(role: str, positions: dict[str, list[int]]) -> dict[int, list[int]]:
    """Return the columns with a known name for this role, by the rank of their group."""
    groups: dict[int, list[int]] = {}
    ranks = _RANKS[role]
    for key, indices in positions.items():
        rank = ranks.get(key)
        if rank is None and role == "images" and len(key) <= MAX_NORMALISED_CHARS:
            rank = ranks.get(_NUMBER.sub("", key))
        if rank is not None:
            groups.setdefault(rank, []).extend(indices)
    return groups


def _duplicate(indices: list[int], header: list[str], line: int) -> CatalogueError:
    names = list_names([header[index] for index in indices[:2]])
    return refusal("duplicate_column", f"Two columns have the same name: {names}.", line, indices[1] + 1)


_RANKS = {
    role: {normalise(name): rank for rank, group in reversed([*enumerate(groups)]) for name in group}
    for role, groups in ALIASES.items()
}


def no_picture_column(header: list[str], line: int) -> CatalogueError:
    """Return the error for a header of which no column is known, or seen by its content, to have pictures."""
    detail = f"No column with picture URLs was found. The file has {list_names(header)}."
    return refusal("missing_column", detail, line)
