"""Pictures as data URIs, so that the page holds them."""

import base64
import io
from pathlib import Path

from PIL import Image

from raremix.report.blocks import Picture

WIDEST = 1024  # pixels; more would make the page of a run at 512 pixels an image a hundred megabytes


def picture(path: Path, caption: str, alt: str) -> Picture:
    """The picture at ``path``: its very bytes, or those of a smaller one if it is wider than WIDEST."""
    with Image.open(path) as image:
        if image.width <= WIDEST:
            return Picture(caption, alt, _uri(path.read_bytes(), "png"), image.width, image.height)
        height = round(image.height * WIDEST / image.width)
        small = image.convert("RGB").resize((WIDEST, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "webp", quality=80)
    return Picture(caption, alt, _uri(stream.getvalue(), "webp"), WIDEST, height)


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
