"""The commands, a module each kind; whatever is heavy they import when they run."""

from page4d_ros.commands.graph import play, record
from page4d_ros.commands.make import import_tum, render
from page4d_ros.commands.offline import info, replay
from page4d_ros.commands.show import demo, parameters, report

ALL = (demo, replay, report, info, import_tum, render, play, record, parameters)
