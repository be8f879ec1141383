"""Corners tracked from image to image."""

import numpy as np
from images import textured, view

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.tracks import AREA, BORDER, MOST, Tracks


def begun(texture, width=320, height=240):
    tracks = Tracks()
    tracks.follow(view(texture, 0, 0, width, height))
    tracks.refill()
    return tracks


def test_corners_follow_a_texture_to_a_fraction_of_a_pixel():
    texture = textured()
    tracks = Tracks()
    places = []
    for step in range(4):
        tracks.follow(view(texture, 10 + 2.5 * step, 8 + 1.25 * step))
        tracks.refill()
        places.append(dict(zip(tracks.ids.tolist(), tracks.at, strict=True)))
    old = sorted(set.intersection(*map(set, places)))
    assert len(old) > 100
    moved = np.diff([[each[k] for k in old] for each in places], axis=0)
    np.testing.assert_allclose(np.median(moved, axis=1), [[-2.5, -1.25]] * 3, atol=0.02)
    assert np.percentile(np.abs(moved - (-2.5, -1.25)), 95) < 0.2


def test_identities_rise_and_are_never_used_twice():
    texture = textured(640)
    tracks = begun(texture)
    gone = set()
    for step in range(1, 8):
        before = set(tracks.ids.tolist())
        tracks.follow(view(texture, 12 * step, 0))
        gone |= before - set(tracks.ids.tolist())
        tracks.refill()
        assert (np.diff(tracks.ids) > 0).all()
        assert not gone & set(tracks.ids.tolist())
        if step == 4:
            gone |= set(tracks.ids.tolist())
            tracks.forget()
    assert gone


def test_lost_corners_are_replaced_apart_from_the_others():
    texture = textured(640)
    tracks = begun(texture)
    tracks.drop(np.arange(len(tracks.ids)) > 40)
    kept = tracks.ids.copy()
    tracks.follow(view(texture, 2, 0))
    assert set(tracks.ids.tolist()) <= set(kept.tolist())
    tracks.refill()
    assert 100 < len(tracks.ids) <= MOST
    distance = np.linalg.norm(tracks.at[:, None] - tracks.at, axis=2)
    assert distance[np.triu_indices(len(distance), 1)].min() > 7
    full = tracks.ids
    tracks.refill()
    assert len(tracks.ids) <= MOST
    assert set(full.tolist()) <= set(tracks.ids.tolist())


def test_corners_that_leave_the_image_or_jump_are_dropped():
    texture = textured(640)
    tracks = begun(texture)
    leaving = tracks.ids[tracks.at[:, 0] < 12]
    tracks.follow(view(texture, 14, 0))
    assert len(leaving)
    assert not np.isin(leaving, tracks.ids).any()
    assert (tracks.at >= BORDER).all()
    before = len(tracks.ids)
    tracks.follow(view(textured(seed=5), 0, 0))
    assert len(tracks.ids) < before / 4


def test_images_of_another_size_begin_anew():
    texture = textured(1280, 960)
    tracks = begun(texture)
    first = tracks.ids
    tracks.follow(view(texture, 0, 0, width=640))
    assert not len(tracks.ids)
    tracks.refill()
    assert tracks.ids.min() > first.max()


def test_large_images_are_made_smaller():
    texture = textured(1280, 960)
    tracks = begun(texture, 1280, 960)
    assert (tracks.fit.width, tracks.fit.height) == (640, 480)
    assert tracks.fit.width * tracks.fit.height <= AREA
    first, at = tracks.ids, tracks.source
    assert at.max() > 1000
    tracks.follow(view(texture, 6, 0, 1280, 960))
    moved = tracks.source - at[np.isin(first, tracks.ids)]
    np.testing.assert_allclose(np.median(moved, axis=0), (-6, 0), atol=0.05)
    fit = ImageTransform.crop(1280, 960, 154, 14)
    pixels, inside = fit.network_pixels(tracks.source)
    np.testing.assert_allclose(pixels, fit.to_network(tracks.source), atol=0.5 + 1e-9)
    assert inside.all()
    _, inside = fit.network_pixels(np.array([[-20.0, 5.0], [5.0, 5.0], [5.0, 970.0]]))
    assert inside.tolist() == [False, True, False]


def test_a_blank_image_has_no_corners():
    tracks = Tracks()
    blank = np.full((240, 320, 3), 255, np.uint8)
    for _ in range(2):
        tracks.follow(blank)
        tracks.refill()
        assert tracks.source.shape == (0, 2)
    tracks = begun(textured())
    tracks.follow(blank)
    assert not len(tracks.ids)
