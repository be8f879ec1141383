"""Skips what needs a renderer where there is none, and renders every drive once."""

from dataclasses import replace
from functools import cache

import pytest

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.render import (
    SAMPLE_DRIVE_SEED,
    SAMPLE_ROOM_SEED,
    Renderer,
    centred_camera,
)
from page4d_ros.synthetic.room import Room
from page4d_ros.synthetic.scene import Scene, import_mujoco

TIMES = (0.0, 0.4, 1.2, 3.0)


@pytest.fixture(scope='session')
def room():
    return Room.draw(SAMPLE_ROOM_SEED)


@pytest.fixture(scope='session')
def scene(room):
    try:
        import_mujoco()
    except SceneError as error:
        pytest.skip(str(error))
    return Scene(room, Drive.draw(room, SAMPLE_DRIVE_SEED))


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


@pytest.fixture(scope='session')
def film(room, renderer):
    """Drive of 2 s and small frames at 0 and 0.4 s; with a light instead of its own, if given."""

    @cache
    def shoot(seed, rig=Rig.HANDHELD, traffic=Traffic.SOME, light=None):
        drive = Drive.draw(room, seed, rig=rig, traffic=traffic, seconds=2.0)
        if light is not None:
            drive = replace(drive, light=light)
        with Renderer(Scene(room, drive), centred_camera(160, 120, 72)) as small:
            return drive, [small.frame(t) for t in (0.0, 0.4)]

    return shoot
