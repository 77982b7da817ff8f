"""Units, at the places where they round and change."""

from __future__ import annotations

import pytest

from orchestrator.views import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"),
        (10 * 2**20, "10.0 MiB"), (100 * 2**20, "100 MiB"), (1024**3 - 1, "1.00 GiB"), (80 * 2**30, "80.0 GiB"),
        (2**60, "1048576 TiB"),
    ],
)  # fmt: skip
def test_bytes_have_three_digits_and_a_binary_unit(value: float | None, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (0.5, "0.5"), (12, "12"), (999, "999"), (999.9, "1.00k"), (1234.5, "1.23k"),
     (12345, "12.3k"), (999_600, "1.00M"), (1.4e6, "1.40M"), (2.5e9, "2.50G")],
)  # fmt: skip
def test_rates_have_a_letter_for_thousands(value: float | None, text: str) -> None:
    assert units.rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "cell", "words"),
    [
        (None, "-", "-"), (float("inf"), "-", "-"), (-1, "0s", "0 s"), (0, "0s", "0 s"), (59.4, "59s", "59 s"),
        (59.6, "1m00s", "1 min"), (60, "1m00s", "1 min"), (252, "4m12s", "4 min 12 s"), (3600, "1h00m", "1 h"),
        (7500, "2h05m", "2 h 5 min"), (86400, "1d00h", "1 d"), (273600, "3d04h", "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations_have_two_parts(seconds: float | None, cell: str, words: str) -> None:
    assert units.short_duration(seconds) == cell
    assert units.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (3.21456, "3.2146"), (float("nan"), "nan"), (float("inf"), "inf"), (12345.6, "1.23e+04")],
)
def test_a_loss_has_four_decimals_and_never_hides_that_it_is_no_number(value: float | None, text: str) -> None:
    assert units.loss(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(123_200, "123,200"), (6_738_415_616, "6.74 billion"), (1_000_000, "1.00 million"), (2e12, "2.00 trillion")],
)
def test_counts_are_words_from_a_million_on(value: float, text: str) -> None:
    assert units.count(value) == text


def test_a_hundred_percent_means_all_of_it() -> None:
    assert units.percent(599, 600) == "99 %"
    assert units.percent(600, 600) == "100 %"
    assert units.percent(1, 0) == "0 %"
