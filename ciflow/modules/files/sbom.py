"""Lists what an image in an archive is made of. Reads a JSON object on standard input, writes one on standard output;
run by `modules/sbom_path.py`."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from ciflow.model import Context, Outcome
from ciflow.modules import sbom
from ciflow.modules.sbom_path import Listing, called
from ciflow.supply.errors import SupplyError
from ciflow.supply.subject import image


def main() -> int:
    wish = json.load(sys.stdin)
    try:
        with Path(wish["archive"]).open("rb") as archive:
            bom = image(archive, wish["own"], called(wish))
        print(json.dumps(documents(sbom.listed(wish, Context(), bom, exact=False))))
    except (SupplyError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def documents(listing: Listing | Outcome) -> dict[str, Any]:
    if isinstance(listing, Outcome):
        raise SupplyError(listing.msg)
    contents = {name: base64.b64encode(content).decode() for name, content in listing.contents.items()}
    return {"documents": contents, "counts": listing.counts}


if __name__ == "__main__":
    sys.exit(main())
