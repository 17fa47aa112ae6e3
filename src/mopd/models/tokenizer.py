"""Token ids: chat prompts to ids and completions back to text, with the checks that templates need.

Where something stands in what a template writes is found with a mark: a character that is nowhere else. Text itself is
no mark, since a short prompt equals some part of the template sooner or later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from mopd.core.errors import ProblemError, StudentError
from mopd.core.types import Message, Messages
from mopd.models.template_date import written_at


class ChatTokenizer:
    """A Hugging Face tokenizer seen through its chat template.

    `end_ids` are the ids that end a completion: the tokenizer's, the model's, and what the template writes behind an
    assistant's turn, since a model answers as it was shown and files disagree. `end_id` is the one that ends a
    demonstration: the template's own where it has one. `options` go to the template with every conversation, so that
    student and teacher begin their turn alike, thinking or not.
    Raises StudentError where there is no chat template or no end token.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int] = (), options: Mapping[str, Any] | None = None) -> None:
        self.inner = tokenizer
        self.options = dict(options or {})
        self.moment: datetime | None = None
        """What templates that write the date take for now; None: now."""
        if not tokenizer.chat_template:
            raise StudentError(
                "the student's tokenizer has a chat template",
                f"no chat template in {tokenizer.name_or_path or 'the tokenizer'}",
                "set tokenizer.chat_template and save the tokenizer again, or use an instruction-tuned model",
            )
        own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        closing = self._closing_id({*own, *end_ids})
        self.end_ids = frozenset([*own, *end_ids, *([] if closing is None else [closing])])
        if not self.end_ids:
            raise StudentError(
                "the student has an end-of-sequence token", "its tokenizer has none", "set eos_token in its tokenizer"
            )
        self.end_id: int = next(token for token in (closing, *own, min(self.end_ids)) if token is not None)
        self.pad_id: int = min(self.end_ids) if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def size(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self.token_ids)

    @property
    def token_ids(self) -> set[int]:
        """All ids that have a token."""
        return {int(index) for index in self.inner.get_vocab().values()}

    def encode_prompt(self, messages: Messages) -> list[int]:
        """Token ids of a conversation, generation header included. Raises ProblemError where it cannot be encoded.

        Where a turn holds the text of a control token, as what a student writes may spell one, it is encoded as text:
        only the template opens and closes turns.
        """
        if any(self._control.search(turn["content"]) for turn in messages):
            ids = self._encode_with_inert_turns(messages)
        else:
            encoded = self._apply_template(messages, tokenize=True, return_dict=True)
            ids = [int(token) for token in encoded["input_ids"]]
        self._refuse_double_bos(ids)
        return ids

    def _encode_with_inert_turns(self, messages: Messages) -> list[int]:
        cut = _unused("".join(turn["content"] for turn in messages))
        broken = [Message(role=turn["role"], content=self._broken(turn["content"], cut)) for turn in messages]
        return self._encode_pieces(str(self._apply_template(broken, tokenize=False)), cut)

    def _broken(self, text: str, cut: str) -> str:
        """`text` with a cut behind the first character of everything that would be read as a control token."""

        def break_one(found: re.Match[str]) -> str:
            if len(found[0]) == 1:
                raise ProblemError(
                    "text can be told from the student's control tokens",
                    f"{text[:80]!r} holds {found[0]!r}, which is one",
                    "take it out of the text, or use another student",
                )
            return found[0][0] + cut + found[0][1:]

        return self._control.sub(break_one, text)

    def _encode_pieces(self, text: str, cut: str) -> list[int]:
        pieces = [self.inner(piece, add_special_tokens=False)["input_ids"] for piece in text.split(cut)]
        return [int(token) for piece in pieces for token in piece]

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Finds the texts of tokens that open, close or end turns: special ones, end tokens, and the template's own.

        A special token of one character that is neither of the last two, as an embedded student's padding, is a mark of
        its contexts' wording.
        """
        added = {index: token.content for index, token in self.inner.added_tokens_decoder.items()}
        special = {
            index
            for index, token in self.inner.added_tokens_decoder.items()
            if token.special and len(token.content) > 1
        }
        marks = special | {*self.end_ids, *self._ids_of_turns()} & set(added)
        texts = sorted({added[index] for index in marks if added[index]}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    def _ids_of_turns(self) -> set[int]:
        """What the template itself writes around a user's and an assistant's turn."""
        mark = _unused("")
        shown = [self._written(turns, mark) for turns in (_turns(mark)[:1], _turns(mark))]
        return {token for text in shown for token in self._encode_pieces(text, mark)}

    def _closing_id(self, known: set[int]) -> int | None:
        """The token by which the template closes an assistant's turn: an end token, else the first added one."""
        mark = _unused("")
        behind = self._encode_pieces(self._written(_turns(mark), mark).rpartition(mark)[2], mark)
        added = self.inner.added_tokens_decoder
        return next((i for i in behind if i in known), next((i for i in behind if i in added), None))

    def _written(self, turns: Messages, mark: str) -> str:
        """A whole conversation as the template writes it; the mark alone where it takes none of this kind."""
        try:
            return str(self.inner.apply_chat_template(list(turns), tokenize=False, **self.options))
        except Exception:  # templates are programs and raise whatever they like
            return mark

    def _apply_template(self, messages: Messages, **how: Any) -> Any:
        try:
            with written_at(self.moment):
                return self.inner.apply_chat_template(list(messages), add_generation_prompt=True, **how, **self.options)
        except Exception as error:  # templates are programs and raise whatever they like
            raise ProblemError(
                "the student's chat template and vocabulary can render the prompt",
                f"{type(error).__name__}: {error}; roles {', '.join(turn['role'] for turn in messages)}; "
                f"prompt {str(messages[-1]['content'])[:80]!r}",
                "change the prompt (some templates take no system turn: put its text into the user turn), "
                "or use a student whose tokenizer covers it",
            ) from error

    def generation_header(self, messages: Messages) -> str | None:
        """What the template writes behind the last turn, a thinking boundary included.

        None where it hides the turn, or writes something else behind a turn that ends otherwise.
        """
        text, marked, mark = self._with_mark(messages, len(messages) - 1)
        _, found, header = marked.rpartition(mark)
        return header if found and text.endswith(header) else None

    def shows_turn(self, messages: Messages, index: int) -> bool:
        """Whether the template writes what turn `index` says."""
        _, marked, mark = self._with_mark(messages, index)
        return mark in marked

    def shows_answers(self, messages: Messages) -> bool:
        """Whether the template writes an assistant's turn before the last one of a conversation like `messages`, and
        opens the answer behind it as it does without."""
        longer = [*messages, Message(role="assistant", content="1"), messages[-1]]
        try:
            is_shown = self.shows_turn(longer, len(messages))
            return is_shown and self.generation_header(longer) == self.generation_header(messages)
        except ProblemError:
            return False

    def _with_mark(self, messages: Messages, index: int) -> tuple[str, str, str]:
        """The conversation as the template writes it, the same with a mark at the end of turn `index`, and the mark."""
        text = str(self._apply_template(messages, tokenize=False))
        mark = _unused(text)
        turn = Message(role=messages[index]["role"], content=messages[index]["content"] + mark)
        marked = [*messages[:index], turn, *messages[index + 1 :]]
        return text, str(self._apply_template(marked, tokenize=False)), mark

    def render(self, messages: Messages) -> str:
        """A conversation as the template writes it, generation header included: the text behind `encode_prompt`."""
        return str(self.inner.decode(self.encode_prompt(messages), skip_special_tokens=False))

    def _refuse_double_bos(self, ids: Sequence[int]) -> None:
        bos = self.inner.bos_token_id
        if bos is not None and list(ids[:2]) == [bos, bos]:
            raise StudentError(
                "a prompt begins with at most one beginning-of-sequence token",
                f"a prompt begins with two ({self.inner.bos_token!r})",
                "remove it from the chat template or from the tokenizer's post-processor",
            )

    def encode_completion(self, text: str) -> list[int]:
        """Token ids of a completion's text, without any special token added; what spells a control token is text."""
        cut = _unused(text)
        return self._encode_pieces(self._broken(text, cut), cut)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion without special tokens, and without the token that ends it, special or not."""
        own = list(ids[:-1] if len(ids) and ids[-1] in self.end_ids else ids)
        return str(self.inner.decode(own, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _turns(text: str) -> list[Message]:
    """The shortest conversation that ends with an assistant's turn."""
    return [Message(role=role, content=text) for role in ("user", "assistant")]


def _unused(text: str) -> str:
    """A character that `text` does not hold, of those that mean nothing."""
    return next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in text)
