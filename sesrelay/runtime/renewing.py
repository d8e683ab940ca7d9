"""Renews self-made certificates in a process of its own, so that no worker ever holds the CA's key.

``python -m sesrelay.runtime.renewing`` reads on stdin what may be renewed and prints what was, both as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sesrelay.certificates.authority import Renewal, renew
from sesrelay.certificates.pairs import BadPair, PairFiles
from sesrelay.model.failure import Failed


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Does what the order says; ``fault`` is "" or why something was left undone."""
    files = tuple(PairFiles(Path(certificate), Path(key)) for certificate, key in order["files"])
    renewal = Renewal(files, order["service_domain"], tuple(order["regions"]))
    try:
        done = renew(renewal, Path(order["folder"]), order["now"], only_due=True)
    except (Failed, BadPair, OSError) as error:
        return {"renewed": [], "fault": str(error)}
    return {"renewed": [str(each.certificate) for each in done], "fault": ""}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
