"""The number formats of a workbook.

Imported with the first workbook that is read: openpyxl takes a sixth of the time in which a process starts.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from products.catalogue.xlsx.values import text_of

_ZEROS = re.compile(r'(?:"([^"]*)")?(0+)(?:"([^"]*)")?')


class Formats:
    """The number formats of a workbook by the index of a cell's style.

    `codes` are the workbook's own formats by number, `used` the numbers of the styles' formats.
    """

    def __init__(self, codes: Mapping[int, str], used: Iterable[int], *, since_1904: bool) -> None:
        known = BUILTIN_FORMATS | codes
        self._codes = [known.get(number, "General") for number in used]
        self._epoch = CALENDAR_MAC_1904 if since_1904 else CALENDAR_WINDOWS_1900
        is_date, is_duration = lru_cache(is_date_format), lru_cache(is_timedelta_format)
        self._dates = [is_date(code) for code in self._codes]
        self._durations = [is_duration(code) for code in self._codes]
        self.text = lru_cache(maxsize=20_000)(self._text)

    def _text(self, value: str, style: str) -> str:
        """Return a number as Excel shows it, a date as in ISO 8601."""
        number = float(value)
        index = int(style) if style.isdecimal() else -1
        if 0 <= index < len(self._codes):
            if self._dates[index] or self._durations[index]:
                try:
                    return text_of(from_excel(number, self._epoch, timedelta=self._durations[index]))
                except (ValueError, OverflowError):
                    return text_of(number)
            if (zeros := _ZEROS.fullmatch(self._codes[index])) and number >= 0:
                return f"{zeros[1] or ''}{text_of(round(number)).zfill(len(zeros[2]))}{zeros[3] or ''}"
        return text_of(number)
