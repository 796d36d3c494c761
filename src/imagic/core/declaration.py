"""What a picture tells other programs: that it was edited by AI, and with what (XMP).

The IPTC's property DigitalSourceType says that a photograph was edited with generative AI; its properties AISystemUsed
and AISystemVersionUsed (IPTC Photo Metadata 2025.1) and XMP's CreatorTool say with what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from PIL import Image

EDITED_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PNG_KEY = "XML:com.adobe.xmp"
MAX_PACKET = 1 << 20  # characters of what is read

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPACES = {"Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "xmp": "http://ns.adobe.com/xap/1.0/"}
# The name under which `imagic inspect` shows a property, and the property.
_PROPERTIES = {
    "digital_source_type": "Iptc4xmpExt:DigitalSourceType",
    "creator_tool": "xmp:CreatorTool",
    "ai_system": "Iptc4xmpExt:AISystemUsed",
    "ai_system_version": "Iptc4xmpExt:AISystemVersionUsed",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Declaration:
    """version: of imagic. method, model: their names."""

    version: str
    method: str
    model: str

    @property
    def system(self) -> str:
        return f"imagic, method {self.method}, model {self.model}"

    @property
    def sentence(self) -> str:
        """For files that hold no XMP."""
        return f"Edited by AI ({self.system}, version {self.version})"

    def packet(self) -> bytes:
        """The XMP packet, UTF-8."""
        values = {
            "digital_source_type": EDITED_BY_AI,
            "creator_tool": f"imagic {self.version}",
            "ai_system": self.system,
            "ai_system_version": self.version,
        }
        spaces = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in _SPACES.items())
        properties = "".join(
            f" {_PROPERTIES[name]}={quoteattr(_NOT_XML.sub('', value))}" for name, value in values.items()
        )
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
            f'<rdf:Description rdf:about=""{spaces}{properties}/>'
            '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()


def read_declaration(image: Image.Image) -> dict[str, str]:
    """The properties above that a Pillow image declares, by whatever program, under the names of `imagic inspect`.

    Empty where there are none, or no XMP that can be read. The values are untrusted text.
    """
    packet = image.info.get("xmp", b"")
    try:
        text = packet.decode() if isinstance(packet, bytes) else str(packet)
        if not 0 < len(text) <= MAX_PACKET:
            return {}
        root = ElementTree.fromstring(text.rstrip("\0"))
    except (ValueError, ElementTree.ParseError, DefusedXmlException):
        return {}
    found = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        for name, tag in _PROPERTIES.items():
            prefix, _, local = tag.partition(":")
            key = f"{{{_SPACES[prefix]}}}{local}"
            # XMP allows a simple property as an attribute or as an element.
            value = (description.get(key) or description.findtext(key) or "").strip()
            if value:
                found[name] = value
    return found
