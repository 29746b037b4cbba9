"""Readable names: safe on every file system, unique with their hash, and always the same."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.test import Client

from processing.storage.names import readable_name
from processing.storage.outputs import store, stored_keys


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("chair.jpg", "chair"),
        ("a/b/Brass%20Table_Lamp.PNG?v=2#x", "brass-table-lamp"),
        ("chair", "chair"),
        ("chair.v2.jpeg", "chair-v2"),
        ("chair.2", "chair-2"),
        ("--chair--.jpg", "chair"),
        ("..%2F..%2Fetc%2Fpasswd", "etc-passwd"),
        ("C:%5CWindows%5Csystem32.dll", "c-windows-system32"),
        ("CON.jpg", "con-image"),
        ("nul", "nul-image"),
        ("Com1.png", "com1-image"),
        ("lpt9.webp", "lpt9-image"),
        ("console.jpg", "console"),
        (quote("Größe_Café.jpg"), "grosse-cafe"),
        (quote("Лампа.jpg"), "lampa"),
        (quote("椅子.jpg"), "yizi"),
        ("e%CC%81t%C3%A9.jpg", "ete"),
        ("%FF%FEx.jpg", "x"),
        ("a%00b.jpg", "a-b"),
        ("%2E.jpg", ""),
        (".jpg", ""),
        ("___.jpg", ""),
        ("a/b/", ""),
        ("", ""),
    ],
)
def test_the_name_is_that_of_the_source(path: str, name: str) -> None:
    assert readable_name(f"https://shop.example/{path}") == name


@pytest.mark.parametrize("letter", ["a", "é", "椅", "-", "😀", "́"])
def test_long_paths_give_short_safe_names(letter: str) -> None:
    for path in (letter * 4000, quote(letter * 4000), f"{'x/' * 2000}{letter * 90}.jpg"):
        name = readable_name(f"https://shop.example/{path}")
        assert re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,78}[a-z0-9])?)?", name)
        assert name == readable_name(f"https://shop.example/{path}")


def test_an_address_that_cannot_be_split_has_no_name() -> None:
    assert readable_name("https://[shop.example/chair.jpg") == ""


@pytest.mark.django_db
def test_the_same_picture_under_two_names_is_two_files_that_are_served(client: Client) -> None:
    plain, chair, lamp = (store(b"picture", "jpg", name) for name in ("", "chair", "lamp"))
    assert chair == f"{plain.removesuffix('.jpg')}/chair.jpg"
    assert len({plain, chair, lamp}) == 3
    assert {plain, chair, lamp} <= set(stored_keys(plain.rpartition("/")[0]))
    assert len(f"images/ab/{'0' * 40}/{'x' * 80}.webp") <= 200
    for key in (plain, chair, lamp):
        answer = client.get(f"/media/{key}")
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
        assert Path(settings.MEDIA_ROOT, key).is_file()
    assert client.get(f"/media/{chair.replace('chair', 'Chair')}").status_code == 404


def test_a_folder_of_a_name_goes_with_its_last_file() -> None:
    chair, lamp = store(b"a picture", "jpg", "chair"), store(b"a picture", "jpg", "lamp")
    folder = Path(settings.MEDIA_ROOT, chair).parent
    default_storage.delete(chair)
    assert folder.is_dir()
    default_storage.delete(lamp)
    assert not folder.exists()
    assert folder.parent.is_dir()
    assert stored_keys("images/zz") == []
