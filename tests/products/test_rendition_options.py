"""Renditions as an option: what is accepted, what is refused, and what they inherit."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from products.models import Request
from products.models.recipes import outputs_of, parse_renditions
from tests.support.factories import make_csv, upload

pytestmark = pytest.mark.django_db

NAME = "Use 1 to 20 characters of a-z, 0-9, _ and -."
SIDE = "Use a whole number from 1 to 65,535."
ONE_OF = "Use one of name, quality, format, max_width, max_height, width, height, fit, background, effort."
WRONG: list[tuple[Any, str]] = [
    ("{", "This is not valid JSON."),
    ('{"name": "thumb"}', 'Use a JSON list of objects, such as [{"name": "thumb", "width": 200}].'),
    ("[1]", 'Use a JSON list of objects, such as [{"name": "thumb", "width": 200}].'),
    ([{"name": str(n)} for n in range(9)], "There are 9 renditions. At most 8 are possible."),
    ([{"width": 5}], f"Rendition 1, name: {NAME}"),
    ([{"name": "a"}, {"name": "Big"}], f"Rendition 2, name: {NAME}"),
    ([{"name": "x" * 21}], f"Rendition 1, name: {NAME}"),
    ([{"name": "a"}, {"name": "a"}], "Rendition 2, name: Another rendition has this name."),
    ([{"name": "a", "width": 0}], f'Rendition "a", width: {SIDE}'),
    ([{"name": "a", "height": "5"}], f'Rendition "a", height: {SIDE}'),
    ([{"name": "a", "max_width": True}], f'Rendition "a", max_width: {SIDE}'),
    ([{"name": "a", "max_height": 65_536}], f'Rendition "a", max_height: {SIDE}'),
    ([{"name": "a", "quality": 96}], 'Rendition "a", quality: Use a whole number from 1 to 95, or auto.'),
    ([{"name": "a", "quality": "best"}], 'Rendition "a", quality: Use a whole number from 1 to 95, or auto.'),
    ([{"name": "a", "effort": "most"}], 'Rendition "a", effort: Use one of fast, balanced, smallest.'),
    ([{"name": "a", "format": "gif"}], 'Rendition "a", format: Use one of jpeg, webp, avif, original.'),
    ([{"name": "a", "fit": "fill"}], 'Rendition "a", fit: Use one of inside, pad, cover.'),
    (
        [{"name": "a", "background": "white"}],
        'Rendition "a", background: Use a colour as #rrggbb, such as #ffffff for white.',
    ),
    ([{"name": "a", "trim": True}], f'Rendition "a", trim: There is no such option. {ONE_OF}'),
    (
        [{"name": "a", **{f"x{number}": 1 for number in range(1000)}}],
        f'Rendition "a", x0: There is no such option. {ONE_OF}',
    ),
    ([{"name": "a", "fit": "pad"}], 'Rendition "a", fit: pad needs both width and height.'),
    (
        [{"name": "a", "width": 5, "max_height": 5}],
        'Rendition "a", width: Use either width and height, or max_width and max_height.',
    ),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_renditions_are_refused_with_one_sentence_everywhere(
    api: Client, client: Client, ann: User, wrong: tuple[Any, str], tmp_path: Path
) -> None:
    value, sentence = wrong
    text = value if isinstance(value, str) else json.dumps(value)
    answer = upload(api, make_csv(), renditions=text)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == ("renditions", sentence)

    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "start", "renditions": text}
    assert client.post("/", form).context["form"].errors["renditions"] == [sentence]

    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    with pytest.raises(CommandError) as caught:
        call_command("extract", str(catalogue), f"--renditions={text}")
    assert str(caught.value).endswith(f"argument --renditions: {sentence}")
    assert not Request.objects.exists()


def test_renditions_are_kept_and_answered_as_given(api: Client, client: Client, ann: User) -> None:
    given = [{"name": "thumb", "width": 200, "background": "#FFFFFF"}, {"name": "zoom-2_x", "quality": 90}]
    expected = [{**given[0], "background": "#ffffff"}, given[1]]
    answer = upload(api, make_csv(), renditions=json.dumps(given)).json()
    assert answer["options"]["renditions"] == expected

    again = api.post(
        f"/api/requests/{answer['id']}/repeat/", {"quality": 40}, content_type="application/json"
    )
    assert again.json()["options"]["renditions"] == expected
    none = api.post(
        f"/api/requests/{answer['id']}/repeat/", {"renditions": []}, content_type="application/json"
    )
    assert none.json()["options"]["renditions"] == []

    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "preview", "renditions": json.dumps(given)}
    preview = client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    page = client.get(preview["Location"])
    assert page.context["form"]["renditions"].value() == expected


def test_what_a_rendition_does_not_name_is_as_in_the_main_output() -> None:
    main = {
        "quality": "auto",
        "effort": "fast",
        "format": "webp",
        "width": 800,
        "height": 600,
        "fit": "cover",
        "background": None,
    }
    renditions = parse_renditions(
        [
            {"name": "same"},
            {"name": "small", "width": 200},
            {"name": "padded", "fit": "pad", "format": "jpeg", "quality": 60, "effort": "smallest"},
        ]
    )
    outputs = outputs_of({**main, "renditions": renditions})
    assert list(outputs) == ["", "same", "small", "padded"]
    assert outputs["same"] == outputs[""]
    box = {name: outputs["small"][name] for name in ("width", "height", "fit", "quality", "effort")}
    assert box == {"width": 200, "height": None, "fit": "inside", "quality": "auto", "effort": "fast"}
    padded = {"fit": "pad", "format": "jpeg", "quality": 60, "effort": "smallest"}
    assert outputs["padded"] == {**outputs[""], **padded}


def test_a_rendition_can_have_no_background_where_the_main_output_has_one() -> None:
    given = [{"name": "clear", "background": None, "width": None}, {"name": "same"}]
    renditions = parse_renditions(given)
    assert renditions == [{"name": "clear", "background": None}, {"name": "same"}]
    outputs = outputs_of({"background": "#ffffff", "width": 100, "renditions": renditions})
    assert [output["background"] for output in outputs.values()] == ["#ffffff", None, "#ffffff"]
    assert outputs["clear"]["width"] == 100
