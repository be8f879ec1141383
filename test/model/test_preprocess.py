"""The two roads from a picture to the network's input."""

import numpy as np
import parity
import pytest
import torch
from data_folders import parity_params
from PIL import Image

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.preprocess import image_to_network, load_images


@pytest.fixture
def save(tmp_path):
    def save(pixels, name='image.png'):
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return save


def scene(height, width, seed=0):
    """Smooth shading with hard edges and some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shade = 110 + 60 * np.sin(x / 23) * np.cos(y / 17)
    shade[height // 3 : height // 2, width // 4 : width // 2] = 250
    shade[height // 2 :, width // 2 : width // 2 + 3] = 5
    image = shade[..., None] + (0, 10, 20) + random.normal(0, 3, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('path', parity_params('preprocess_*.npz', 'train_eval/preprocess_*.npz'))
@pytest.mark.parametrize('mode', ['crop', 'pad'])
def test_published_preprocessing(path, mode, save):
    data = parity.read(path)
    images, (transform,) = load_images([save(data['input_uint8'].numpy())], mode)
    assert list(images.shape) == data[f'out_{mode}_shape'].tolist()
    assert (transform.height, transform.width) == images.shape[-2:]
    got = (255 * images[0]).round().byte()[:, ::4, ::4]
    assert torch.equal(got, data[f'out_{mode}_uint8_every4'])


def test_mixed_shapes_are_padded_with_white(save):
    paths = [save(scene(60, 100), 'wide.png'), save(scene(40, 100), 'flat.png')]
    images, transforms = load_images(paths, size=140)
    assert images.shape == (2, 3, 84, 140)
    assert (images[1, :, :14] == 1).all()
    assert (images[1, :, -14:] == 1).all()
    assert transforms[1].crop_y == -14
    alone, _ = load_images(paths[1:], size=140)
    assert torch.equal(images[1, :, 14:70], alone[0])
    corner = transforms[1].to_network((-0.5, -0.5))
    np.testing.assert_allclose(corner, (-0.5, 13.5))


@pytest.mark.parametrize('make', [ImageTransform.crop, ImageTransform.pad])
@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (720, 1280), (60, 100)])
def test_the_device_road_is_within_one_level_of_pillow(make, shape, save):
    image = scene(*shape)
    transform = make(shape[1], shape[0])
    mode = make.__name__
    wanted, _ = load_images([save(image)], mode)
    got = image_to_network(image, transform, 'cpu')
    assert got.shape == wanted[0].shape
    levels = 255 * (got - wanted[0]).abs()
    assert levels.max() < 1.01
    assert levels.mean() < 0.005


def test_any_memory_layout(recwarn):
    image = scene(60, 80)
    transform = ImageTransform.crop(80, 60, 112)
    wanted = image_to_network(image, transform, 'cpu')
    read_only = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    bgr = np.ascontiguousarray(image[..., ::-1])
    padded = np.zeros((60, 100, 3), np.uint8)
    padded[:, :80] = image
    for view in (read_only, bgr[..., ::-1], padded[:, :80], torch.from_numpy(image.copy())):
        assert torch.equal(image_to_network(view, transform, 'cpu'), wanted)
    half = image_to_network(image, transform, 'cpu', torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert not recwarn.list


def test_padding_is_white_and_values_stay_in_range():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 255
    got = image_to_network(image, ImageTransform.pad(40, 20, 112), 'cpu')
    assert got.shape == (3, 112, 112)
    assert (got[:, :28] == 1).all()
    assert (got[:, 84:] == 1).all()
    assert got.min() == 0
    assert got.max() == 1


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((60, 80), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((80, 60, 3), np.uint8),
        np.zeros((60, 80, 3), np.float32),
        torch.zeros(60, 80, 3),
    ],
)
def test_bad_image(image):
    with pytest.raises(FrameError, match='expected uint8'):
        image_to_network(image, ImageTransform.crop(80, 60, 112), 'cpu')


def test_bad_files(tmp_path, save):
    with pytest.raises(FrameError, match='readable'):
        load_images([tmp_path / 'none.png'])
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(FrameError, match='readable'):
        load_images([tmp_path / 'text.png'])
    with pytest.raises(ValueError, match='no images'):
        load_images([])
    with pytest.raises(ValueError, match='mode'):
        load_images([save(scene(30, 30))], 'stretch')
    with pytest.raises(ValueError, match='multiple of 14'):
        load_images([save(scene(30, 30))], size=500)
