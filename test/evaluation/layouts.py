"""Miniatures of published data sets, in their layouts and with known content."""

import json

import cv2
import numpy as np
from ruamel.yaml import YAML

SIZE = (48, 64)
COUNT = 4
K = np.array([[60.0, 0, 31.5], [0, 61.0, 23.5], [0, 0, 1]])


def picture(index, size=SIZE):
    return np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)


def depth(index, size=SIZE):
    """Metres; the first row is unknown."""
    out = np.full(size, 2.0 + index)
    out[0] = np.nan
    return out


def pose(index):
    """T_world_camera: to the right, and a quarter turn about z."""
    T = np.eye(4)
    T[:2, :2] = [[0, -1], [1, 0]]
    T[0, 3] = 0.1 * index
    return T


def write_png(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])


def sixteen(index, units, invalid=0):
    values = depth(index) * units
    return np.where(np.isnan(values), invalid, values).round().astype(np.uint16)


def write_tum(folder, name='rgbd_dataset_freiburg3_x', count=COUNT, shift=0.005):
    root = folder / name
    lists = {'rgb': [], 'depth': [], 'groundtruth': ['# a remark']}
    for index in range(count):
        stamp = f'{100 + index / 10:.6f}'
        write_png(root / f'rgb/{stamp}.png', picture(index, (480, 640)))
        write_png(root / f'depth/{stamp}.png', np.full((480, 640), 5000 * (2 + index), np.uint16))
        lists['rgb'].append(f'{stamp} rgb/{stamp}.png')
        lists['depth'].append(f'{100 + index / 10 + shift:.6f} depth/{stamp}.png')
        T, q = pose(index), '0 0 0.7071068 0.7071068'
        at = ' '.join(f'{v:.4f}' for v in T[:3, 3])
        lists['groundtruth'].append(f'{100 + index / 10 - shift:.6f} {at} {q}')
    for kind, lines in lists.items():
        (root / f'{kind}.txt').write_text('\n'.join(lines) + '\n')
    return folder


def write_sintel(folder, name='alley_9', count=COUNT, depths=None):
    root = folder / 'training'
    for index in range(count):
        stem = f'frame_{index + 1:04d}'
        write_png(root / f'final/{name}/{stem}.png', picture(index))
        write_png(
            root / f'dynamic_label_perframe/{name}/{stem}.png',
            np.full(SIZE, 255 * (index % 2), np.uint8),
        )
        tag = np.float32(202021.25).tobytes()
        for kind in ('depth', 'camdata_left'):
            (root / kind / name).mkdir(parents=True, exist_ok=True)
        if depths is None or index < depths:
            size = np.array([SIZE[1], SIZE[0]], '<i4').tobytes()
            values = np.nan_to_num(depth(index)).astype('<f4').tobytes()
            (root / f'depth/{name}/{stem}.dpt').write_bytes(tag + size + values)
        cam = np.concatenate([K.ravel(), np.linalg.inv(pose(index))[:3].ravel()]).astype('<f8')
        (root / f'camdata_left/{name}/{stem}.cam').write_bytes(tag + cam.tobytes())
    return folder


def write_davis(folder, name='dog', frames=COUNT, size=SIZE, mask_size=None):
    for index in range(frames):
        mask = np.zeros(mask_size or size, np.uint8)
        mask[10:20, 5 + index : 20 + index] = 255
        image = folder / f'JPEGImages/480p/{name}/{index:05d}.jpg'
        write_png(image, picture(index, size))
        write_png(folder / f'Annotations/480p/{name}/{index:05d}.png', mask)
    return folder


def write_kitti(folder, name='07', count=COUNT, poses=COUNT):
    root = folder / 'sequences' / name
    for index in range(count):
        write_png(root / f'image_2/{index:06d}.png', picture(index))
    write_png(root / 'depth_2/000001.png', sixteen(1, 256))
    P = np.column_stack([K, K @ (-0.5, 0, 0)])  # half a metre to the right of camera 0
    lines = [f'P{i}: ' + ' '.join(map(str, (P if i == 2 else P * 0).ravel())) for i in range(4)]
    (root / 'calib.txt').write_text('\n'.join(lines))
    (root / 'times.txt').write_text('\n'.join(str(i / 10) for i in range(count)))
    (folder / 'poses').mkdir(exist_ok=True)
    rows = [' '.join(map(str, pose(i)[:3].ravel())) for i in range(poses)]
    (folder / f'poses/{name}.txt').write_text('\n'.join(rows))
    return folder


def write_7scenes(folder, name='seq-01', count=COUNT):
    for index in range(count):
        stem = folder / 'chess' / name / f'frame-{index:06d}'
        write_png(stem.with_name(stem.name + '.color.png'), picture(index, (480, 640)))
        large = sixteen(index, 1000, 65535).repeat(10, 0).repeat(10, 1)
        write_png(stem.with_name(stem.name + '.depth.png'), large)
        np.savetxt(stem.with_name(stem.name + '.pose.txt'), pose(index))
    return folder / 'chess'


def write_euroc(folder, name='V1_09', count=COUNT, shift_ns=5_000_000):
    root = folder / name / 'mav0'
    first = 1_403_715_273_262_142_976
    stamps = [first + index * 50_000_000 for index in range(count)]
    for index, stamp in enumerate(stamps):
        write_png(root / f'cam0/data/{stamp}.png', picture(index)[..., 0])
    lines = ['#timestamp [ns],filename'] + [f'{s},{s}.png' for s in stamps]
    (root / 'cam0/data.csv').write_text('\n'.join(lines))
    T_body_camera = np.eye(4)
    T_body_camera[2, 3] = 0.3
    tree = {
        'intrinsics': [60.0, 61.0, 31.5, 23.5],
        'resolution': [SIZE[1], SIZE[0]],
        'distortion_coefficients': [0.0, 0.0, 0.0, 0.0],
        'T_BS': {'cols': 4, 'rows': 4, 'data': T_body_camera.ravel().tolist()},
    }
    with (root / 'cam0/sensor.yaml').open('w') as file:
        YAML(typ='safe').dump(tree, file)
    truth = root / 'state_groundtruth_estimate0'
    truth.mkdir()
    rows = ['#timestamp,p,q,v,b']
    for index, stamp in enumerate(stamps):
        at = ','.join(str(v) for v in pose(index)[:3, 3])
        quaternion = '0.7071068,0,0,0.7071068'
        rows.append(f'{stamp + shift_ns},{at},{quaternion},0,0,0,0,0,0,0,0,0')
    (truth / 'data.csv').write_text('\n'.join(rows))
    return folder


def write_point_odyssey(folder, name='ani', count=COUNT, cameras=COUNT):
    root = folder / name
    for index in range(count):
        write_png(root / f'rgbs/rgb_{index:05d}.jpg', picture(index))
        write_png(root / f'depths/depth_{index:05d}.png', sixteen(index, 65.535))
    np.savez(
        root / 'anno.npz',
        intrinsics=np.repeat(K[None], cameras, 0),
        extrinsics=np.stack([np.linalg.inv(pose(i)) for i in range(cameras)]),
    )
    return folder


def write_dycheck(folder, name='apple', count=COUNT):
    root = folder / name
    for index in range(count):
        stem = f'0_{index:05d}'
        write_png(root / f'rgb/2x/{stem}.png', picture(index))
        (root / 'depth/2x').mkdir(parents=True, exist_ok=True)
        np.save(root / f'depth/2x/{stem}.npy', np.nan_to_num(depth(index))[..., None])
        T = pose(index)
        tree = {
            'orientation': T[:3, :3].T.tolist(),
            'position': T[:3, 3].tolist(),
            'focal_length': 120.0,
            'principal_point': [63.0, 47.0],
            'image_size': [2 * SIZE[1], 2 * SIZE[0]],
        }
        (root / 'camera').mkdir(exist_ok=True)
        (root / f'camera/{stem}.json').write_text(json.dumps(tree))
    return folder
