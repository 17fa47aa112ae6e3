"""Thinking spans, `<think>...</think>`: what a model writes for itself is neither shown to peers nor judged.

Where a tag is named, and not used, it is text like any other: in a fenced block, in backticks, in quotation marks,
alone in brackets or in an answer tag, or in a string of JSON.
"""

from __future__ import annotations

import re

from mopd.core.fences import OPENING, Fences

_OPEN = "<think>"
_WORD = r"[A-Za-z0-9_]"
_QUOTED = "|".join(rf"{begin}(?:</?think>|<think>[^{begin}{end}\n]*</think>){end}" for begin, end in ('""', "''", "“”"))
_TOKEN = re.compile(
    r"(?P<tag></?think>)"
    rf"|(?P<fence>(?:^|(?<=<think>)|(?<=</think>)){OPENING})"
    # a tag alone in backticks or quotation marks, or a pair of them from mark to mark, as in r"<think>.*?</think>"
    r"|(?<!`)`[ \t]*</?think>[ \t]*`(?!`)"
    rf"|(?<![\w.,;!?])[rbfuRBFU]{{0,2}}(?:{_QUOTED})(?!\w)"
    # a tag alone in brackets, as in \texttt{<think>}, or in an answer tag
    r"|[({\[][ \t]*</?think>[ \t]*[)}\]]|<answer>\s*</?think>\s*</answer>"
    # code on one line; one backtick counts where it clings to the code, so that a stray one hides no tag
    rf"|(?<!{_WORD})(?<!`)`(?![`\s])[^`\n]*(?<!\s)`(?!`)(?!{_WORD})"
    r"|(?<!`)(?P<ticks>`{2,16})(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
    # a string of JSON: between its punctuation, on one line
    r"|[{\[,:]\s*\"(?:[^\"\\\n]|\\.)*\"(?=\s*[}\],:])",
    re.MULTILINE,
)

_ANSWER_BEGINS = re.compile(r"</think>[ \t]*(?:```|~~~)")


def strip_thinking(text: str) -> str:
    """`text` without its thinking spans, nested ones included. Linear time.

    An unclosed span runs to the end. Where the template opened the span in the prompt, the completion holds only its
    closing tag, and all up to that tag is thinking. Behind a span that was closed, a closing tag without an opening
    one is a slip: it is left out, and nothing else.
    """
    if "think>" not in text:
        return text.strip()
    fences = Fences(text)
    kept: list[str] = []
    depth = begin = position = 0
    may_be_thinking = True  # the template may have opened a span; known once the first tag is read
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token["fence"] is not None:
            position = _behind_block(text, fences, token.span(), is_answer=not (depth or may_be_thinking))
        elif token["tag"] is not None:
            if depth == 0:
                kept.append(text[begin : token.start()])
            if token["tag"] == _OPEN:
                depth += 1
            elif depth:
                depth -= 1
            elif may_be_thinking:
                kept.clear()
            may_be_thinking = False
            begin = token.end()
    return "".join(kept if depth else [*kept, text[begin:]]).strip()


def _behind_block(text: str, fences: Fences, opening: tuple[int, int], is_answer: bool) -> int:
    """Where reading goes on behind the opening fence of a block.

    In an answer a block left open runs to the end of the text; in thinking it hides no tag, since the answer may begin
    behind it.
    """
    block = fences.block_at(opening[0], is_strict=not is_answer)
    if is_answer:
        return len(text) if block is None else block.end
    if block is None or _ANSWER_BEGINS.search(text, block.begin, block.end):
        return opening[1]
    return block.end
