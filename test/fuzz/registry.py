"""All targets: importing their modules enters them into the table."""

from fuzz import command_targets, file_targets, message_targets, recording_targets
from fuzz.target import TARGETS

__all__ = ['TARGETS', 'command_targets', 'file_targets', 'message_targets', 'recording_targets']
