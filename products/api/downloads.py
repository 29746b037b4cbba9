"""The query strings of downloads."""

from typing import Any, cast

from rest_framework import serializers

from products.api.options import KnownFieldsMixin
from products.models import Request


class ResultQuerySerializer(serializers.Serializer[Request]):
    """The form in which a result is downloaded."""

    only = serializers.ChoiceField(
        ["failed"], required=False, help_text="`failed`: only rows with failed pictures."
    )
    style = serializers.ChoiceField(  # type: ignore[assignment]  # the contract's name, also DRF's
        ["replace", "changes"],
        required=False,
        help_text="`replace`: the new URLs replace the old ones in their cells; no columns are added. "
        "`changes`: a list of pictures that compares this request with an earlier one.",
    )
    against = serializers.UUIDField(
        required=False,
        help_text="Id of the request to compare with, for `changes`. By default the latest earlier request "
        "of the same owner with the same file name and columns.",
    )
    run = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="For `changes`: the request as it was at the end of this run. By default as it is now.",
    )
    against_run = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="For `changes`: compare with an earlier run of this request, not with another request.",
    )
    excel = serializers.BooleanField(
        required=False, help_text="Add a byte order mark and keep cells from being read as formulas."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check that options for `changes` are given with it, and that the two runs exist, in their order."""
        batch = cast(Request, self.context["batch"])
        only_for_changes = attrs.keys() & {"against", "run", "against_run"}
        if only_for_changes and attrs.get("style") != "changes":
            detail = "This option needs style=changes."
            raise serializers.ValidationError(
                dict.fromkeys(sorted(only_for_changes), detail), "unknown_option"
            )
        run, against_run = attrs.get("run", batch.run), attrs.get("against_run")
        if run > batch.run:
            runs = "1 run" if batch.run == 1 else f"{batch.run:,} runs"
            raise serializers.ValidationError({"run": f"The request has {runs}."}, "invalid")
        if against_run and against_run >= run:
            detail = f"This is not earlier than run {run}."
            raise serializers.ValidationError({"against_run": detail}, "invalid")
        if against_run and "against" in attrs:
            detail = "Give either against or against_run."
            raise serializers.ValidationError({"against": detail}, "invalid")
        return attrs


class WorkbookResultQuerySerializer(KnownFieldsMixin, serializers.Serializer[Request]):
    """The form in which the result of a workbook is downloaded."""

    style = serializers.ChoiceField(  # type: ignore[assignment]  # the contract's name, also DRF's
        ["replace"],
        required=False,
        help_text="`replace`: the new URLs replace the old ones in their cells; no columns are added.",
    )
