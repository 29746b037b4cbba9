"""Form, API and command line take the same options, and a Request keeps them."""

from dataclasses import fields

import pytest
from django.contrib import admin
from django.core.management import load_command_class

from processing.compress import OutputOptions, Recipe
from processing.work.known_pictures import known_picture_ids
from products.api.options import SubmissionSerializer
from products.catalogue import Reading
from products.models import Request
from products.pages.option_forms import OptionsForm
from products.pages.upload_forms import DraftForm, UploadForm

READING = set(Reading.__annotations__)
API = set(SubmissionSerializer().fields) - {"file"}
#: Taken by the API alone.
API_ONLY = {"webhook_url"}
OTHER_VALUES = {
    **{"quality": 77, "format": "webp", "max_width": 300, "max_height": 300, "width": 300, "height": 300},
    **{"fit": "cover", "background": "#123456", "trim": True, "names": "source", "effort": "fast"},
}


def test_forms_take_the_options_of_the_api() -> None:
    options = API - API_ONLY - READING
    assert set(OptionsForm.base_fields) == options - {"profile"}
    assert set(UploadForm.base_fields) == {"file", "urls", "url", *options, "shown_profile"}
    columns = {"serial", "name", "images"}
    assert set(DraftForm.base_fields) == {*options, *READING - {"columns"}, *columns, "shown_profile"}


def test_the_command_takes_the_options_of_the_api() -> None:
    parser = load_command_class("processing", "extract").create_parser("manage.py", "extract")
    assert set(vars(parser.parse_args(["catalogue.csv"]))) >= API - API_ONLY


def test_a_request_keeps_them_and_staff_see_them() -> None:
    assert {field.name for field in Request._meta.concrete_fields} >= API
    fieldsets = admin.site.get_model_admin(Request).fieldsets or []
    assert {name for _title, content in fieldsets for name in content["fields"]} >= API


def test_the_options_of_compression_are_those_of_a_request() -> None:
    assert {field.name for field in fields(Recipe)} <= API


@pytest.mark.parametrize("option", [*(field.name for field in fields(OutputOptions)), "trim", "names"])
def test_a_picture_is_only_known_for_the_same_outputs(option: str) -> None:
    plain, other = Request(owner_id=1), Request(owner_id=1, **{option: OTHER_VALUES[option]})
    urls = ["https://shop.example/lamp.jpg"]
    assert known_picture_ids(plain, urls).keys().isdisjoint(known_picture_ids(other, urls))
    assert known_picture_ids(plain, urls) == known_picture_ids(Request(owner_id=1), urls)


def test_a_picture_stays_known_as_it_was_before_there_were_efforts() -> None:
    assert Recipe().canonical == ("jpeg 50 NonexNone inside #ffffff",)
    assert Recipe(quality="auto", effort="smallest").canonical == (
        "jpeg auto NonexNone inside #ffffff smallest",
    )
