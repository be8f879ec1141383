"""Maps at the camera's pixels: planes are exact, edges are where the image has them."""

import numpy as np
import pytest
from fakes import CAMERA, OracleEngine, PlainMessages, frame_set, picture

from page4d_ros.bags.replay import replay
from page4d_ros.config import Config
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.messages.outputs import Outputs
from page4d_ros.perception.base_frame import BaseFrame
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.upsampling import Upsampling, grid

LARGE = ImageTransform.crop(320, 240, 56, 14)
TALL = ImageTransform.crop(120, 250, 56, 14)  # loses rows above and below
SMALL = ImageTransform.crop(64, 48, 112, 14)  # the network's image is the larger one
NEAR, FAR = 2.0, 5.0
STAMP = 1_700_000_000_999_999_999  # part of the plane that is seen then is beyond 6.2 m


def grey(shape, level=128):
    return np.full((*shape, 3), level, np.uint8)


def sampled(transform, depth_at):
    """Values of a function of network columns and rows at both sizes."""
    y, x = np.mgrid[: transform.height, : transform.width]
    there = grid(transform)
    across, down = np.meshgrid(there.x, there.y)
    return depth_at(x, y).astype(np.float32), depth_at(across, down)


def upsampling(transform, depth, image=None, colours=None):
    image = grey((transform.source_height, transform.source_width)) if image is None else image
    return Upsampling(depth, grey(depth.shape) if colours is None else colours, image, transform)


@pytest.mark.parametrize('transform', [LARGE, TALL, SMALL], ids=['large', 'tall', 'small'])
def test_planes_are_exact_and_what_was_cropped_is_unknown(transform):
    # a floor: depths of neighbouring rows differ by up to a tenth
    depth, expected = sampled(transform, lambda x, y: 30 / (10 + y + 0.2 * x))
    found = upsampling(transform, depth)
    at = grid(transform)
    outside = at.outside
    np.testing.assert_array_equal(np.isnan(found.depth), outside)
    assert outside.any() == (transform is TALL)
    inner = ((at.y > 0) & (at.y < transform.height - 1))[:, None]
    inner = inner & (at.x > 0) & (at.x < transform.width - 1)
    np.testing.assert_allclose(found.depth[inner], expected[inner], rtol=1e-4)
    ones = np.ones(depth.shape, np.float32)
    np.testing.assert_array_equal(found.picked(ones), np.where(outside, 0, 1))


def two_sides(blurred=0):
    """Depth of two surfaces at both sizes, the images of both, and the camera's far side."""

    def far(x, y):
        return x + 0.4 * y > 40.3

    small, large = sampled(LARGE, far)
    depth = np.where(small > 0, FAR, NEAR).astype(np.float32)
    for _ in range(blurred):  # a pixel between the two
        depth[:, 1:][(small[:, 1:] > 0) & (small[:, :-1] == 0)] = 3.0
    colours, image = (grey(each.shape, 90) for each in (small, large))
    colours[small > 0] = image[large > 0] = 200
    return depth, colours, image, large > 0


@pytest.mark.parametrize('blurred', [0, 1])
def test_each_pixel_beside_an_edge_takes_the_side_that_it_looks_like(blurred):
    depth, colours, image, far = two_sides(blurred)
    found = upsampling(LARGE, depth, image, colours).depth
    error = np.abs(found / np.where(far, FAR, NEAR) - 1)
    assert (error > 0.02).mean() < (0.003 if blurred else 1e-9)
    between = (found > 1.1 * NEAR) & (found < 0.9 * FAR)
    assert between.mean() < (0.003 if blurred else 1e-9)


def test_without_colours_it_takes_the_nearer_side():
    depth, _, _, far = two_sides()
    found = upsampling(LARGE, depth).depth
    assert np.isin(found.round(3), [NEAR, FAR]).all()
    assert ((found > 3) != far).mean() < 0.01


def test_masks_follow_the_edge():
    depth, colours, image, far = two_sides()
    mask = np.where(depth == NEAR, 255, 0).astype(np.uint8)
    found = upsampling(LARGE, depth, image, colours).picked(mask)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.where(far, 0, 255))


def test_unknown_stays_unknown_and_reaches_no_further():
    depth, colours, image, _ = two_sides()
    depth[5:30, 10:30] = np.nan
    depth[np.random.default_rng(2).random(depth.shape) < 0.05] = np.nan
    found = upsampling(LARGE, depth, image, colours)
    unknown = LARGE.image_to_source(np.isnan(depth))
    np.testing.assert_array_equal(np.isnan(found.depth), unknown)
    numbers = np.arange(depth.size, dtype=np.float32).reshape(depth.shape)
    nearest = LARGE.image_to_source(numbers)
    np.testing.assert_array_equal(found.picked(numbers)[unknown], nearest[unknown])


def messages(camera=CAMERA, **values):
    plain = {'mask.source': 'head', 'mask.min_area': 0, 'mask.dilate': 0, 'points.rate': 0.0}
    config = Config().with_values(plain | {'depth.max_range': 6.2} | values)
    engine = OracleEngine(seed=None)
    engine.dynamic_patch = (1, 2)
    image = picture(1)
    estimate = Perception(config, engine).process(frame_set(STAMP, camera=camera, image=image))
    outputs = Outputs(config, PlainMessages(), BaseFrame(config.frames))
    return dict(outputs.messages(estimate, lambda _name: True)), estimate, image


def array(message):
    kind = {'32FC1': np.float32}.get(message.encoding, np.uint8)
    return np.frombuffer(bytes(message.data), kind).reshape(message.height, message.width, -1)


def test_outputs_at_the_size_of_the_camera():
    out, estimate, image = messages(**{'publish.size': 'camera'})
    np.testing.assert_array_equal(array(out['rgb/image']), image)
    for kind in ('depth', 'rgb', 'mask'):
        info = out[f'{kind}/camera_info']
        assert (info.width, info.height) == (64, 48)
        np.testing.assert_array_equal(info.k.reshape(3, 3), CAMERA.K)
    images = [name for name, m in out.items() if m.type_name == 'sensor_msgs/msg/Image']
    assert len(images) == 8
    assert {array(out[name]).shape[:2] for name in images} == {(48, 64)}
    depth, static, mask = (
        array(out[name])[..., 0] for name in ('depth/image', 'depth/static', 'mask/image')
    )
    np.testing.assert_array_equal(static, np.where(mask > 0, np.nan, depth))
    assert set(np.unique(mask)) == {0, 255}
    unknown = estimate.transform.image_to_source(np.isnan(estimate.maps.depth))
    assert 0 < unknown.mean() < 1
    np.testing.assert_array_equal(np.isnan(depth), unknown)
    as_ever, _, _ = messages()
    np.testing.assert_array_equal(out['points/static'].data, as_ever['points/static'].data)
    assert as_ever['rgb/image'].width == 56


def test_intrinsics_of_the_network_are_brought_to_the_size_of_the_camera():
    out, estimate, _ = messages(camera=None, **{'publish.size': 'camera'})
    expected = estimate.transform.camera_to_source(estimate.camera)
    np.testing.assert_array_equal(out['depth/camera_info'].k.reshape(3, 3), expected.K)


def test_a_clip_has_no_images_of_that_size(tmp_path):
    config = Config().with_values({'publish.size': 'camera'})
    with pytest.raises(BagError, match='leave out --clip'):
        replay(tmp_path / 'any.bag', tmp_path / 'out', config, clip=True)
