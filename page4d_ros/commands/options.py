"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

Checkpoint = Annotated[str, Option(help='Weight file, or "untrained" (model.checkpoint).')]
Params = Annotated[Path | None, Option(help='ROS parameter file of the node.')]
Assignments = Annotated[
    list[str] | None, Option('--set', metavar='NAME=VALUE', help='A parameter; repeat it.')
]
Rate = Annotated[float | None, Option(min=0.01, help='Frames per second of images without times.')]
# what a recording holds, in every command that looks for truth
ImageTopic = Annotated[str, Option(help='Images of a recording; "" takes the only ones.')]
OdomTopic = Annotated[
    str,
    Option(
        help='Its true poses: Odometry of the camera or of what carries it, PoseStamped of the '
        'camera, or /tf; "" is /ground_truth/odom.'
    ),
]
DepthTopic = Annotated[
    str,
    Option(help='Its depth, registered to the images; "" is /ground_truth/depth/compressed.'),
]
MaskTopic = Annotated[
    str, Option(help='Its masks of what moves; "" is /ground_truth/mask/compressed.')
]
