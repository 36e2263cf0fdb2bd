"""Texts as they may leave the process."""


def utf8(text: str) -> str:
    """Return the text without lone surrogates, over which the OTLP encoder fails."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
