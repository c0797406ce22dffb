"""URLs, and messages about the stores behind them without secrets."""

import os
import re
import sys
from urllib.parse import unquote, urlsplit

from dnmf.errors import DataError

# Environment variables that configure access to a store, and those among them that hold secrets.
REACHED = re.compile(r"(AWS|AZURE|GOOGLE|GCS|GCLOUD|FSSPEC)_")
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SIGNATURE|SAS")


def is_url(given: object) -> bool:
    """Return whether a text is a URL rather than a path."""
    return "://" in str(given)


def without_file_scheme(given: str) -> str:
    """Return the path of a `file://` URL on this machine; any other text is returned unchanged.

    >>> without_file_scheme("file:///data/a%20b.npy"), without_file_scheme("s3://bucket/a.zarr")
    ('/data/a b.npy', 's3://bucket/a.zarr')
    """
    if not given.lower().startswith("file://"):
        return given
    parts = urlsplit(given)
    return unquote(parts.path) if parts.netloc in ("", "localhost") and not parts.query else given


def check_url(url: str) -> str:
    """Return a URL without a trailing slash; DataError if it holds credentials or a query.

    >>> check_url("s3://bucket/run.zarr/")
    's3://bucket/run.zarr'
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment or ":" in parts.netloc.rpartition("@")[0]:
        raise DataError(
            f"{parts.scheme}://{parts.hostname or ''}{parts.path} was given with credentials, or a query, in its URL, "
            "where they would end up in stores and logs; give the bare URL, and credentials as the library of that "
            "store takes them, as by AWS_ACCESS_KEY_ID in the environment."
        )
    return url if url.endswith("://") else url.rstrip("/")


def object_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exceptions of disks and object stores, and those given."""
    obstore = sys.modules.get("obstore")
    return (OSError, *more) if obstore is None else (OSError, obstore.exceptions.BaseError, *more)


def redacted(error: BaseException) -> str:
    """Return the message of an error on one line, without the secrets of the environment."""
    text = " ".join(str(error).partition("Debug source:")[0].split())
    for name, value in os.environ.items():
        if REACHED.match(name) and SECRET.search(name) and len(value) > 3:
            text = text.replace(value, "…")
    text = re.sub(r"(?i)<(\w*(?:accesskeyid|signature|stringtosign\w*|token))>.*?</\1>", r"<\1>…</\1>", text)
    text = re.sub(r"(?i)\b(sig|signature|x-amz-[a-z-]+|token)=[^&\s'\")]+", r"\1=…", text)
    return text if len(text) <= 400 else text[:400] + " …"
