"""The networks, in torch only.

Reading order: config, rope, blocks, encoder, mask_head, aggregator, camera_head, dpt_head,
page4d; then preprocess and pose_encoding around the network, and checkpoint for its weights.
"""
