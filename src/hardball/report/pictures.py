"""Pictures made small enough for a page."""

from io import BytesIO

BYTES = 1_200_000
"""Of all pictures of a page that other commands have drawn."""


def fitted(content: bytes, most: int) -> bytes:
    """A PNG of at most so many bytes: with fewer colours, then smaller and smaller, if need be."""
    from PIL import Image

    if len(content) <= most:
        return content
    picture = Image.open(BytesIO(content)).convert("RGB")
    while len(content) > most and min(picture.size) > 64:
        buffer = BytesIO()
        picture.quantize(256).save(buffer, format="PNG", optimize=True)
        content = buffer.getvalue()
        width, height = picture.size
        picture = picture.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.LANCZOS)
    return content
