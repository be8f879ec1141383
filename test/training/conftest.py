"""Makes helper modules importable by their names, and a small run's files."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / 'model', HERE.parent / 'bags'):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope='session')
def files(tmp_path_factory):
    """Folder with `train` and `validation` shards of a plane, and `micro.safetensors`."""
    import training_cases as cases

    folder = tmp_path_factory.mktemp('training')
    for split, seeds in (('train', (0, 1, 2)), ('validation', (3, 4))):
        for seed in seeds:
            cases.plane_shard(folder / split / f'{seed}.safetensors', seed=seed)
    cases.save_micro(folder / 'micro.safetensors')
    cases.save_micro(folder / 'points.safetensors', point_head=True)
    return folder


@pytest.fixture
def watched(files):
    """Folder of validation shards."""
    return str(files / 'validation')


@pytest.fixture
def recipe_of(files):
    """Recipe of a micro network on the plane; arguments are settings by name."""
    import training_cases as cases

    def build(weights='micro', **values):
        tree = cases.micro_tree(files, weights)
        for name, value in values.items():
            branch, *above = tree, *name.split('__')
            *above, last = above
            for key in above:
                branch = branch.setdefault(key, {})
            branch[last] = value
        return cases.read_recipe(tree, 'test')

    return build
