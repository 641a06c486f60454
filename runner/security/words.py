"""Words without which a pattern finds nothing.

Most texts have none of them, and a search for a word takes a hundredth of the time of a search for a pattern.
"""

from __future__ import annotations


def has_any(text: str, words: tuple[str, ...]) -> bool:
    """Whether the text has one of these words, as they are written."""
    for word in words:  # noqa: SIM110  # a generator takes three times as long
        if word in text:
            return True
    return False


def has_in_any_case(text: str, words: tuple[str, ...]) -> bool:
    """The same for a pattern that ignores case, with words in small letters.

    A text with more than ASCII always counts: re.IGNORECASE takes a few such letters for one of ASCII (a long s).
    """
    return not text.isascii() or has_any(text.lower(), words)
