"""Libraries that speak of themselves while they are imported, kept quiet: a user can do nothing about it."""

from __future__ import annotations

import logging

SAID = {
    "torchao": "Failed to load",  # its kernels for GPUs of one kind, on a machine without; those used here need none
    "torchao.kernel.intmm": "no triton",
    "torch.utils._pytree": "is an Enum subclass",  # torch to the authors of torchao
}
"""By logger the words of a message that says nothing to a user."""


def quieten() -> None:
    """Keep those messages away, and no other; before transformers is imported, which imports torchao where it is."""
    for name, words in SAID.items():
        logging.getLogger(name).addFilter(_Without(words))


class _Without(logging.Filter):
    """Lets messages through that have not these words."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is let through."""
        return self.words not in str(record.msg)
