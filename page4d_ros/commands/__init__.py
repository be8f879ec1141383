"""The commands, a module each kind; whatever is heavy they import when they run."""

from page4d_ros.commands.annotate import annotate
from page4d_ros.commands.bench import bench
from page4d_ros.commands.doctor import doctor
from page4d_ros.commands.graph import health, play, record, top
from page4d_ros.commands.graphs import build, export
from page4d_ros.commands.label import label
from page4d_ros.commands.make import import_tum, render, shards
from page4d_ros.commands.names import layout, policy
from page4d_ros.commands.offline import info, replay
from page4d_ros.commands.show import demo, parameters, reference, report
from page4d_ros.commands.train import average, calibrate, shards_from, train

ALL = (
    demo,
    doctor,
    replay,
    annotate,
    report,
    info,
    import_tum,
    render,
    shards,
    shards_from,
    label,
    train,
    average,
    calibrate,
    bench,
    build,
    export,
    play,
    record,
    top,
    health,
    parameters,
    layout,
    policy,
    reference,
)
