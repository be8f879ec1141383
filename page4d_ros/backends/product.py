"""The network as ONNX files for other programs, with a description."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from page4d_ros.backends.building import fingerprint
from page4d_ros.backends.graph import OPSET, write_onnx

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from page4d_ros.backends.graph import FrameGraph, StepGraph
    from page4d_ros.model.network import Network

ENCODER, STEP, DESCRIPTION = 'encoder.onnx', 'step.onnx', 'network.json'
MEANING = {
    'image': 'RGB, 0 to 255; the camera image, scaled to this width and cropped or padded',
    'patches': 'tokens of the encoder; only a program that hides patches needs them',
    'tokens': 'of each frame of the window, oldest first: `first_tokens` of the oldest, then '
    '`tokens` of the others',
    'first_tokens': 'tokens of a frame that is the oldest of its window',
    'hidden': 'true for patches that are known to move',
    'pose_enc_iters': 'estimates of the camera after each iteration, the last is the best: '
    'translation (3), quaternion x y z w (4), vertical and horizontal field of view in rad (2); '
    'the transform takes points of the oldest camera into each camera (OpenCV axes)',
    'depth': 'along the z axis of the newest frames, in the unit of the translations',
    'depth_conf': 'confidence of depth, above 1',
    'world_points': 'points in the frame of the oldest camera',
    'world_points_conf': 'confidence of points, above 1',
    'mask_score': 'of each patch in (-0.5, 0.5), high where static',
    'gram': 'motion in the attention of the newest frames, 0 to 1',
}


def write_product(
    network: Network, frame: FrameGraph, step: StepGraph, folder: Path
) -> list[Path]:
    """Write both graphs and their description.

    A program that slides a window runs the encoder once for each new image, keeps both kinds of
    tokens, and runs the step on the tokens of the last S images.

    Args:
        network: on the CPU, in 32 bits, and ready for inference.
        frame: what an image goes through by itself.
        step: what relates the images.
        folder: made where it is missing.

    Returns:
        The files.

    Raises:
        BackendError: the exporter is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graphs: dict[str, Any] = {}
    for name, graph in ((ENCODER, frame), (STEP, step)):
        outputs, example = write_onnx(network, graph, folder / name, simplified=True)
        inputs = dict(zip(graph.inputs, example, strict=True))
        graphs[name] = {'inputs': _described(inputs), 'outputs': _described(outputs)}
    about = {
        'weights': network.name,
        'purpose': network.purpose,
        'fingerprint': fingerprint(network),
        'opset': OPSET,
        'precision': 'float32',
        'patch_size': network.patch_size,
        'window': step.frames,
        'newest': step.plan.newest,
        'graphs': graphs,
    }
    path = folder / DESCRIPTION
    path.write_text(json.dumps(about, indent=2) + '\n', encoding='utf-8')
    return [folder / ENCODER, folder / STEP, path]


def _described(tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            'shape': list(tensor.shape),
            'type': str(tensor.dtype).removeprefix('torch.'),
            'meaning': MEANING[name],
        }
        for name, tensor in tensors.items()
    }
