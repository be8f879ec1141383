"""OctoMap's command line tools: clouds with poses in, occupied voxels out."""

import subprocess
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

TOOLS = 'log2graph', 'graph2tree'
DEPTH = 16  # levels of a tree
OCCUPIED, INNER = 2, 3  # two bits for each child (octomap's .bt); 0 is unknown, 1 is free


def build(folder, name, scans, resolution, max_range):
    """Edges (n,) and centres (n, 3) of the occupied voxels of scans: (T_map_sensor, points)."""
    log, graph, tree = (folder / f'{name}.{end}' for end in ('log', 'graph', 'bt'))
    with log.open('w') as file:
        for T, points in scans:
            angles = Rotation.from_matrix(T[:3, :3]).as_euler('xyz')
            file.write('NODE ' + ' '.join(f'{x:.9f}' for x in (*T[:3, 3], *angles)) + '\n')
            np.savetxt(file, points, '%.4f')
    for command in (
        ['log2graph', log, graph],
        ['graph2tree', '-i', graph, '-o', tree, '-res', resolution, '-m', max_range],
    ):
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return occupied(tree)


def occupied(path):
    """Edges (n,) and centres (n, 3) of the occupied leaves of a .bt file."""
    header, _, data = path.read_bytes().partition(b'data\n')
    resolution = next(float(line[4:]) for line in header.splitlines() if line.startswith(b'res '))
    words = iter(np.frombuffer(data, '<u2').tolist())
    found = []
    _walk(words, np.zeros(3), resolution * 2**DEPTH, found)
    assert next(words, None) is None  # all of it is a tree
    table = np.array(found)
    return table[:, 0], table[:, 1:]


def _walk(words, centre, edge, found):
    """Read the children of a node, depth first; x is the lowest bit of their number."""
    word = next(words)
    for i, (z, y, x) in enumerate(product((-1, 1), repeat=3)):
        kind = word >> (2 * i) & 3
        at = centre + np.array((x, y, z)) * edge / 4
        if kind == OCCUPIED:
            found.append((edge / 2, *at))
        elif kind == INNER:
            _walk(words, at, edge / 2, found)
