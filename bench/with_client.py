"""The floor: objects that are rendered are sent to the server by the client that orch uses, and nothing else.

python bench/with_client.py apply NAMESPACE FILE...     each file's objects, one after another, by server-side apply
python bench/with_client.py create NAMESPACE FILE...    the ConfigMaps are created, as orch does

Prints the seconds it took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config.kube_config import load_kube_config

PLURALS = {"ConfigMap": "configmaps", "JobSet": "jobsets"}
QUERY = [("fieldManager", "bench"), ("fieldValidation", "Strict")]
METHODS = {"PATCH": "application/apply-patch+yaml", "POST": "application/json"}
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def main(how: str, namespace: str, *files: str) -> float:
    documents = [one for file in files for one in yaml.load_all(Path(file).read_text(), LOADER)]
    configuration = Configuration()
    load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs - untyped
    client = ApiClient(configuration)
    started = time.perf_counter()
    for document in documents:
        send(client, namespace, document, create=how == "create" and document["kind"] == "ConfigMap")
    return time.perf_counter() - started


def send(client: ApiClient, namespace: str, document: dict[str, Any], *, create: bool) -> None:
    group = document["apiVersion"]
    base = f"/apis/{group}" if "/" in group else f"/api/{group}"
    path = f"{base}/namespaces/{namespace}/{PLURALS[document['kind']]}"
    method, path = ("POST", path) if create else ("PATCH", f"{path}/{document['metadata']['name']}")
    headers = {"Accept": "application/json", "Content-Type": METHODS[method]}
    arguments = client.param_serialize(
        method,
        path,
        query_params=QUERY,
        header_params=headers,
        body=document if create else json.dumps(document),
        auth_settings=["BearerToken"],
    )
    response = client.call_api(*arguments, _request_timeout=20).response
    json.loads(response.data)
    if response.status >= 300:
        raise SystemExit(f"{path}: {response.status} {response.data[:500]!r}")


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
