"""Servers beside a student, before anything is asked of them: what they read, how much, and by which tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mopd.core.errors import ServerError
from mopd.models.tokenizer import ChatTokenizer
from mopd.serving.client import Client, said
from mopd.serving.fleet import Fleet, Server

TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Identity:
    """What a server says of itself: the model's name, its window in tokens, and how it would write each token."""

    url: str
    model: str
    window: int
    texts: tuple[str, ...]


def identify(fleet: Fleet, tokenizer: ChatTokenizer) -> list[Identity]:
    """Each server, compared with a student's tokenizer. Raises ServerError where one is not there or has other
    tokens."""
    parts = _parts(tokenizer)

    async def ask(client: Client, server: Server) -> Identity:
        (model, *_) = said(await client.get(server.url, "/v1/models"), "data")
        texts = [said(await client.post(server.url, "/detokenize", {"tokens": part}), "prompt") for part in parts]
        return Identity(server.url, str(said(model, "id")), int(said(model, "max_model_len")), tuple(texts))

    found = fleet.ask_each(ask)
    for one in found:
        _check_tokens(one, tokenizer, parts)
    return found


def _parts(tokenizer: ChatTokenizer) -> list[list[int]]:
    """All ids of a tokenizer, some thousand at a time."""
    ids = sorted(tokenizer.token_ids)
    return [ids[begin : begin + TOKENS_AT_ONCE] for begin in range(0, len(ids), TOKENS_AT_ONCE)]


def _check_tokens(found: Identity, tokenizer: ChatTokenizer, parts: Sequence[Sequence[int]]) -> None:
    for part, theirs in zip(parts, found.texts, strict=True):
        ours = _text(tokenizer.inner, part)
        if ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=False))
            at = next((place for place, (own, other) in pairs if own != other), min(len(ours), len(theirs)))
            raise ServerError(
                "a server has the student's token ids",
                f"{found.url} ({found.model}) writes the ids {part[0]} to {part[-1]} otherwise: "
                f"{theirs[at : at + 20]!r} where the student writes {ours[at : at + 20]!r}",
                "start it with the student itself (`mopd serve CONFIG.toml`), or for a teacher with one of its family",
            )


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))
