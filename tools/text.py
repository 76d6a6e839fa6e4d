"""Text of names that come from users and files, made safe for terminals and figures."""

import unicodedata

# Marks that change the direction of the text around them, and the two line ends outside ASCII.
BIDI_AND_LINE_ENDS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


def visible(text: str, *, keep: str = "") -> str:
    r"""Text without anything that controls a terminal: such a character becomes its escape, like ``\x1b``.

    These are control characters, line ends, marks of the direction of writing, and bytes that are not UTF-8.

    Args:
        text: any text.
        keep: characters that stay as they are.
    """
    return "".join(c if c in keep or not _is_control(c) else ascii(c)[1:-1] for c in text)


def size_text(size: int) -> str:
    """Number of bytes in a unit in which it can be read: B, KiB, MiB or GiB."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def counted(number: int, noun: str, ending: str = "s") -> str:
    """Number with its noun in the singular or plural."""
    return f"{number} {noun}{ending if number != 1 else ''}"


def rounded_sum(total: float, *terms: float) -> list[float]:
    """Round the terms of a sum to one decimal so that what is printed adds up to the rounded total.

    Args:
        total: the sum.
        terms: all terms but the last.

    Returns:
        The rounded terms, and as the last one what they leave of the rounded total.
    """
    rounded = [round(float(term), 1) for term in terms]
    rest = round(round(float(total), 1) - sum(rounded), 1)
    return [term + 0.0 for term in (*rounded, rest)]  # no -0.0


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in BIDI_AND_LINE_ENDS
