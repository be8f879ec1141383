"""The networks, in torch only.

`network` is the seam that everything outside uses; `families` chooses a network by its weight
file, `variants` the way of running it. Reading order of PAGE-4D: config, rope, blocks, encoder,
mask_head, aggregator, camera_head, dpt_head, page4d; then preprocess and pose_encoding around the
network, and checkpoint for its weights.
"""
