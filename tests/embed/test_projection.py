"""The map: progress, stop, the same map twice, new photos, the cache, and scikit-learn as the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from gendeg_core.embed import projection
from gendeg_core.embed.projection import Frame, MapSettings, PlacedMap, map_key, project
from gendeg_core.embed.reduction import Reduction

QUICK = MapSettings(early=60, iterations=100)


def clusters(count: int, seed: int = 0, kinds: int = 4, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) around `kinds` centres, and the number of each one's centre."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 1, (kinds, width))
    labels = np.arange(count) % kinds
    return centres[labels] + 0.15 * rng.normal(0, 1, (count, width)), labels


def finished(embeddings: np.ndarray, settings: MapSettings = QUICK, **arguments) -> np.ndarray:
    *_, last = project(embeddings, settings, **arguments)
    assert last.done == last.total
    return last.points


def nearest_labels(points: np.ndarray, labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    distances = np.linalg.norm(places[:, None] - points[None], axis=2)
    return labels[distances.argmin(axis=1)]


def test_every_tenth_iteration_is_a_frame_of_the_growing_map():
    embeddings, _ = clusters(60)
    frames = list(project(embeddings, MapSettings(early=25, iterations=20)))
    assert [(frame.done, frame.total) for frame in frames] == [
        (10, 45),
        (20, 45),
        (25, 45),
        (35, 45),
        (45, 45),
    ]
    assert all(frame.points.shape == (60, 2) and frame.points.dtype == np.float32 for frame in frames)
    sizes = [np.ptp(frame.points, axis=0).max() for frame in frames]
    assert sizes[-1] > 10 * sizes[0]
    np.testing.assert_allclose(frames[-1].points.max(0), -frames[-1].points.min(0), rtol=1e-5)


def test_a_caller_that_asks_no_more_has_stopped_it(monkeypatch: pytest.MonkeyPatch):
    from openTSNE import TSNEEmbedding

    asked = []
    whole = TSNEEmbedding.optimize
    monkeypatch.setattr(
        TSNEEmbedding, "optimize", lambda self, n, **k: (asked.append(n), whole(self, n, **k))[1]
    )
    embeddings, _ = clusters(60)
    frames = project(embeddings, QUICK)
    last = [next(frames) for _ in range(3)][-1]
    frames.close()
    assert last.done == 30
    assert sum(asked) == 30
    assert PlacedMap(embeddings, last.points, QUICK).place(embeddings[:2]).shape == (2, 2)


@pytest.fixture(scope="module")
def mapped() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """200 embeddings, their labels and their points."""
    embeddings, labels = clusters(200)
    return embeddings, labels, finished(embeddings)


def test_clusters_stay_together(mapped: tuple):
    _, labels, points = mapped
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.99


@pytest.mark.parametrize("engine", ["opentsne", "sklearn"])
def test_the_same_seed_gives_the_same_map_twice(engine: str):
    embeddings, _ = clusters(90)
    settings = replace(QUICK, engine=engine)
    first = finished(embeddings, settings)
    np.testing.assert_array_equal(first, finished(embeddings, settings))
    assert not np.array_equal(first, finished(embeddings, replace(settings, seed=1)))


@pytest.mark.parametrize("grid_from", [0, 10**6])
def test_the_map_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, grid_from: int):
    monkeypatch.setattr(projection, "GRID_FROM", grid_from)
    embeddings, _ = clusters(90)
    settings = MapSettings(early=20, iterations=20)
    once = finished(embeddings, settings)
    np.testing.assert_array_equal(once, finished(embeddings, settings, threads=2))
    np.testing.assert_array_equal(once, finished(embeddings, settings))


def test_neighbours_are_kept_as_well_as_by_scikit_learn():
    rng = np.random.default_rng(3)
    curve = np.linspace(0, 3, 240)
    embeddings = np.stack([np.cos(curve), np.sin(curve), curve], axis=1) @ rng.normal(0, 1, (3, 16))
    embeddings += 0.02 * rng.normal(0, 1, embeddings.shape)
    settings = MapSettings(early=100, iterations=200, metric="euclidean")
    ours = trustworthiness(embeddings, finished(embeddings, settings), n_neighbors=10)
    reference = trustworthiness(
        embeddings, finished(embeddings, replace(settings, engine="sklearn")), n_neighbors=10
    )
    assert reference > 0.95
    assert ours > reference - 0.02


def test_a_small_perplexity_gives_another_map(mapped: tuple):
    embeddings, _, points = mapped
    assert not np.array_equal(points, finished(embeddings, replace(QUICK, perplexity=5)))


def test_cosine_ignores_the_length_of_an_embedding_and_euclidean_does_not():
    embeddings, _ = clusters(60)
    longer = embeddings * np.where(np.arange(60) % 2, 1, 4)[:, None]
    short, long = Reduction(embeddings), Reduction(longer)
    np.testing.assert_allclose(short(embeddings), long(longer), atol=1e-9)
    straight = Reduction(embeddings, metric="euclidean")
    assert not np.allclose(straight(embeddings), straight(longer))


def test_all_components_keep_every_distance():
    embeddings, _ = clusters(40, width=8)
    reduction = Reduction(embeddings, metric="euclidean")
    reduced = reduction(embeddings)
    assert reduced.shape == (40, 8)
    assert reduction.explained == pytest.approx(1)
    np.testing.assert_allclose(
        np.linalg.norm(reduced[0] - reduced, axis=1), np.linalg.norm(embeddings[0] - embeddings, axis=1)
    )
    few = Reduction(embeddings, components=2, metric="euclidean")
    assert few(embeddings).shape == (40, 2)
    assert 0.3 < few.explained < 1


@pytest.mark.parametrize("grid_from", [0, 10**6])
def test_a_new_photo_lands_among_its_like(mapped: tuple, monkeypatch: pytest.MonkeyPatch, grid_from: int):
    monkeypatch.setattr(projection, "GRID_FROM", grid_from)
    embeddings, labels, points = mapped
    new, expected = clusters(40, seed=5)
    placed = PlacedMap(embeddings, points, QUICK).place(new)
    assert placed.shape == (40, 2)
    assert (nearest_labels(points, labels, placed) == expected).all()


def test_new_photos_do_not_see_each_other_and_move_nothing(mapped: tuple):
    embeddings, _, points = mapped
    whole = PlacedMap(embeddings, points + np.float32(7), QUICK)
    before = whole.points.copy()
    new, _ = clusters(12, seed=5)
    together = whole.place(new)
    np.testing.assert_allclose(np.concatenate([whole.place(new[i : i + 1]) for i in range(12)]), together)
    np.testing.assert_array_equal(whole.points, before)
    assert np.linalg.norm(together - 7, axis=1).max() < np.ptp(before, axis=0).max()


def test_a_known_photo_lands_on_its_own_place(mapped: tuple):
    embeddings, _, points = mapped
    off = np.linalg.norm(PlacedMap(embeddings, points, QUICK).place(embeddings) - points, axis=1)
    assert np.median(off) < 0.1 * np.ptp(points, axis=0).max()


def test_equal_embeddings_are_mapped_apart_from_others_only():
    embeddings, labels = clusters(60)
    points = finished(embeddings[labels])  # 15 copies of 4 embeddings
    assert np.isfinite(points).all()
    assert (nearest_labels(points[:4], np.arange(4), points) == labels[labels]).all()


@pytest.mark.parametrize("count", [5, 7, 16])
def test_a_handful_of_photos_makes_a_map(count: int):
    embeddings, _ = clusters(count)
    points = finished(embeddings)
    assert np.isfinite(points).all()
    assert np.isfinite(PlacedMap(embeddings, points, QUICK).place(embeddings[:1])).all()


def test_a_finished_map_is_found_again_by_its_content(tmp_path: Path):
    embeddings, _ = clusters(60)
    first = finished(embeddings, cache=tmp_path)
    again = list(project(embeddings.copy(), QUICK, cache=tmp_path))
    assert [(frame.done, frame.total) for frame in again] == [(160, 160)]
    np.testing.assert_array_equal(again[0].points, first)
    assert len(list(tmp_path.iterdir())) == 1
    others = [embeddings + 1e-9, embeddings[::-1], embeddings[:-1]]
    keys = {map_key(rows, QUICK) for rows in [embeddings, *others]}
    keys |= {
        map_key(embeddings, replace(QUICK, **{name: 3})) for name in ("seed", "perplexity", "components")
    }
    assert len(keys) == 7


def test_a_stopped_map_is_not_kept(tmp_path: Path):
    embeddings, _ = clusters(60)
    frames = project(embeddings, QUICK, cache=tmp_path)
    assert isinstance(next(frames), Frame)
    frames.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"perplexity": 0.5}, "perplexity=0.5 is outside 1 to 500"),
        ({"metric": "manhattan"}, "unknown metric 'manhattan'; choose one of cosine, euclidean"),
        ({"engine": "umap"}, "unknown engine 'umap'"),
        ({"iterations": 0}, "iterations=0 must be 1 or more"),
        ({"seed": -1}, "seed=-1 is outside"),
    ],
)
def test_settings_that_make_no_map(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        MapSettings(**settings)


def test_what_cannot_be_mapped_is_said_before_the_first_frame():
    embeddings, _ = clusters(60)
    with pytest.raises(ValueError, match="perplexity=30 is too large for 60 photos; choose 19 or less"):
        project(embeddings, MapSettings(perplexity=30))
    with pytest.raises(ValueError, match="a map needs 5 photos or more, got 4"):
        project(embeddings[:4])
    with pytest.raises(ValueError, match=r"have shape \(60,\)"):
        project(embeddings[:, 0])
    embeddings[7, 3] = np.nan
    with pytest.raises(ValueError, match="row 7 of the embeddings"):
        project(embeddings)


def test_embeddings_of_other_weights_are_refused():
    embeddings, _ = clusters(60)
    with pytest.raises(ValueError, match="embeddings of 8 numbers do not fit a map made from 24"):
        PlacedMap(embeddings, finished(embeddings), QUICK).place(np.ones((1, 8)))
    with pytest.raises(ValueError, match="give \\(N, 2\\)"):
        PlacedMap(embeddings, np.zeros((3, 2)), QUICK)
