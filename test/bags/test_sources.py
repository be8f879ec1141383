import cv2
import numpy as np
import pytest
from bags_helpers import camera_messages, write_bag
from data_folders import DATA, SHARED, needs_shared
from fakes import CAMERA, picture
from PIL import Image

from page4d_ros.bags.images import Intrinsics, parse_stamp
from page4d_ros.bags.recording import Recording
from page4d_ros.bags.sources import open_source
from page4d_ros.bags.stream import Span
from page4d_ros.config import Config
from page4d_ros.errors import BagError, ConfigError, FrameError
from page4d_ros.messages.decode import DEFAULT_FRAME


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1305031235.429666', 1305031235_429666000),
        ('1305031235.999999999', 1305031235_999999999),
        ('0.1', 100_000_000),
        ('1403636579763555584', 1403636579_763555584),
        ('1403636579763555', 1403636579_763555000),
        ('1403636579', 1403636579_000000000),
        ('00012', None),
        ('frame_1', None),
        ('1.2.3', None),
    ],
)
def test_stamps_are_exact(text, expected):
    assert parse_stamp(text) == expected


def write_images(folder, names):
    folder.mkdir()
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(i)[..., ::-1])


def stamps_of(source):
    return [item.stamp_ns for item in source.items()]


def test_a_folder_with_times_as_names(tmp_path):
    names = ['1305031235.429666.png', '1305031235.029666.png', '1305031236.000000.png']
    write_images(tmp_path / 'rgb', names)
    source = open_source(tmp_path / 'rgb', Config())
    assert stamps_of(source) == [1305031235_029666000, 1305031235_429666000, 1305031236_000000000]
    first = next(iter(source.items()))
    assert np.array_equal(first.decode(), picture(1))
    assert (first.camera, first.frame_id, source.total) == (None, DEFAULT_FRAME, 3)
    assert 'no camera_info' in source.take_warnings()[0]
    later = open_source(tmp_path / 'rgb', Config(), span=Span(0.4, 0.1))
    assert stamps_of(later) == [1305031235_429666000]


def test_a_folder_with_numbers_is_sorted_naturally(tmp_path):
    write_images(tmp_path / 'x', ['frame10.png', 'frame9.png', 'frame1.jpg'])
    source = open_source(tmp_path / 'x', Config(), rate=10)
    assert stamps_of(source) == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert np.array_equal([*source.items()][2].decode(), picture(0))


def test_an_image_that_cannot_be_decoded(tmp_path):
    write_images(tmp_path / 'x', ['1.png', '2.png'])
    (tmp_path / 'x' / '2.png').write_bytes(b'nothing')
    items = list(open_source(tmp_path / 'x', Config()).items())
    with pytest.raises(FrameError, match=r'2\.png'):
        items[1].decode()


def write_video(path, frames=20, fps=10):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), fps, (64, 48))
    for i in range(frames):
        video.write(np.full((48, 64, 3), 10 * i, np.uint8))
    video.release()
    return path


def test_a_video(tmp_path):
    source = open_source(write_video(tmp_path / 'x.avi'), Config())
    items = list(source.items())
    assert [item.stamp_ns for item in items] == [10**9 + i * 10**8 for i in range(20)]
    assert abs(int(items[7].decode().mean()) - 70) < 4
    assert source.total == 20
    source.close()
    part = open_source(tmp_path / 'x.avi', Config(), span=Span(0.5, 0.5))
    assert stamps_of(part) == [10**9 + i * 10**8 for i in range(5, 10)]
    slower = open_source(tmp_path / 'x.avi', Config(), rate=5)
    assert stamps_of(slower)[1] == 10**9 + 2 * 10**8


def test_what_is_none_of_these(tmp_path):
    with pytest.raises(BagError, match='no such file'):
        open_source(tmp_path / 'none', Config())
    (tmp_path / 'empty.mp4').touch()
    with pytest.raises(BagError, match='is empty'):
        open_source(tmp_path / 'empty.mp4', Config())
    (tmp_path / 'x.txt').write_text('hello')
    with pytest.raises(BagError, match='neither a recording nor a video'):
        open_source(tmp_path / 'x.txt', Config())
    (tmp_path / 'folder').mkdir()
    with pytest.raises(BagError, match='neither a recording nor jpg or png'):
        open_source(tmp_path / 'folder', Config())
    (tmp_path / 'folder' / 'rgb.txt').touch()
    with pytest.raises(BagError, match='import-tum'):
        open_source(tmp_path / 'folder', Config())
    write_images(tmp_path / 'images', ['1.png'])
    with pytest.raises(BagError, match='--image-topic has no meaning'):
        open_source(tmp_path / 'images', Config(), image_topic='/x')


def test_a_recording(tmp_path):
    path = write_bag(tmp_path / 'bag', 'mcap', camera_messages())
    with open_source(path, Config()) as source:
        assert isinstance(source, Recording)


@pytest.mark.parametrize(
    ('folder', 'frames'),
    [
        (DATA, 3),
        pytest.param(SHARED / 'data', 40, marks=needs_shared('data/davis_car_shadow')),
    ],
    ids=['excerpt', 'sequence'],
)
def test_davis_frames(folder, frames):
    images = folder / 'davis_car_shadow/JPEGImages/480p/car-shadow'
    source = open_source(images, Config(), rate=24)
    assert source.total == frames
    assert next(iter(source.items())).decode().shape == (480, 854, 3)


def write_grey16(path):
    cv2.imwrite(str(path), np.full((48, 64), 2000, np.uint16))


def test_depth_images_and_masks_are_left_out(tmp_path):
    """By their names, as in 7-Scenes, or by their 16 bits."""
    folder = tmp_path / 'seq-01'
    write_images(folder, ['frame-000000.color.png', 'frame-000001.color.png', '000001.mask.png'])
    for name in ('frame-000000.depth.png', 'plain-7.png'):
        write_grey16(folder / name)
    (folder / 'frame-000000.pose.txt').write_text('1 0 0 0')
    source = open_source(folder, Config())
    assert source.total == 2
    assert source.take_warnings()[0] == f'{folder}: left out 1 masks, 2 depth images'
    assert np.array_equal([*source.items()][1].decode(), picture(1))


def write_mask(path, *, palette=False):
    """Objects 0 to 3, in grey levels or in the colours of a palette, as DAVIS has them."""
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(np.repeat(np.arange(4, dtype=np.uint8), 12)[:, None].repeat(64, 1))
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(path)


@pytest.mark.parametrize('palette', [False, True])
def test_masks_that_only_their_pixels_tell(tmp_path, palette):
    beside, alone = tmp_path / 'beside', tmp_path / 'alone'
    write_images(beside, ['0.jpg', '1.jpg'])
    for index in range(2):
        write_mask(beside / f'{index}.png', palette=palette)
        write_mask(alone / f'{index}.png', palette=palette)
    source = open_source(beside, Config())
    assert source.total == 2
    assert source.take_warnings()[0] == f'{beside}: left out 2 masks'
    with pytest.raises(BagError, match='holds 2 masks, but no images of a camera'):
        open_source(alone, Config())


def test_a_grey_camera_is_a_camera(tmp_path):
    """Even where one of its images is black."""
    for index in range(3):
        image = picture(index)[..., 0] if index else np.zeros((48, 64), np.uint8)
        cv2.imwrite(str(tmp_path / f'{index}.png'), image)
    source = open_source(tmp_path, Config())
    assert source.total == 3
    np.testing.assert_array_equal([*source.items()][1].decode()[..., 0], picture(1)[..., 0])


def test_a_folder_of_depth_images_only(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    write_grey16(folder / '1.png')
    with pytest.raises(BagError, match='holds 1 depth images, but no images of a camera'):
        open_source(folder, Config())


def test_several_images_of_one_moment(tmp_path):
    write_images(tmp_path / 'x', ['left-1.png', 'right-1.png', 'left-2.png', 'right-2.png'])
    with pytest.raises(BagError, match=r'several series of images \(2 left-#, 2 right-#\)'):
        open_source(tmp_path / 'x', Config())


def test_names_without_numbers_are_one_series(tmp_path):
    write_images(tmp_path / 'x', ['door.png', 'kitchen.jpg', 'window2.png'])
    assert open_source(tmp_path / 'x', Config()).total == 3


def test_a_data_set_says_which_folder_to_give(tmp_path):
    (tmp_path / 'sequences/00').mkdir(parents=True)
    write_images(tmp_path / 'sequences/00/image_2', ['000000.png'])
    write_images(tmp_path / 'Annotations', ['000000.png'])
    (tmp_path / 'range').mkdir()
    write_grey16(tmp_path / 'range/000000.png')
    with pytest.raises(BagError) as caught:
        open_source(tmp_path, Config())
    assert str(caught.value).endswith(f'; give {tmp_path / "sequences/00/image_2"}')


def test_intrinsics_of_images_and_videos(tmp_path):
    write_images(tmp_path / 'x', ['1.png', '2.png'])
    intrinsics = Intrinsics.parse('50, 52,31,24.5')
    for path in (tmp_path / 'x', write_video(tmp_path / 'x.avi', frames=2)):
        source = open_source(path, Config(), camera=intrinsics)
        assert [item.camera for item in source.items()] == [CAMERA, CAMERA]
        assert not source.take_warnings()
        with pytest.raises(BagError, match=r'\(90, 24.5\) lies outside the images of 64x48'):
            open_source(path, Config(), camera=intrinsics._replace(cx=90.0))
    bag = write_bag(tmp_path / 'bag', 'mcap', camera_messages())
    with pytest.raises(BagError, match='whose camera_info tells the intrinsics'):
        open_source(bag, Config(), camera=intrinsics)


@pytest.mark.parametrize('text', ['1,2,3', 'a,b,c,d', '0,50,31,24', '50,-1,31,24', 'nan,1,1,1'])
def test_what_are_no_intrinsics(text):
    with pytest.raises(ConfigError, match='expected fx,fy,cx,cy'):
        Intrinsics.parse(text)
