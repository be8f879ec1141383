"""Options that name topics of a recording, the same in every command."""

from __future__ import annotations

from typing import Annotated

from typer import Option

ImageTopic = Annotated[
    str, Option(help='Images of a recording.', show_default='the only ones that it has')
]
DepthTopic = Annotated[
    str,
    Option(
        help='Its depth, registered to the images.', show_default='/ground_truth/depth/compressed'
    ),
]
OdomTopic = Annotated[
    str,
    Option(
        help='Its true poses: Odometry of the camera or of what carries it, PoseStamped of the '
        'camera, or /tf.',
        show_default='/ground_truth/odom',
    ),
]
MaskTopic = Annotated[
    str,
    Option(
        help='Its masks of what moves, above 0 where it does.',
        show_default='/ground_truth/mask/compressed',
    ),
]
