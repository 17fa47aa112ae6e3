"""One way to write each thing: Unicode, plain text and the habits of typesetting become the LaTeX that is read.

Nothing here decides what is equal; it only rewrites what means one thing to a person who reads it. May import:
nothing.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

FUNCTIONS = (
    *("arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "coth", "sin", "cos", "tan", "cot", "sec"),
    *("csc", "ln", "lg", "log", "exp", "max", "min", "gcd", "lcm", "lim", "det", "arg", "sqrt", "abs"),
    *("asin", "acos", "atan", "sgn", "mod", "deg", "dim", "ker", "cbrt"),
)
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
)
_AMBIGUOUS = ("min", "max", "sec", "deg", "arg", "dim", "det", "lim", "gcd", "lcm", "abs", "exp", "cot", "log")
"""Names that are units or words unless a bracket follows."""

_INFINITE = ("infinity", "Infinity", "infty", "inf", "oo")
KNOWN_WORDS = frozenset((*FUNCTIONS, *GREEK, *_INFINITE, "and", "or"))

_SYMBOLS = {
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "−": "-", "–": "-", "∕": "/"},
    **{"≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv "},
    **{"∞": r"\infty ", "±": r"\pm ", "∓": r"\mp ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset "},
    **{"°": r"^\circ ", "º": r"^\circ ", "℃": r"^\circ\text{C}", "℉": r"^\circ\text{F}", "′": "'", "⁄": "/"},
    **{"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"},
    **{"→": r"\to ", "⇒": r"\Rightarrow ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∖": r"\setminus "},
    **{"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "’": "'", "ⅈ": "i", "ⅇ": "e"},
    **{"⟨": r"\langle ", "⟩": r"\rangle ", "…": r"\ldots ", "ℓ": "l", "ϕ": r"\phi ", "ϵ": r"\epsilon "},
    **{"µ": r"\mu ", "Ω": r"\Omega ", "€": r"\text{ euro}", "£": r"\text{ pound_sterling}", "％": r"\%"},
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎]+")
_BAR = "\u0305"
_BARRED = re.compile(rf"(?:\d{_BAR})+")
_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|\\?[A-Za-z]+|(?=[({]))")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}

_TURNED_BRACKETS = re.compile(r"(?<![\w)}\]])([\[\]])([^\[\]()]*[,;][^\[\]()]*)([\[\]])")
_SIZE = re.compile(r"\\m?(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?")
_NOTHING = re.compile(r"\\!|\\(?:displaystyle|textstyle|limits|nolimits|thinmuskip|null|phantom\{[^{}]*\})(?![A-Za-z])")
_SPACE = re.compile(r"(?<!\\)\\(?:[,:;> ]|(?:quad|qquad|thinspace|enspace|enskip|medspace|thickspace)(?![A-Za-z]))|~")
_VECTOR = re.compile(
    r"\\langle((?:(?!\\[lr]angle)[^<>])*,(?:(?!\\[lr]angle)[^<>])*)\\rangle|(?:^|(?<==))\s*<([^<>=]*,[^<>=]*)>\s*$"
)
_OF_SET = re.compile(r"(?<=\\)(min|max|gcd|lcm)\s*\\\{((?:(?!\\[{}]).)*)\\\}")
_TEXT_NUMBER = re.compile(r"(?<![\w}^_])\\(?:text[a-z]*|mathrm|mbox)\s*\{\s*(-?\d[^{}]*)\}")
_ORDINAL = re.compile(
    r"(?<![\w.^_])(\d+)\s*(?:\^\s*)?(?:\{\s*)?\\(?:text[a-z]*|mathrm|mbox)\s*\{\s*(?:st|nd|rd|th)\s*\}(?:\s*\})?"
    r"|(?<![\w.^_])(\d+)(?:st|nd|rd|th|\s*\^\s*\{\s*(?:rd|th)\s*\})(?![A-Za-z])"
)
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
_FACTORIAL_EQUALS = re.compile(r"(?<=[\d)])!=")
_TO = re.compile(r"^\s*(\d+)\s*(?:\\text\s*\{\s*to\s*\}|to(?![A-Za-z]))\s*(\d+)\s*$")
_BARE_SET = re.compile(r"\\mathbb\s+([A-Z])(?![A-Za-z])")
_HALF_LINES = (
    (re.compile(r"\\mathbb\{R\}\s*_\s*\{\s*(?:\\geqslant|\\geq|\\ge|>=)\s*0\s*\}"), r"[0, \\infty)"),
    (re.compile(r"\\mathbb\{R\}\s*_\s*\{\s*(?:\\leqslant|\\leq|\\le|<=)\s*0\s*\}"), r"(-\\infty, 0]"),
    (re.compile(r"\\mathbb\{R\}\s*(?:[\^_]\s*(?:-|\{\s*-\s*\})|_\s*\{\s*<\s*0\s*\})"), r"(-\\infty, 0)"),
    (re.compile(r"\\mathbb\{R\}\s*(?:[\^_]\s*(?:\+|\{\s*\+\s*\})|_\s*\{\s*>\s*0\s*\})"), r"(0, \\infty)"),
)
_POSITIVE = re.compile(r"(\\mathbb\{N\}|(?<=\\in )N)\s*\^\s*(?:\*|\{\s*\*\s*\}|\\ast|\{\s*\\ast\s*\})")
_UNIT_VECTOR = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|vec|overrightarrow)\s*\{\s*([ijk])\s*\}"
    r"|\\hat\s*\{\s*\\(?:(?:mathbf|boldsymbol|bm|mathrm|textbf)\s*\{\s*([ijk])\s*\}|([ij])math)\s*\}"
)
_WITHOUT = re.compile(r"\\mathbb\{R\}\s*[-/]\s*(\\\{|\\left\s*\\\{)")
_SYSTEM = re.compile(
    r"(?:\\\{\s*)?\\begin\{(cases|aligned|align\*?|gathered|array|split)\}(?:\{[lcr]+\})?((?:(?!\\begin|\\\\|(?<!=)&(?!=))[^=])*"
    r"=(?:(?!\\begin|&(?!=)).)*)\\end\{\1\}",
    re.DOTALL,
)
_COLUMN = re.compile(
    r"(?P<name>(?:[^=]*=)?\s*)\\begin\{(?P<kind>[pb]matrix)\}"
    r"(?P<rows>(?:(?!\\begin|\\end|&).)*\\\\(?:(?!\\begin|\\end|&).)*)\\end\{(?P=kind)\}\s*",
    re.DOTALL,
)
_ROW_END = re.compile(r"\\\\(?:\[[^\]]*\])?")
_TEXT_COMMA = re.compile(r"\\text\s*\{\s*,\s*\}")
_BETWEEN_EQUATIONS = re.compile(r"(?<==)([^=,]*?[^=,\s])\s*\\q?quad\s*(?=[A-Za-z]\w*\s*=)")
_WRAPPED = r"\\(?:mathrm|operatorname\*?|text|textrm|textnormal|mbox|textup|mathit|mathsf)\s*\{\s*(%s)\s*\}"
_UPRIGHT_LETTER = re.compile(_WRAPPED % "[abceijknopqrvwxyzXYZ]" + r"|\{\s*\\rm\s+([ei])\s*\}")
_UPRIGHT_GREEK = re.compile(_WRAPPED % r"\\[A-Za-z]+")
_UPRIGHT_FUNCTION = re.compile(_WRAPPED % "|".join(name for name in FUNCTIONS if name not in _AMBIGUOUS))
_UPRIGHT_NUMBER = re.compile(_WRAPPED % r"-?\d+(?:\.\d+)?")
_UNBRACED = re.compile(
    r"\\(mathrm|mathit|mathsf|mathbf|boldsymbol|rm|hat|vec|bar|tilde|overline)(?:\s+|(?=\d))([A-Za-z0-9])(?![A-Za-z])"
    r"|\\(rm)\s*\{([^{}]*)\}"
)
_OLD_ROMAN = re.compile(r"\{\s*\\(?:rm|bf|it)\s+([^{}]*)\}")
_FORMULA = re.compile(r"(?<!\\)\$([^$]*[^$\\])\$|\\\(((?:(?!\\\)).)*)\\\)")
_SIGNED_POWER = re.compile(r"\^\s*([-+]\d+)")
_COMMAND_TWICE = re.compile(r"\\\\(?=[A-Za-z])")

_TEXT_SPAN = re.compile(r"(\\(?:text[a-z]*|mathrm|mathsf|mbox|operatorname\*?|begin|end)\s*\{[^{}]*\})")
_NAME = re.compile(
    rf"(?<![\\A-Za-z_])(?!(?:{'|'.join(_AMBIGUOUS)})(?!\s*[(^_]))"
    rf"({'|'.join((*FUNCTIONS, *GREEK, *_INFINITE))})(?![A-Za-z])(?:(?<=sqrt)\s*(\d+))?"
)
_GLUED = re.compile(r"(?<![A-Za-z\\])(\d*[a-z]?)(arcsin|arccos|arctan|sin|cos|tan|cot|ln|log|lg)([xyt])(?![A-Za-z])")
_LOG_BASE = re.compile(r"(?<![A-Za-z])\\?log(\d+)\s*(?=\()")
_ROUNDED = re.compile(r"(?<![A-Za-z\\])(floor|ceil)(?:ing)?\s*\(([^()]*)\)")
_SEC = re.compile(r"(?<![A-Za-z\\\d])(?<!\d )sec(?=\s+[a-z](?![A-Za-z]))")
_SAME_FUNCTION = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_OPENED = re.compile(r"\\(sqrt|cbrt|abs)\s*(?=\()|\^\s*(?=\()")
_BRACED = {"sqrt": r"\sqrt{%s}", "cbrt": r"\sqrt[3]{%s}", "abs": "|%s|", None: "^{%s}"}
_E_NOTATION = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])")

_SPACED_THOUSANDS = re.compile(r"(?<![\w.,])(?<!\d )\d{1,3}(?: \d{3})+(?![\d/]| \d)(?:\.\d+)?")
_HALF_OF = re.compile(
    r"(?<![\w.,}/^])(?<!\d )(\d+)/(\d+) +(?=[A-Za-z](?![A-Za-z])[^A-Za-z]*$|\\(?:pi|sqrt)(?![A-Za-z]))"
)
_SPACED_PLACES = re.compile(r"(?<![\w.])\d+\.\d{3}(?: \d{3})* \d{1,3}(?![\d/.])")
_APOSTROPHES = re.compile(r"(?<![\w.,'])\d{1,3}(?:'\d{3})+(?!\d)")
_POINTED_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})(?![\d.,])")
_LARGE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LARGE_NUMBER = re.compile(
    rf"(\d)\s*(?:({'|'.join(_LARGE)})\b|\\(text[a-z]*|mathrm|mbox)\s*\{{\s*({'|'.join(_LARGE)})\b\s*([^{{}}]*)\}})"
)
_MARKED_COMMA = re.compile(r"(\d)\s*(?:\{\s*,\s*\}|,\\!\s*|\\!,\s*)\s*(?=\d)")
_MARKED_NUMBER = re.compile(r"\d+(?:\x00\d+)+(?:\.\d+)?")
_MIXED_NUMBER = re.compile(
    r"(?<![\w.}/^_])(\d+) ?(?:(?<= )(\d+)/(\d+)|\\[dtc]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)\s*(\d)))(?![\d.])"
)
_PART = r"\s*(?:\{\s*([^{}]+?)\s*\}|(\d|\s[A-Za-z]|\\(?:pi|alpha|beta|theta)(?![A-Za-z])))"
_FRACTION = re.compile(rf"\\[dtc]?frac{_PART}{_PART}")
_SHORT_BINOMIAL = re.compile(r"\\([dt]?binom)\s*(\d)\s*(\d)")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\[[^\[\]]*\])?\s*([\dA-Za-z]|\\[A-Za-z]+)")
_SHORT_LOGARITHM = re.compile(r"\\log\s*_\s*(\d)\s*(?=\d)")
_REPEATING = re.compile(
    r"(?<![\w.,])(\d*)(?:\.|(?<=\d),)(\d*)(?:\\(?:overline|bar)\s*(?:\{(\d+)\}|(\d))|\((\d+)\)(?![\d(]))"
)
_DOTTED = re.compile(r"(?<![\w.])(\d*)\.(\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?")
_GOES_ON = re.compile(
    r"(?<![\w.])(\d*)\.(\d*?)(?:(\d)\3+|(\d{2,}?)\4+)\s*(?:\.\.\.|\\(?:[lc]?dots|dotsb|dotsc)(?![A-Za-z]))"
)


def latex(text: str) -> str:
    """What a person reads in `text`, in the LaTeX that is parsed."""
    text = _with_sets(_without_unicode(_FORMULA.sub(lambda found: f" {found[1] or found[2]} ", text)))
    text = _TIMES_TEN.sub(r" \\times ", _FACTORIAL_EQUALS.sub("! =", text))
    text = _ORDINAL.sub(lambda found: found[1] or found[2], _TEXT_NUMBER.sub(r" \1 ", text))
    text = _TO.sub(r"\1:\2", text)
    text = _COMMAND_TWICE.sub(r"\\", text) if r"\begin" not in text else text
    text = _rows(_SIZE.sub("", text).replace("{:}", ":"))
    text = _UNIT_VECTOR.sub(lambda found: f"\\hat{{{found[1] or found[2] or found[3]}}}", text)
    text = _OF_SET.sub(r"\1(\2)", _VECTOR.sub(lambda found: f"({found[1] or found[2]})", text))
    text = _TEXT_COMMA.sub(", ", _BETWEEN_EQUATIONS.sub(r"\1, ", text.replace(r"\colon", ":")))
    text = _joined_at_marked_commas(text)
    text = " ".join(_SPACE.sub(" ", _NOTHING.sub("", text)).split())
    text = _UNBRACED.sub(_braced, text)
    text = _OLD_ROMAN.sub(r"\\mathrm{\1}", _UPRIGHT_LETTER.sub(lambda found: f" {found[1] or found[2]} ", text))
    for pattern, form in ((_UPRIGHT_GREEK, r" \1 "), (_UPRIGHT_FUNCTION, r"\\\1 "), (_UPRIGHT_NUMBER, r" \1 ")):
        text = pattern.sub(form, text)
    text = _SIGNED_POWER.sub(r"^{\1}", " ".join(_with_plain_names(text).split()))
    return _TURNED_BRACKETS.sub(_interval, _with_numbers(text))


def _with_sets(text: str) -> str:
    """Sets of numbers with their usual names: half of the line as an interval, a minus between sets as a slash."""
    text = _BARE_SET.sub(r"\\mathbb{\1}", text)
    text = _POSITIVE.sub(r"\1^{+}", text)
    for pattern, interval in _HALF_LINES:
        text = pattern.sub(interval, text)
    return _WITHOUT.sub(r"\\mathbb{R} \\setminus \1", text)


def _rows(text: str) -> str:
    """Equations that stand below each other as a list, a column of values as a tuple."""
    text = _SYSTEM.sub(lambda found: _listed(found[2].replace("&=", "=").replace("=&", "=")), text)
    column = _COLUMN.fullmatch(text)
    return f"{column['name']}({_listed(column['rows'])})" if column else text


def _listed(rows: str) -> str:
    return ", ".join(row.strip().rstrip(",;") for row in _ROW_END.split(rows) if row.strip()).replace(", =", "=")


def _braced(found: re.Match[str]) -> str:
    name, letter = found[1] or found[3], found[2] or found[4]
    return f"\\{'mathrm' if name == 'rm' else name}{{{letter}}}"


def _interval(found: re.Match[str]) -> str:
    """An interval that is open where its brackets are turned: `]0, 1]` is `(0, 1]`."""
    return f"{found[1].replace(']', '(')}{found[2]}{found[3].replace('[', ')')}"


# --- characters -----------------------------------------------------------------------------------------------------


def _without_unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_RAISED)}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{run[0].translate(_LOWERED)}}}", text)
    text = _BARRED.sub(lambda run: f"\\overline{{{run[0].replace(_BAR, '')}}}", text)
    text = _ROOT.sub(lambda root: _ROOTS[root[1]] + (f"{{{root[2]}}}" if root[2] else ""), text)
    return "".join(map(_latex_character, text))


def _latex_character(character: str) -> str:
    if character.isascii():
        return character
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK "):
        letter = name.rpartition(" ")[2].lower().replace("lamda", "lambda")
        return f"\\{letter.capitalize() if 'CAPITAL' in name else letter} "
    if name.startswith("VULGAR FRACTION"):
        value = Fraction(unicodedata.numeric(character)).limit_denominator(100)
        return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    return unicodedata.normalize("NFKC", character)


# --- names and operators of plain text ------------------------------------------------------------------------------


def _with_plain_names(text: str) -> str:
    """Names of functions and letters as commands, outside of words; operators of programs as those of mathematics."""
    parts = _TEXT_SPAN.split(text.replace("**", "^").replace("*", r" \cdot "))
    parts[::2] = map(_with_commands, parts[::2])
    return "".join(parts)


def _with_commands(text: str) -> str:
    text = _SEC.sub(r"\\sec", _LOG_BASE.sub(r"\\log_{\1} ", _GLUED.sub(r"\1\\\2 \3", text)))
    text = _ROUNDED.sub(lambda found: rf"\l{found[1]} {found[2]}\r{found[1]}", text)
    return _with_braces(_E_NOTATION.sub(r"\1 \\times 10^{\2}", _NAME.sub(_command, text)))


def _command(name: re.Match[str]) -> str:
    if name[1] in _INFINITE:
        return r"\infty "
    return rf"\{_SAME_FUNCTION.get(name[1], name[1])}{f'{{{name[2]}}}' if name[2] else ' '}"


def _with_braces(text: str) -> str:
    """Round brackets behind a root, an exponential or a caret hold all of it: `2^(1/2)` is `2^{1/2}`."""
    while (found := _OPENED.search(text)) is not None:
        end = _closing(text, found.end())
        if end is None:
            return text
        inside = text[found.end() + 1 : end]
        text = f"{text[: found.start()]}{_BRACED[found[1]] % inside}{text[end + 1 :]}"
    return text.replace(r"\lg ", r"\log_{10} ")


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return None


# --- numbers --------------------------------------------------------------------------------------------------------


def _joined_at_marked_commas(text: str) -> str:
    """Numbers whose commas are marked as no list's: `1{,}234` and `1,\\!234` are 1234, `0{,}5` is 0.5."""
    return _MARKED_NUMBER.sub(_without_comma, _MARKED_COMMA.sub("\\1\0", text)).replace("\0", ", ")


def _without_comma(number: re.Match[str]) -> str:
    whole, *groups = number[0].split("\0")
    if len(whole) <= 3 and whole != "0" and all(re.fullmatch(r"\d{3}(?:\.\d+)?", group) for group in groups):
        return "".join((whole, *groups))
    return f"{whole}.{groups[0]}" if len(groups) == 1 else number[0]


def _with_numbers(text: str) -> str:
    """Numbers without spaces between their digits; mixed and repeating ones as the fraction that they are."""
    text = _FRACTION.sub(
        lambda part: f"\\frac{{{(part[1] or part[2]).strip()}}}{{{(part[3] or part[4]).strip()}}}", text
    )
    text = _SHORT_BINOMIAL.sub(r"\\\1{\2}{\3}", text)
    text = _SHORT_ROOT.sub(lambda root: f"\\sqrt{root[1] or ''}{{{root[2]}}}", text)
    text = _SHORT_LOGARITHM.sub(r"\\log_{\1} ", text)
    text = _APOSTROPHES.sub(lambda number: number[0].replace("'", ""), text)
    text = _POINTED_THOUSANDS.sub(lambda number: number[0].replace(".", "").replace(",", "."), text)
    text = _LARGE_NUMBER.sub(_power_of_ten, text)
    text = _SPACED_THOUSANDS.sub(lambda number: number[0].replace(" ", ""), text)
    text = _HALF_OF.sub(r"\\frac{\1}{\2} ", text)
    text = _SPACED_PLACES.sub(lambda number: number[0].replace(" ", ""), text)
    for pattern in (_REPEATING, _DOTTED, _GOES_ON):
        text = pattern.sub(_repeating_fraction, text)
    return _MIXED_NUMBER.sub(_improper_fraction, text)


def _power_of_ten(number: re.Match[str]) -> str:
    """`5 million` as the number that it is, with what stands behind it in the same text as its unit."""
    digit, plain_name, command, name, rest = number.groups()
    unit = f"\\{command}{{ {rest}}}" if rest else ""
    return f"{digit} \\times 10^{{{_LARGE[plain_name or name]}}}{unit}"


def _repeating_fraction(number: re.Match[str]) -> str:
    whole, places, *period = (group or "" for group in number.groups())
    digits = "".join(period)
    value = Fraction(
        int(whole + places + digits) - int(whole + places or "0"), 10 ** len(places) * (10 ** len(digits) - 1)
    )
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _improper_fraction(number: re.Match[str]) -> str:
    whole, *parts = (int(group) for group in number.groups() if group is not None)
    if parts[0] >= parts[1]:
        return number[0]
    return f"\\frac{{{whole * parts[1] + parts[0]}}}{{{parts[1]}}}"
