"""Skips what needs a renderer where there is none, and renders the sample drive once."""

import pytest

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.render import (
    SAMPLE_DRIVE_SEED,
    SAMPLE_ROOM_SEED,
    Renderer,
    centred_camera,
)
from page4d_ros.synthetic.scene import Scene, import_mujoco

TIMES = (0.0, 0.4, 1.2, 3.0)


@pytest.fixture(scope='session')
def scene():
    try:
        import_mujoco()
    except SceneError as error:
        pytest.skip(str(error))
    return Scene.draw(SAMPLE_ROOM_SEED, SAMPLE_DRIVE_SEED)


@pytest.fixture(scope='session')
def renderer(scene):
    try:
        renderer = Renderer(scene, centred_camera(320, 240))
    except SceneError as error:
        pytest.skip(str(error))
    with renderer:
        yield renderer


@pytest.fixture(scope='session')
def frames(renderer):
    return [renderer.frame(t) for t in TIMES]
