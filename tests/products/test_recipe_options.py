"""The options that say what is made of pictures: form, API and command refuse the same."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from products import lifecycle
from products.api.options import SubmissionSerializer
from products.models import Request
from tests.support.factories import HEADER, URL, make_csv, make_workbook, upload

pytestmark = pytest.mark.django_db

SIDE = "Use a whole number from 1 to 65,535."
QUALITY = "Use a whole number from 1 to 95, or auto."
COLOUR = "Use a colour as #rrggbb, such as #ffffff for white."
BOTH = "Use either width and height, or max_width and max_height."
WRONG: list[tuple[dict[str, str], str, str]] = [
    *(
        ({option: value}, option, SIDE)
        for option in ("width", "height", "max_width", "max_height", "min_width", "min_height")
        for value in ("0", "65536", "-1", "1.5", "wide", "9" * 2000)
    ),
    *(
        ({"quality": value}, "quality", QUALITY)
        for value in ("0", "96", "-5", "1.5", "best", "Auto", "9" * 2000)
    ),
    ({"effort": "most"}, "effort", "Use one of fast, balanced, smallest."),
    ({"format": "gif"}, "format", "Use one of jpeg, webp, avif, original."),
    ({"names": "url"}, "names", "Use one of hash, source."),
    ({"fit": "fill"}, "fit", "Use one of inside, pad, cover."),
    *(({"background": value}, "background", COLOUR) for value in ("white", "#fff", "#gggggg", "#ffffff00")),
    ({"width": "10", "max_width": "20"}, "width", BOTH),
    ({"height": "10", "max_width": "20"}, "height", BOTH),
    ({"fit": "pad"}, "fit", "pad needs both width and height."),
    ({"fit": "cover", "width": "10"}, "fit", "cover needs both width and height."),
    ({"fit": "pad", "max_width": "10", "max_height": "10"}, "fit", "pad needs both width and height."),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused_with_one_sentence_everywhere(
    api: Client, client: Client, ann: User, wrong: tuple[dict[str, str], str, str], tmp_path: Path
) -> None:
    options, option, sentence = wrong
    answer = upload(api, make_csv(), **options)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == (option, sentence)

    client.force_login(ann)
    answer = client.post("/", {"quality": "50", "format": "jpeg", "step": "start", **options})
    assert answer.context["form"].errors[option] == [sentence]

    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}={value}",)]
    with pytest.raises(CommandError) as caught:
        call_command("extract", str(catalogue), *arguments)
    assert str(caught.value).endswith(f"argument --{option.replace('_', '-')}: {sentence}")
    assert not Request.objects.exists()


@pytest.mark.parametrize("option", ["trim", "strict", "force"])
def test_what_is_neither_yes_nor_no_is_refused(api: Client, client: Client, ann: User, option: str) -> None:
    answer = upload(api, make_csv(), **{option: "perhaps"})
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == (option, "Use true or false.")
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "start"}
    for value, accepted in (("perhaps", None), ("0", False), ("false", False), ("1", True), ("on", True)):
        file = SimpleUploadedFile("a.csv", make_csv())
        answer = client.post("/", {"file": file, **form, option: value})
        if accepted is None:
            assert answer.context["form"].errors[option] == ["Use true or false."]
        else:
            assert getattr(Request.objects.order_by("-created_at")[0], option) is accepted


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("encoding", "klingon"),
        ("encoding", "utf-7"),
        ("base_url", "/p"),
        ("base_url", "ftp://shop.example/"),
        ("base_url", "shop"),
        ("columns", "{"),
        ("columns", '{"serial": [1]}'),
        ("columns", '{"price": "Price"}'),
        ("columns", '{"images": []}'),
        ("columns", '{"image": []}'),
    ],
)
def test_wrong_options_for_reading_are_refused_with_one_sentence_everywhere(
    api: Client, client: Client, ann: User, option: str, value: str
) -> None:
    answer = upload(api, make_csv(), **{option: value})
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["attr"].partition(".")[0] == option
    with pytest.raises(CommandError) as caught:
        call_command("extract", "catalogue.csv", f"--{option.replace('_', '-')}={value}")
    assert f"argument --{option.replace('_', '-')}: " in str(caught.value)
    assert error["detail"] in str(caught.value)
    if option != "columns":  # whose names are chosen from those of the file
        client.force_login(ann)
        page = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv")).get_absolute_url()
        assert client.post(page, {option: value}).context["form"].errors[option] == [error["detail"]]


def test_options_are_kept_and_answered(api: Client, client: Client, ann: User) -> None:
    given: dict[str, Any] = {
        **{"width": 300, "height": 200, "fit": "pad", "background": "#AABBCC", "trim": "true"},
        **{"min_width": 100, "min_height": 50, "quality": "auto", "effort": "smallest"},
    }
    options = upload(api, make_csv(), **given).json()["options"]
    expected = {**given, "background": "#aabbcc", "trim": True, "max_width": None, "max_height": None}
    assert options.items() >= expected.items()

    client.force_login(ann)
    form = {"format": "jpeg", "step": "start", **given, "trim": "on"}
    response = client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    batch = Request.objects.order_by("-created_at")[0]
    assert response["Location"] == batch.get_absolute_url()
    assert batch.recipe_options.items() >= expected.items()
    page = client.get(batch.get_absolute_url()).content.decode()
    assert "Quality auto" in page
    assert "Width 300" in page
    assert "Smallest files" in page


def test_options_that_are_not_given_have_their_defaults(api: Client) -> None:
    for given in ({}, {"width": "", "background": "", "min_height": ""}):
        options = upload(api, make_csv(), **given).json()["options"]
        assert (
            options.items()
            >= {
                **dict.fromkeys(("width", "height", "background", "min_width", "min_height")),
                **{"fit": "inside", "trim": False, "quality": 50, "effort": "balanced"},
            }.items()
        )


def test_a_repeat_is_checked_together_with_the_options_that_it_keeps(api: Client) -> None:
    pk = upload(api, make_csv(), max_width=800).json()["id"]
    answer = api.post(f"/api/requests/{pk}/repeat/", {"width": 300}, content_type="application/json")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == ("width", BOTH)
    given = {"width": 300, "max_width": None}
    answer = api.post(f"/api/requests/{pk}/repeat/", given, content_type="application/json")
    assert answer.status_code == 201
    assert answer.json()["options"].items() >= given.items()


@pytest.mark.parametrize("sheet", ["Prices", "9"])
def test_a_sheet_that_is_not_in_the_workbook_is_refused_with_one_sentence_everywhere(
    api: Client, ann: User, sheet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_workbook(HEADER, (1, "Chair", URL))
    answer = upload(api, data, "a.xlsx", sheet=sheet)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (400, "unknown_sheet")
    assert f"“{sheet}”" in error["detail"] and "“Notes”" in error["detail"]  # and what is accepted
    path = tmp_path / "a.xlsx"
    path.write_bytes(data)
    with pytest.raises(SystemExit):
        call_command("extract", str(path), f"--sheet={sheet}")
    assert error["detail"] in capsys.readouterr().err
    page = lifecycle.keep_draft(ann, ContentFile(data, "a.xlsx")).get_absolute_url()
    form = {"quality": "50", "format": "jpeg", "images": HEADER[2], "step": "start", "sheet": sheet}
    answer = api.post(page, form)
    assert (answer.status_code, answer.context["problems"]) == (400, [error["detail"]])
    assert not Request.objects.exists()


def test_the_url_of_a_webhook_is_refused_by_its_name(api: Client) -> None:
    """It is an option of the API alone."""
    for url, sentence in (("shop", "does not start with http"), ("http://10.0.0.1/", "public addresses")):
        (error,) = upload(api, make_csv(), webhook_url=url).json()["errors"]
        assert error["attr"] == "webhook_url" and sentence in error["detail"]


def test_no_option_is_left_out_of_these_tests() -> None:
    tested = {option for _, option, _ in WRONG} | {"trim", "strict", "force"}
    tested |= {"encoding", "base_url", "columns", "sheet", "webhook_url"}
    elsewhere = {"renditions", "profile"}  # test_rendition_options.py, test_profiles.py
    assert {*SubmissionSerializer().fields} - {"file"} == tested | elsewhere
