"""Content Credentials (C2PA): a signed statement inside a picture of what it was made from, how, and by whose key.

Needs the packages c2pa-python and cryptography. Nothing here reaches the network: signatures carry no time stamp of an
authority, and nothing that a picture refers to is fetched. `open_signer()` gives the key, `verify` reads a picture.
"""

from imagic.signing.keys import Credentials, key_files, open_credentials
from imagic.signing.manifest import Signer, open_signer
from imagic.signing.verify import Verification, verify

__all__ = ["Credentials", "Signer", "Verification", "key_files", "open_credentials", "open_signer", "verify"]
