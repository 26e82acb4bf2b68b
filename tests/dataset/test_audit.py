"""The audit: numbers against an example worked by hand, each criterion failed once, a self-contained page."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gendeg_core.dataset import audit as audit_module
from gendeg_core.dataset.audit import audit, write_audit
from gendeg_core.dataset.audit_numbers import AuditLimits, AuditNumbers, Calibration
from gendeg_core.dataset.plan import PlanError
from tests.dataset.shard_samples import Sample, good_samples, write_data_set
from tests.dataset.stored import encoded

BY_HAND = [
    Sample("1.png", "haze", (0.10, 0.05), (0.11, 0.051)),
    Sample("1.png", "rain", (0.10, 0.05), (0.10, 0.050)),
    Sample("2.png", "haze", (0.10, 0.05), (0.09, 0.041)),
    Sample("3.png", "haze", (0.20, 0.05), (0.22, 0.051)),
    Sample("4.png", "haze", (0.20, 0.10), (0.20, 0.120), "structure: edges agree by 0.100, below 0.37"),
    Sample("5.png", "haze", (0.05, 0.05)),  # planned, not made
]


def failing(numbers: AuditNumbers) -> list[str]:
    return [check.name for check in numbers.checks if not check.passed]


def finding(numbers: AuditNumbers, name: str) -> str:
    return next(check.finding for check in numbers.checks if check.name == name)


# ------------------------------------------------------------------ numbers


def test_numbers_are_those_worked_by_hand(tmp_path: Path) -> None:
    numbers = audit(write_data_set(tmp_path / "set", BY_HAND))
    haze, rain = numbers.kinds["haze"], numbers.kinds["rain"]
    assert (haze.planned, haze.made, haze.accepted, dict(haze.reasons)) == (5, 4, 3, {"structure": 1})
    assert (rain.planned, rain.made, rain.accepted, dict(rain.reasons)) == (1, 1, 1, {})
    assert (numbers.missing, numbers.doubled, numbers.unknown) == (1, 0, 0)

    # Errors of mu: .01, -.01, .02, 0. From their means asked lies by -+.05, obtained by -.045, -.065, .065,
    # .045.
    assert haze.mu.mean_error == pytest.approx(0.01)
    assert haze.mu.bias == pytest.approx(0.005)
    assert haze.mu.correlation == pytest.approx(0.011 / math.sqrt(0.01 * 0.0125))
    # Errors of sigma: .001, -.009, .001, .02.
    assert haze.sigma.mean_error == pytest.approx(0.00775)
    assert haze.sigma.bias == pytest.approx(0.00325)

    # Bins of what was asked are 0.7 / 32 = 0.021875 wide: 0.10 lies in number 4, 0.20 in number 9.
    assert {n: c for n, c in enumerate(haze.mu.count) if c} == {4: 2, 9: 2}
    assert haze.mu.mean[[4, 9]] == pytest.approx([0.10, 0.21])
    assert haze.mu.asked_mean[[4, 9]] == pytest.approx([0.10, 0.20])
    assert haze.mu.spread[[4, 9]] == pytest.approx([0.01, 0.01])
    assert math.isnan(haze.mu.mean[0])

    # Published bins are 0.7 / 128 and 0.4 / 128 wide; the refused pair is not among them.
    cells = {(int(m), int(s)): int(haze.joint[m, s]) for m, s in np.argwhere(haze.joint)}
    assert cells == {(20, 16): 1, (16, 13): 1, (40, 16): 1}


def test_a_quantity_that_never_varies_has_no_correlation() -> None:
    calibration = Calibration(np.linspace(0, 0.7, 33))
    assert math.isnan(calibration.mean_error)
    for _ in range(50):
        calibration.add(np.array([0.1, 0.1]), np.array([0.1, 0.2]))
    assert math.isnan(calibration.correlation)
    assert calibration.mean_error == pytest.approx(0.05)


def test_many_small_additions_are_one_large_one() -> None:
    rng = np.random.default_rng(1)
    asked = rng.uniform(0, 0.28, 3000)
    obtained = 0.9 * asked + rng.normal(0, 0.01, 3000)
    parts, whole = (Calibration(np.linspace(0, 0.7, 33)) for _ in range(2))
    whole.add(asked, obtained)
    for first in range(0, 3000, 6):
        parts.add(asked[first : first + 6], obtained[first : first + 6])
    assert parts.correlation == pytest.approx(np.corrcoef(asked, obtained)[0, 1])
    assert parts.mean_error == pytest.approx(np.abs(obtained - asked).mean())
    assert parts.spread == pytest.approx(whole.spread, nan_ok=True)
    inside = (asked >= whole.edges[3]) & (asked < whole.edges[4])
    assert whole.spread[3] == pytest.approx(obtained[inside].std())


def test_rows_to_look_at_follow_from_the_seed_alone(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "set", good_samples(20))
    first, again, other = (audit(folder, seed=seed, shown=5) for seed in (0, 0, 1))

    def names(numbers: AuditNumbers) -> list[str]:
        return [pick.values["photo"] for pick in numbers.examples["haze"]]

    assert len(set(names(first))) == 5
    assert names(first) == names(again) != names(other)
    assert audit(folder, seed=0, shown=3).examples["haze"] == first.examples["haze"][:3]


def test_one_row_group_without_pictures_is_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_data_set(tmp_path / "set", good_samples())
    seen = []
    original = audit_module.row_groups

    def watched(path: Path, columns: list[str]):
        for table in original(path, columns):
            seen.append((table.num_rows, table.column_names))
            yield table

    monkeypatch.setattr(audit_module, "row_groups", watched)
    audit(folder)
    assert [rows for rows, _ in seen] == [2] * 10  # one photo each
    assert all("target" not in columns and "degraded" not in columns for _, columns in seen)


# ------------------------------------------------------------------ criteria


def test_a_good_data_set_passes(tmp_path: Path) -> None:
    numbers = audit(write_data_set(tmp_path / "set", good_samples()))
    assert numbers.passed, failing(numbers)
    assert numbers.opened == 40
    assert len(numbers.checks) == 6


@pytest.mark.parametrize("what", ["missing", "doubled", "not in the plan"])
def test_items_are_there_once(what: str, tmp_path: Path) -> None:
    samples = good_samples()
    rows = [s.shard_row() for s in samples]
    if what == "missing":
        rows.pop(3)
    elif what == "doubled":
        rows.append(rows[3])
    else:
        rows.append(Sample("elsewhere.png", "haze", (0.1, 0.1), (0.1, 0.1)).shard_row())
    numbers = audit(write_data_set(tmp_path / "set", samples, rows=rows))
    assert failing(numbers) == ["Every planned item is there once"]
    text = finding(numbers, "Every planned item is there once")
    assert f"1 items {what}" in text or f"1 {what}" in text


def test_an_unfinished_run_says_how_far_it_is(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "set", good_samples())
    next((folder / "markers").glob("*00001-of*")).unlink()
    numbers = audit(folder)
    assert failing(numbers) == ["Every planned item is there once"]
    assert "4 of 5 shards: 4 items missing" in finding(numbers, "Every planned item is there once")


def test_photos_that_could_not_be_done_are_counted_apart(tmp_path: Path) -> None:
    samples = [replace(s, obtained=None) if s.photo == "04.png" else s for s in good_samples()]
    folder = write_data_set(tmp_path / "set", samples, failed={"04.png": "04.png is no picture"})
    numbers = audit(folder)
    assert failing(numbers) == ["The photos could be used"]
    assert "1 of 10 photos" in finding(numbers, "The photos could be used")
    assert "04.png is no picture" in finding(numbers, "The photos could be used")
    assert audit(folder, AuditLimits(failed=0.1)).passed


def test_a_changed_file_and_a_broken_one_are_found(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "set", good_samples())
    path = sorted((folder / "data").glob("*.parquet"))[2]
    content = bytearray(path.read_bytes())
    content[6] ^= 1
    path.write_bytes(content)
    numbers = audit(folder)
    assert "Files and pictures are whole" in failing(numbers)
    assert f"{path.name} is not the file its marker describes" in numbers.damaged
    path.write_bytes(bytes(len(content)))
    numbers = audit(folder)
    assert any(fault.startswith(f"{path.name} cannot be read") for fault in numbers.damaged)
    assert numbers.missing == 4


def test_pictures_are_opened_and_measured_again(tmp_path: Path) -> None:
    samples = good_samples()
    rows = [s.shard_row() for s in samples]
    rows[0]["degraded"]["bytes"] = rows[0]["degraded"]["bytes"][:50]
    rows[1]["degraded"]["bytes"] = rows[2]["degraded"]["bytes"]  # of another scene
    rows[3]["clipped"] += 0.01
    rows[4]["degraded"]["bytes"] = encoded(np.zeros((9, 9, 3), np.uint8))
    rows[5]["mu_obtained"] = None
    numbers = audit(write_data_set(tmp_path / "set", samples, rows=rows))
    assert failing(numbers) == ["Files and pictures are whole"]
    said = {fault.split(" ")[0]: fault for fault in numbers.damaged}
    assert "cannot be opened" in said[rows[0]["item_id"]]
    assert "edges do not agree" in said[rows[1]["item_id"]]
    assert "other clipped values" in said[rows[3]["item_id"]]
    assert "different size" in said[rows[4]["item_id"]]
    assert "no measured mu" in said[rows[5]["item_id"]]
    assert len(numbers.damaged) == 5
    assert "; and 2 more" in finding(numbers, "Files and pictures are whole")


@pytest.mark.parametrize("quantity", ["mu", "sigma"])
def test_calibration_has_to_keep_to_its_limit(quantity: str, tmp_path: Path) -> None:
    def shifted(sample: Sample) -> Sample:
        assert sample.obtained is not None
        mu, sigma = sample.obtained
        wrong = (mu + 0.03, sigma) if quantity == "mu" else (mu, sigma + 0.05)
        return replace(sample, obtained=wrong) if sample.degradation == "rain" else sample

    samples = [shifted(s) for s in good_samples()]
    numbers = audit(write_data_set(tmp_path / "set", samples))
    name = f"{quantity} obtained is near {quantity} asked"
    assert failing(numbers) == [name]
    assert "too much for rain" in finding(numbers, name)
    assert "haze (" not in finding(numbers, name)
    few = audit(tmp_path / "set", AuditLimits(few=11))
    assert few.passed
    assert "not judged: no degradation has 11 rows" in finding(few, name)


def test_the_filter_may_not_refuse_too_many(tmp_path: Path) -> None:
    samples = [
        replace(s, reason="weak: mu 0.0001 is below 0.0219") if s.degradation == "haze" and number < 6 else s
        for number, s in enumerate(good_samples())
    ]
    folder = write_data_set(tmp_path / "set", samples)
    numbers = audit(folder)
    assert failing(numbers) == ["The filter refused few"]
    assert "3 of 20 rows refused" in finding(numbers, "The filter refused few")
    assert "haze (30%)" in finding(numbers, "The filter refused few")
    assert audit(folder, AuditLimits(rejected=0.31)).passed


def test_a_folder_without_a_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="there is no plan"):
        audit(tmp_path)
    with pytest.raises(ValueError, match="shown=0"):
        audit(tmp_path, shown=0)


# ------------------------------------------------------------------ the page


class _Page(HTMLParser):
    """Pictures, links to elsewhere, text, and whether tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.sources += [v for name in ("src", "href") if (v := values.get(name))]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_page_holds_everything_itself(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "set", BY_HAND)
    numbers = write_audit(folder, tmp_path / "out" / "audit.html")
    page = _Page((tmp_path / "out" / "audit.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert all(source.startswith("data:image/") for source in page.sources)
    figures = [s for s in page.sources if s.startswith("data:image/png")]
    pictures = [s for s in page.sources if s.startswith("data:image/jpeg")]
    assert (len(figures), len(pictures)) == (3, 2 * 5)
    text = re.sub(r"\s+", " ", page.text)
    assert not numbers.passed
    assert "Audit of set: failed" in text
    assert "1 items missing" in text
    assert "structure: edges agree by 0.100" in text
    assert "haze 4 0.0100 0.0050 0.9839 0.0077 0.0033" in text
    assert "1 <2> (5 rows)" in text  # escaped in the source
    assert "<here>" not in text, "the photos' folder is nobody's business"
    assert "asked mu 0.1000 sigma 0.0500" in text


def test_an_empty_data_set_still_has_a_page(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "set", good_samples(2), rows=[])
    numbers = write_audit(folder, tmp_path / "audit.html")
    assert failing(numbers) == ["Every planned item is there once"]
    assert "There are none." in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_the_pictures_of_the_page_are_those_of_the_row(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    folder = write_data_set(tmp_path / "set", [BY_HAND[0]])
    write_audit(folder, tmp_path / "audit.html")
    page = _Page((tmp_path / "audit.html").read_text(encoding="utf-8"))
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(s.split(",")[1]))), float)
        for s in page.sources
        if s.startswith("data:image/jpeg")
    ]
    (path,) = (folder / "data").glob("*.parquet")
    row = pq.read_table(path).to_pylist()[0]
    for pixels, name in zip(shown, ("target", "degraded"), strict=True):
        stored = np.asarray(Image.open(io.BytesIO(row[name]["bytes"])), float)
        assert pixels.shape == stored.shape
        assert np.corrcoef(pixels.ravel(), stored.ravel())[0, 1] > 0.5
        assert np.abs(pixels.mean((0, 1)) - stored.mean((0, 1))).max() < 3
