"""Every reader on a miniature of its layout, and what each says of a broken one."""

import zipfile
from pathlib import Path

import cv2
import layouts
import numpy as np
import pytest
import truth_bags

from page4d_ros.datasets.registry import DATASETS, open_sequences
from page4d_ros.errors import BagError

WRITERS = {
    'tum': layouts.write_tum,
    'bonn': lambda folder: layouts.write_tum(folder, 'rgbd_bonn_balloon2'),
    'sintel': layouts.write_sintel,
    'davis': layouts.write_davis,
    'kitti': layouts.write_kitti,
    '7scenes': layouts.write_7scenes,
    'euroc': layouts.write_euroc,
    'pointodyssey': layouts.write_point_odyssey,
    'dycheck': layouts.write_dycheck,
    'bag': truth_bags.write_bag,
}
POSED = set(WRITERS) - {'davis'}
DEEP = set(WRITERS) - {'davis', 'euroc', 'kitti'}
JPEG = {'davis', 'pointodyssey'}
GREY, RECTIFIED = {'euroc'}, {'7scenes'}


def test_every_reader_has_a_miniature():
    assert set(WRITERS) == set(DATASETS)


@pytest.mark.parametrize('name', WRITERS)
def test_what_was_written_is_read(name, tmp_path):
    (clip,) = open_sequences(name, WRITERS[name](tmp_path))
    frames = list(clip.frames())
    assert clip.count == len(frames) == layouts.COUNT
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(set(stamps))
    for index, frame in enumerate(frames):
        shape = frame.rgb.shape[:2]
        wanted = layouts.picture(index, shape)
        if name not in JPEG | GREY | RECTIFIED:
            np.testing.assert_array_equal(frame.rgb, wanted)
        assert frame.frame.decode() is frame.rgb
        if name in DEEP:
            known = np.nanmedian(frame.depth)
            assert known == pytest.approx(2 + index, abs=0.01)
        if name in POSED:
            expected = layouts.pose(index)
            if name == 'kitti':
                expected[:3, 3] += expected[:3, :3] @ (0.5, 0, 0)
            if name == 'euroc':
                expected[:3, 3] += expected[:3, :3] @ (0, 0, 0.3)
            assert frame.T_world_camera == pytest.approx(expected, abs=1e-3)
            assert (frame.camera.width, frame.camera.height) in {shape[::-1], (640, 480)}
    assert [f.stamp_ns for f in clip.frames([2])] == stamps[2:3]


@pytest.mark.parametrize('name', ['sintel', 'pointodyssey', 'dycheck'])
def test_unknown_depth_is_not_a_number(name, tmp_path):
    (clip,) = open_sequences(name, WRITERS[name](tmp_path))
    depth = next(clip.frames()).depth
    assert np.isnan(depth[0]).all() or (depth[0] == 0).all()
    assert np.isfinite(depth[1:]).all()


def test_depth_of_7scenes_comes_to_the_pixels_of_colour(tmp_path):
    """A depth camera of focal length 585 sees at pixel 117 what colour of 525 sees at 105."""
    folder = layouts.write_7scenes(tmp_path, count=1)
    values = np.full((480, 640), 2000, np.uint16)
    values[240, 320 + 117] = 3000
    values[240 - 117, 320] = 4000
    values[200, 300], values[0] = 65535, 0
    layouts.write_png(folder / 'seq-01/frame-000000.depth.png', values)
    layouts.write_png(folder / 'seq-01/frame-000000.color.png', layouts.picture(0, (480, 640)))
    (clip,) = open_sequences('7scenes', folder)
    (frame,) = clip.frames()
    assert (frame.camera.fx, frame.camera.cx) == (525, 320)
    assert frame.depth[240, 320 + 105] == 3
    assert frame.depth[240 - 105, 320] == 4
    unknown = np.isnan(frame.depth)
    assert unknown[204, 302]
    assert unknown[:25].all()
    assert unknown[:, :32].all()
    assert unknown[26:454, 34:606].sum() == 1


def test_colour_of_7scenes_is_rectified(tmp_path):
    """A barrel draws what is far from the middle nearer to it."""
    folder = layouts.write_7scenes(tmp_path, count=1)
    taken = np.zeros((480, 640, 3), np.uint8)
    taken[235:246, 600:611] = 255
    layouts.write_png(folder / 'seq-01/frame-000000.color.png', taken)
    (frame,) = open_sequences('7scenes', folder)[0].frames()
    x = np.flatnonzero(frame.rgb[240, :, 0] > 128).mean() - 320
    assert x * (1 - 0.07 * (x / 525) ** 2) == pytest.approx(605 - 320, abs=1)


def test_colour_of_7scenes_has_one_size(tmp_path):
    def spoil(folder):
        layouts.write_png(folder / 'chess/seq-01/frame-000002.color.png', layouts.picture(2))

    text = broken(tmp_path, '7scenes', spoil)
    assert 'frame-000002.color.png: expected 640 x 480 pixels' in text


def test_what_some_data_sets_have_besides(tmp_path):
    (clip,) = open_sequences('sintel', layouts.write_sintel(tmp_path / 's'))
    assert [frame.mask.all() for frame in clip.frames()] == [False, True, False, True]
    (clip,) = open_sequences('kitti', layouts.write_kitti(tmp_path / 'k'))
    assert [frame.depth is not None for frame in clip.frames()] == [False, True, False, False]
    (clip,) = open_sequences('davis', layouts.write_davis(tmp_path / 'd'))
    mask = list(clip.frames())[2].mask
    assert mask[12, 7]
    assert not mask[12, 6]
    folder = layouts.write_tum(tmp_path / 't', 'rgbd_dataset_freiburg1_x', count=1)
    (clip,) = open_sequences('tum', folder)
    depth = next(clip.frames()).depth  # this camera's lens bends pictures
    assert np.isfinite(depth[240, 320])


def test_sequences_by_name(tmp_path):
    for name in ('cat', 'dog'):
        layouts.write_davis(tmp_path, name)
    assert [clip.name for clip in open_sequences('davis', tmp_path)] == ['cat', 'dog']
    assert [clip.name for clip in open_sequences('davis', tmp_path, ['dog'])] == ['dog']
    one = open_sequences('davis', tmp_path / 'JPEGImages/480p/cat')
    assert [clip.name for clip in one] == ['cat']
    with pytest.raises(BagError, match='there are cat, dog'):
        open_sequences('davis', tmp_path, ['cow'])


@pytest.mark.parametrize('name', WRITERS)
def test_an_empty_folder_says_what_was_expected(name, tmp_path):
    with pytest.raises(BagError, match='expected'):
        open_sequences(name, tmp_path)
    with pytest.raises(BagError, match='no such folder'):
        open_sequences(name, tmp_path / 'nowhere')


def broken(tmp_path, name, spoil, **options):
    folder = WRITERS[name](tmp_path) if not options else options['write'](tmp_path)
    spoil(tmp_path)

    def read():
        return [list(clip.frames()) for clip in open_sequences(name, folder)]

    with pytest.raises(BagError) as caught:
        read()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def nothing(_folder):
    pass


def test_missing_depth(tmp_path):
    def spoil(folder):
        (folder / 'chess/seq-01/frame-000002.depth.png').unlink()

    assert 'frame-000002.depth.png: is missing' in broken(tmp_path, '7scenes', spoil)


def test_fewer_depths_than_frames(tmp_path):
    text = broken(tmp_path, 'sintel', nothing, write=lambda f: layouts.write_sintel(f, depths=2))
    assert '4 images, but 2 depths' in text


def test_fewer_poses_than_frames(tmp_path):
    text = broken(tmp_path, 'kitti', nothing, write=lambda f: layouts.write_kitti(f, poses=3))
    assert '4 images, but 3 poses' in text


def test_fewer_cameras_than_frames(tmp_path):
    text = broken(
        tmp_path,
        'pointodyssey',
        nothing,
        write=lambda f: layouts.write_point_odyssey(f, cameras=1),
    )
    assert '4 images, but 1 cameras' in text


def test_stamps_that_never_match(tmp_path):
    text = broken(tmp_path, 'tum', nothing, write=lambda f: layouts.write_tum(f, shift=0.03))
    assert 'of 4 images that are there none has depth and pose' in text
    text = broken(
        tmp_path / 'e', 'euroc', nothing, write=lambda f: layouts.write_euroc(f, shift_ns=10**9)
    )
    assert 'none of 4 images has a pose within 20 ms' in text


def test_depth_of_eight_bits(tmp_path):
    def spoil(folder):
        path = folder / 'ani/depths/depth_00001.png'
        layouts.write_png(path, np.full(layouts.SIZE, 7, np.uint8))

    assert 'expected depth as a 16-bit grey PNG' in broken(tmp_path, 'pointodyssey', spoil)


def test_masks_of_another_size(tmp_path):
    text = broken(
        tmp_path, 'davis', nothing, write=lambda f: layouts.write_davis(f, mask_size=(48, 48))
    )
    assert 'the mask has 48x48 pixels and the image 64x48' in text


def test_missing_masks(tmp_path):
    def spoil(folder):
        (folder / 'Annotations/480p/dog/00002.png').unlink()

    assert '00002.png: 1 of 4 masks are missing' in broken(tmp_path, 'davis', spoil)


def test_damaged_pictures_and_files(tmp_path):
    def spoil(path):
        return lambda folder: (folder / path).write_bytes(b'no picture')

    text = broken(tmp_path / 'a', 'davis', spoil('JPEGImages/480p/dog/00001.jpg'))
    assert '00001.jpg: is no image' in text
    text = broken(tmp_path / 'b', 'sintel', spoil('training/depth/alley_9/frame_0002.dpt'))
    assert 'is no .dpt file' in text
    text = broken(tmp_path / 'c', 'sintel', spoil('training/camdata_left/alley_9/frame_0002.cam'))
    assert 'is no .cam file' in text
    text = broken(tmp_path / 'd', 'dycheck', spoil('apple/camera/0_00001.json'))
    assert 'no camera file' in text
    text = broken(tmp_path / 'e', 'dycheck', spoil('apple/depth/2x/0_00001.npy'))
    assert 'missing or damaged' in text
    text = broken(tmp_path / 'f', 'pointodyssey', spoil('ani/anno.npz'))
    assert 'expected intrinsics' in text
    text = broken(tmp_path / 'g', 'euroc', spoil('V1_09/mav0/cam0/sensor.yaml'))
    assert 'no sensor.yaml of a camera' in text


def test_truncated_files(tmp_path):
    def spoil(folder):
        path = folder / 'ani/anno.npz'
        path.write_bytes(path.read_bytes()[:200])

    assert 'expected intrinsics' in broken(tmp_path / 'a', 'pointodyssey', spoil)

    def empty(folder):
        (folder / 'apple/depth/2x/0_00001.npy').write_bytes(b'')

    assert 'missing or damaged' in broken(tmp_path / 'b', 'dycheck', empty)


def test_a_sequence_from_inside_its_folder(tmp_path, monkeypatch):
    layouts.write_davis(tmp_path)
    monkeypatch.chdir(tmp_path / 'JPEGImages/480p')
    assert [clip.name for clip in open_sequences('davis', Path('dog'))] == ['dog']
    monkeypatch.chdir('dog')
    assert [clip.name for clip in open_sequences('davis', Path())] == ['dog']
    with pytest.raises(BagError, match='is itself a sequence'):
        open_sequences('davis', Path(), ['cat'])


def test_missing_lists_and_malformed_lines(tmp_path):
    def spoil(path, text):
        return lambda folder: (folder / path).write_text(text)

    name = 'rgbd_dataset_freiburg3_x'
    text = broken(tmp_path / 'a', 'tum', lambda f: (f / name / 'groundtruth.txt').unlink())
    assert 'groundtruth.txt: is missing' in text
    text = broken(tmp_path / 'b', 'kitti', spoil('sequences/07/calib.txt', 'P0: 1 2 3'))
    assert 'no line "P2:" with the 12 numbers' in text
    text = broken(tmp_path / 'c', 'kitti', spoil('poses/07.txt', '1 2 3\n'))
    assert '07.txt:1: expected 12 numbers' in text
    text = broken(
        tmp_path / 'd', '7scenes', spoil('chess/seq-01/frame-000001.pose.txt', '1 0 0 0\n')
    )
    assert 'expected 4 lines of 4 numbers' in text


CAM0 = 'V1_09/mav0/cam0'
TRUTH = 'V1_09/mav0/state_groundtruth_estimate0/data.csv'
FIRST = '1403715273262142976'


@pytest.mark.parametrize(
    ('name', 'path', 'change', 'said'),
    [
        ('kitti', 'sequences/07/calib.txt', b'P2: \xff' + b' 1' * 12, 'no line "P2:"'),
        ('kitti', 'sequences/07/calib.txt', b'P2:' + b' 60*0' * 12, 'no line "P2:"'),
        ('kitti', 'sequences/07/calib.txt', b'P2:' + b' 0' * 12, 'no line "P2:"'),
        ('kitti', 'sequences/07/times.txt', b'0\n1e999\n2\n3\n', 'times that are not finite'),
        ('euroc', f'{CAM0}/data.csv', b'9' * 30 + b',a.png', 'expected a time in nanoseconds'),
        ('euroc', f'{CAM0}/sensor.yaml', b'intrinsics: &a [*a]', 'is no sensor.yaml'),
        ('euroc', f'{CAM0}/sensor.yaml', b'[' * 5000, 'is no sensor.yaml'),
        ('euroc', TRUTH, f'{FIRST},0,0,1e999,1,0,0,0'.encode(), 'its numbers are not finite'),
        ('euroc', TRUTH, f'{FIRST},0,0,0,0,0,0,0'.encode(), 'no pose at'),
        ('sintel', 'training/depth/alley_9/frame_0001.dpt', None, 'is no .dpt file'),
        ('dycheck', 'apple/camera/0_00000.json', b'[' * 100_000, 'no camera file'),
        ('dycheck', 'apple/camera/0_00000.json', b'{"orientation": 1e999}', 'no camera file'),
        ('dycheck', 'apple/depth/2x/0_00000.npy', b'\x93NUMPY\1\0\4\0{(((', 'or damaged'),
        ('pointodyssey', 'ani/anno.npz', b'PK\x03\x04', 'expected intrinsics'),
        ('tum', 'rgbd_dataset_freiburg3_x/rgb.txt', b'9' * 40 + b'.5 a.png', 'expected a time'),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_fuzzing_found(name, path, change, said, tmp_path):
    if change is None:  # sides whose product fits, and which are negative
        tag, size = np.float32(202021.25).tobytes(), np.array([-2, -3], '<i4').tobytes()
        change = tag + size + bytes(24)
    assert said in broken(tmp_path, name, lambda folder: (folder / path).write_bytes(change))


def test_cameras_of_pointodyssey_are_arrays_of_their_shape(tmp_path):
    def spoil(folder):
        with zipfile.ZipFile(folder / 'ani/anno.npz', 'w') as file:
            file.writestr('intrinsics.npy', b'no array')
            file.writestr('extrinsics.npy', b'')

    assert 'expected intrinsics' in broken(tmp_path, 'pointodyssey', spoil)


@pytest.mark.parametrize('wrong', [0.2, 5.0])
def test_depth_of_another_unit_is_doubted(wrong, tmp_path):
    """PNGs of millimetres read as 5000 a metre, and the other way round."""
    for name, units in (('tum', '5000 a metre'), ('bonn', '5000 a metre'), ('7scenes', 'milli')):
        folder = WRITERS[name](tmp_path / name)
        for file in [*folder.rglob('depth/*.png'), *folder.rglob('*.depth.png')]:
            values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) * wrong
            cv2.imwrite(str(file), values.clip(0, 65535).astype(np.uint16))
        (clip,) = open_sequences(name, folder)
        (text,) = clip.remarks
        assert f'the median of a depth image is {2 * wrong:g} m' in text
        assert units in text
    (clip,) = open_sequences('bag', truth_bags.write_bag(tmp_path, units=wrong / 20))
    assert ('metres (32FC1)' in ' '.join(clip.remarks)) == (wrong == 0.2)


@pytest.mark.parametrize('name', WRITERS)
def test_depth_of_the_right_unit_is_not_doubted(name, tmp_path):
    (clip,) = open_sequences(name, WRITERS[name](tmp_path))
    assert not clip.remarks


def test_a_list_without_its_pictures(tmp_path):
    def spoil(folder):
        for path in (folder / 'rgbd_dataset_freiburg3_x/rgb').iterdir():
            path.unlink()

    assert 'none of the images that rgb.txt names is there' in broken(tmp_path, 'tum', spoil)


def test_depth_of_another_size(tmp_path):
    def spoil(folder):
        path = folder / 'chess/seq-01/frame-000002.depth.png'
        layouts.write_png(path, np.full((24, 32), 2000, np.uint16))

    text = broken(tmp_path, '7scenes', spoil)
    assert 'frame 2: the depth has 32x24 pixels and the image 640x480' in text


def spoil_pose(folder, change):
    """Change the rotation of one published pose of the miniature of 7-Scenes."""
    path = folder / 'chess/seq-01/frame-000001.pose.txt'
    T = np.loadtxt(path)
    T[:3, :3] = change(T[:3, :3])
    np.savetxt(path, T)


def test_rounded_rotations_are_made_orthonormal(tmp_path):
    """Published poses of 7-Scenes are orthonormal to 1e-4 only."""
    folder = layouts.write_7scenes(tmp_path)
    spoil_pose(tmp_path, lambda R: R + 1e-4 * np.arange(9).reshape(3, 3))
    (sequence,) = open_sequences('7scenes', folder)
    R = list(sequence.frames())[1].T_world_camera[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(R, layouts.pose(1)[:3, :3], atol=1e-3)


@pytest.mark.parametrize(
    ('change', 'text'),
    [(lambda R: 1.1 * R, 'R R^T is 0.21 off'), (lambda R: R * (-1, 1, 1), 'it mirrors')],
)
def test_what_is_far_from_a_rotation_is_refused(change, text, tmp_path):
    found = broken(tmp_path, '7scenes', lambda folder: spoil_pose(folder, change))
    assert 'frame-000001.pose.txt: the pose is no rotation' in found
    assert text in found


def test_stacked_poses_name_the_wrong_one(tmp_path):
    def spoil(folder):
        path = folder / 'poses/07.txt'
        lines = path.read_text().splitlines()
        lines[2] = '2 0 0 0 0 2 0 0 0 0 2 0'
        path.write_text('\n'.join(lines))

    assert '07.txt: the pose 2 is no rotation' in broken(tmp_path, 'kitti', spoil)


def test_unknown_poses_stay_unknown(tmp_path):
    folder = layouts.write_7scenes(tmp_path)
    spoil_pose(tmp_path, lambda R: np.full_like(R, np.nan))
    (sequence,) = open_sequences('7scenes', folder)
    assert np.isnan(list(sequence.frames())[1].T_world_camera[:3, :3]).all()


@pytest.mark.parametrize(
    ('name', 'levels'),
    [
        ('tum', ('..', '', 'rgbd_dataset_freiburg3_x')),
        ('sintel', ('..', '', 'training', 'training/final', 'training/final/alley_9')),
        ('davis', ('..', '', 'JPEGImages/480p', 'JPEGImages/480p/dog')),
        ('kitti', ('..', '', 'sequences', 'sequences/07')),
        ('7scenes', ('', 'chess', 'chess/seq-01')),
        ('euroc', ('..', '', 'V1_09')),
        ('pointodyssey', ('..', '', 'ani')),
        ('dycheck', ('..', '', 'apple')),
    ],
)
def test_any_level_of_the_folders_may_be_given(name, levels, tmp_path):
    WRITERS[name](tmp_path / 'set')
    for level in levels:
        (sequence,) = open_sequences(name, tmp_path / 'set' / level)
        assert sequence.count == layouts.COUNT


def test_scenes_with_sequences_of_one_name(tmp_path):
    for scene in ('chess', 'fire'):
        layouts.write_7scenes(tmp_path / 'x')
        (tmp_path / 'x' / 'chess').rename(tmp_path / scene)
    names = [sequence.name for sequence in open_sequences('7scenes', tmp_path)]
    assert names == ['chess/seq-01', 'fire/seq-01']
    (one,) = open_sequences('7scenes', tmp_path, ['fire/seq-01'])
    assert one.name == 'fire/seq-01'
    assert len(open_sequences('7scenes', tmp_path, ['seq-01'])) == 2
