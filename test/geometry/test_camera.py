import cv2
import numpy as np
import pytest

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera

SIZES = [(640, 480), (480, 640), (752, 480), (346, 260), (100, 60), (90, 120), (1920, 1080)]


@pytest.mark.parametrize(('width', 'height'), SIZES)
def test_pixels_go_there_and_back(width, height):
    fit = ImageTransform.crop(width, height, 266, 14)
    uv = np.random.default_rng(0).uniform(0, 100, (50, 2))
    np.testing.assert_allclose(fit.to_source(fit.to_network(uv)), uv, atol=1e-9)
    camera = PinholeCamera(width, height, 500.0, 490.0, width / 2 - 3, height / 2 + 2)
    back = fit.camera_to_source(fit.camera_to_network(camera))
    np.testing.assert_allclose(back.K, camera.K, atol=1e-9)


@pytest.mark.parametrize(('width', 'height'), SIZES)
def test_a_point_is_seen_where_its_pixel_went(width, height):
    fit = ImageTransform.crop(width, height, 266, 14)
    camera = PinholeCamera(width, height, 500.0, 490.0, width / 2 - 3, height / 2 + 2)
    points = np.random.default_rng(0).normal(size=(50, 3)) + np.array([0, 0, 8])
    seen = fit.camera_to_network(camera).project(points)
    np.testing.assert_allclose(seen, fit.to_network(camera.project(points)), atol=1e-9)


def test_the_half_pixel_rule_is_opencvs():
    """A blob keeps its centre of mass under cv2's resize when mapped by to_network."""
    image = np.zeros((480, 640), np.float32)
    image[200:260, 300:380] = 1.0
    fit = ImageTransform.crop(640, 480, 266, 14)
    small = cv2.resize(
        image, (fit.resized_width, fit.resized_height), interpolation=cv2.INTER_AREA
    )

    def centre(picture):
        v, u = np.mgrid[: picture.shape[0], : picture.shape[1]]
        return np.array([(u * picture).sum(), (v * picture).sum()]) / picture.sum()

    np.testing.assert_allclose(fit.to_network(centre(image)), centre(small), atol=0.02)


def test_unproject_then_project_is_identity():
    camera = PinholeCamera(33, 21, 40.0, 41.0, 15.0, 11.0)
    depth = np.random.default_rng(0).uniform(1, 9, (21, 33))
    v, u = np.mgrid[:21, :33]
    uv = camera.project(camera.unproject(depth))
    np.testing.assert_allclose(uv, np.stack([u, v], -1), atol=1e-9)


def test_maps_return_to_the_cameras_pixels():
    """A tall image is cropped: what was cut away is filled, the rest is the nearest pixel."""
    fit = ImageTransform.crop(90, 160, 126, 14)
    v, u = np.mgrid[: fit.height, : fit.width]
    back = fit.image_to_source(np.stack([u, v], -1).astype(float), fill=np.nan)
    assert back.shape == (160, 90, 2)
    inside = np.isfinite(back[..., 0])
    assert 0 < inside.sum() < inside.size
    vs, us = np.mgrid[:160, :90]
    expected = fit.to_network(np.stack([us, vs], -1))
    assert np.abs(back - expected)[inside].max() <= 0.5 + 1e-9
    assert not inside[0].any()
    assert not inside[-1].any()
