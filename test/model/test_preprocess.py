"""Images of a camera as the network's input."""

import numpy as np
import parity
import pytest
import torch
from data_folders import parity_params
from PIL import Image

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.preprocess import image_to_network, in_unit_range


def pillow(image, transform):
    """The published way: resize with Pillow and crop; (3, height, width) of bytes."""
    size = transform.resized_width, transform.resized_height
    pixels = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = transform.crop_y, transform.crop_x
    pixels = pixels[top : top + transform.height, left : left + transform.width]
    return torch.from_numpy(pixels).permute(2, 0, 1)


def on_white(image):
    """RGB of an image (h, w, 3 or 4) whose transparency becomes white."""
    if image.shape[2] == 3:
        return image
    white = Image.new('RGBA', image.shape[1::-1], (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, Image.fromarray(image)).convert('RGB'))


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
def test_published_preprocessing(path):
    data = parity.read(path)
    image = on_white(data['input_uint8'].numpy())
    transform = ImageTransform.crop(image.shape[1], image.shape[0], 518, 14)
    wanted = data['out_crop_uint8_every4']
    assert [1, 3, transform.height, transform.width] == data['out_crop_shape'].tolist()

    assert torch.equal(pillow(image, transform)[:, ::4, ::4], wanted)
    ours = image_to_network(image, transform, 'cpu')[:, ::4, ::4]
    difference = (ours.int() - wanted.int()).abs()
    assert difference.max() <= 2  # enlarged noise rounds three times


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (720, 1280), (60, 100)])
def test_resizing_on_the_device_is_within_one_level_of_pillow(shape):
    image = scene(*shape)
    transform = ImageTransform.crop(shape[1], shape[0], 518, 14)
    wanted = pillow(image, transform)
    got = image_to_network(image, transform, 'cpu')
    assert got.shape == wanted.shape
    levels = (got.int() - wanted.int()).abs()
    assert levels.max() <= 1
    assert levels.float().mean() < 0.005


def test_any_memory_layout(recwarn):
    image = scene(60, 80)
    transform = ImageTransform.crop(80, 60, 112, 14)
    wanted = image_to_network(image, transform, 'cpu')
    read_only = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    bgr = np.ascontiguousarray(image[..., ::-1])
    padded = np.zeros((60, 100, 3), np.uint8)
    padded[:, :80] = image
    for view in (read_only, bgr[..., ::-1], padded[:, :80], torch.from_numpy(image.copy())):
        assert torch.equal(image_to_network(view, transform, 'cpu'), wanted)
    assert not recwarn.list


def test_values_stay_in_range():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 255
    got = in_unit_range(image_to_network(image, ImageTransform.crop(40, 20, 112, 14), 'cpu'))
    assert got.dtype == torch.float32
    assert got.shape == (3, 56, 112)
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
        image_to_network(image, ImageTransform.crop(80, 60, 112, 14), 'cpu')
