"""Runs two checkers of SCIM servers, which nobody here wrote, against one server.

`check.py URL TOKEN` prints one line of JSON for each finding: which checker, what of, the verdict, and why.
The last line says that it came to its end.
"""

import json
import subprocess
import sys

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

BAD = {"DEVIATION", "ERROR", "CRITICAL"}


def tell(checker, title, verdict, reason):
    print(json.dumps({"checker": checker, "title": title, "verdict": verdict, "reason": reason}), flush=True)


def scim2_tester(url, token):
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
        for result in check_server(SyncSCIMClient(client)):
            title = f"{result.resource_type or ''} {result.title}".strip()
            verdict = result.status.name
            reason = f"{result.reason} {result.data}"[:1000] if verdict in BAD else result.reason
            tell("scim2-tester", title, verdict, reason)


def scim_sanity(url, token):
    command = [sys.executable, "-m", "scim_sanity", "probe", url, "--token", token, "--timeout", "60"]
    command += ["--strict", "--json-output", "--i-accept-side-effects"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        results = json.loads(said.stdout)["results"]
    except (ValueError, KeyError) as error:
        sys.exit(f"scim-sanity said {said.stdout!r} {said.stderr!r}: {error}")
    for result in results:
        tell("scim-sanity", result["name"], result["status"].upper(), result.get("message"))


if __name__ == "__main__":
    _, base, secret = sys.argv
    scim2_tester(base, secret)
    scim_sanity(base, secret)
    print(json.dumps({"end": True}))
