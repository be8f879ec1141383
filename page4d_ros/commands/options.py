"""Options that name topics of a recording, the same in every command that looks for truth."""

from __future__ import annotations

from typing import Annotated

from typer import Option

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
