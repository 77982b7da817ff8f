"""Requests to an API server by the official client: dataclasses out of its JSON, a time-out on every call.

A request ends in one of three ways: an answer, a refusal (Refused), or not knowing (Unreachable).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.clusters.kubernetes.answers import Json, KubeContext, Listed, Manifest, ObjectMeta, Page, Status, read
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.errors import RecordError
from orchestrator.system import logs

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
LOG_SECONDS = 5.0  # of a kubelet, which may be away
CONNECTIONS = 128  # in the pool: every stream has one to itself
PAGE = 500  # objects in one answer to a list
MANAGER = "orch"  # the field manager
JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_NEVER = (  # in the message of a 500
    "failed to create typed patch object",  # a field that no schema has
    "request is too large",  # of etcd
    "message larger than max",
)
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_ANONYMOUS = '"system:anonymous"'  # the user of a request without credentials, as when a kubeconfig's plugin failed
_UNSAFE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Query = Sequence[tuple[str, str]]
T = TypeVar("T")


class Refused(ClusterError):
    """The server refused a request. `status` is that of HTTP, `reason` the server's (as in NotFound)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def is_missing(self) -> bool:
        return self.status == 404

    @property
    def is_forbidden(self) -> bool:
        return self.status == 403

    @property
    def is_conflict(self) -> bool:
        return self.status == 409


class Api:
    """Holds the connections, which open on first use: rendering and planning contact nothing."""

    def __init__(self, name: str, profile: KubernetesProfile) -> None:
        self._name = name
        self._profile = profile
        self._client: Any = None
        self._context: str | None = None
        self._namespace: str | None = None

    @property
    def namespace(self) -> str:
        """The profile's, else that of the kubeconfig's context or of the pod this runs in."""
        return self.named_namespace or "default"

    @property
    def named_namespace(self) -> str | None:
        """The same; None if neither names one. Raises ClusterError."""
        self._open()
        return self._profile.namespace or self._namespace

    @property
    def context(self) -> str | None:
        """The kubeconfig's context; None where this runs as the service account of a pod. Raises ClusterError."""
        self._open()
        return self._context

    @property
    def host(self) -> str:
        """The server's address. Raises ClusterError."""
        return str(self._open().configuration.host)

    def core(self, plural: str, name: str = "") -> str:
        """The path of a resource of the core group in the namespace, or of one object of it."""
        base = f"/api/v1/namespaces/{self.namespace}/{plural}"
        return f"{base}/{name}" if name else base

    def get(self, kind: type[T], path: str, *, metadata_only: bool = False) -> T:
        """One object. Raises Refused and Unreachable."""
        accept = _METADATA_ONLY if metadata_only else JSON
        return self._read(kind, self._json(self._request("GET", path, accept=accept)))

    def list(self, kind: type[T], path: str, query: Query = (), *, metadata_only: bool = False) -> Listed[T]:
        """All objects, page by page. Raises Refused and Unreachable."""
        accept = _METADATA_LIST if metadata_only else JSON
        items: list[T] = []
        unreadable: list[tuple[Mapping[str, str], RecordError]] = []
        more: Query = ()
        while True:
            response = self._request("GET", path, query=(*query, ("limit", str(PAGE)), *more), accept=accept)
            page = self._read(Page, self._json(response))
            for item in page.items:
                try:
                    items.append(read(kind, item))
                except RecordError as error:
                    logs.info(__name__, f"the API server of {self._name} answered {error}")
                    unreadable.append((self._read(ObjectMeta, item).labels, error))
            if not page.more:
                return Listed(
                    items=tuple(items), at=_clock(response), version=page.version, unreadable=tuple(unreadable)
                )
            more = (("continue", page.more),)

    def create(self, path: str, document: Manifest) -> None:
        """A new object. Raises Refused, also when the name is taken, and Unreachable."""
        self._write("POST", path, document, JSON)

    def review(self, kind: type[T], path: str, document: Manifest) -> T:
        """Create an object whose status is the answer to a question. Raises Refused and Unreachable."""
        return self._read(kind, self._write("POST", path, document, JSON))

    def apply(self, path: str, document: Manifest) -> None:
        """Server-side apply, which takes over no field of another owner. Raises Refused and Unreachable."""
        self._write("PATCH", path, document, APPLY)

    def merge(self, path: str, patch: Manifest) -> None:
        """A JSON merge patch. Raises Refused and Unreachable."""
        self._write("PATCH", path, patch, MERGE)

    def delete(self, path: str, options: Manifest | None = None) -> bool:
        """Delete an object; False when there is none. Raises Refused and Unreachable."""
        try:
            self._request("DELETE", path, body=options or {}, content_type=JSON)
        except Refused as refused:
            if refused.is_missing:
                return False
            raise
        return True

    def log(self, path: str, query: Query) -> bytes:
        """A part of a pod's log. Raises Refused and Unreachable."""
        content: bytes = self._request("GET", path, query=query, read_seconds=LOG_SECONDS).data
        return content

    def lines(self, path: str, query: Query, *, seconds: float) -> Iterator[Sequence[bytes]]:
        """The lines of a stream in the batches in which they arrive.

        It ends when the server ends it, or after so many seconds without a line. Raises Refused and Unreachable.
        """
        from urllib3.exceptions import HTTPError

        response = self._request("GET", path, query=query, read_seconds=seconds, whole=False)
        rest = b""
        try:
            for chunk in response.stream(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                if whole:
                    yield whole
        except (HTTPError, OSError):
            return
        finally:
            response.release_conn()
        if rest:
            yield [rest]

    def _write(self, method: str, path: str, document: Manifest, content_type: str) -> Json:
        query = (("fieldManager", MANAGER), ("fieldValidation", "Strict"))
        body = _yaml(document) if content_type == APPLY else document
        return self._json(self._request(method, path, query=query, body=body, content_type=content_type))

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: str | Manifest | None = None,
        content_type: str | None = None,
        accept: str = JSON,
        read_seconds: float = READ_SECONDS,
        whole: bool = True,
    ) -> Any:
        client = self._open()
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        what, began = f"{method} {client.configuration.host}{path}", time.monotonic()
        headers = {"Accept": accept, **({"Content-Type": content_type} if content_type else {})}
        try:
            arguments = client.param_serialize(
                method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = client.call_api(*arguments, _request_timeout=(CONNECT_SECONDS, read_seconds)).response
            if whole or response.status >= 300:
                _ = response.data  # read, so that the connection can be used again
        except (ApiException, HTTPError, OSError) as error:  # ApiException: TLS failed
            logs.call(__name__, what, began, _failure(error), cluster=self._name)
            raise Unreachable(
                f"the API server of {self._name} ({client.configuration.host}) {_failure(error)}"
            ) from error
        logs.call(__name__, what, began, f"HTTP status {response.status}", cluster=self._name)
        if response.status < 300:
            return response
        raise self._refusal(response)

    def _json(self, response: Any) -> Json:
        try:
            value: Json = json.loads(response.data)
        except ValueError as error:
            raise Unreachable(f"the API server of {self._name} answered something that is not JSON") from error
        return value

    def _read(self, kind: type[T], value: object) -> T:
        try:
            return read(kind, value)
        except RecordError as error:
            raise Unreachable(f"the API server of {self._name} answered {error}") from error

    def _refusal(self, response: Any) -> ClusterError:
        try:
            answer = read(Status, json.loads(response.data))
        except ValueError:  # not JSON, or not a Status
            answer = Status(message=response.data.decode(errors="replace")[:300])
        message = answer.message
        status = int(response.status)
        if status in _PASSING and not any(text in message for text in _NEVER):
            return Unreachable(f"the API server of {self._name} cannot answer now ({status}): {message}")
        if status == _UNAUTHORIZED or (status == _FORBIDDEN and _ANONYMOUS in message):
            return Unreachable(
                f"the API server of {self._name} does not know who asks ({status}): {message}",
                hint="log in again; kubectl auth whoami shows what it thinks",
            )
        return Refused(status, answer.reason, message or f"HTTP status {status}")

    def _open(self) -> Any:
        if self._client is None:
            self._client, self._context, self._namespace = _connect(self._name, self._profile)
        return self._client


def _connect(name: str, profile: KubernetesProfile) -> tuple[Any, str | None, str | None]:
    """A client, the kubeconfig's context, and the namespace of the context or of this pod.

    By the profile's kubeconfig or context, the usual kubeconfig, or the service account of this pod.
    """
    try:
        from kubernetes.client.api_client import ApiClient
        from kubernetes.client.configuration import Configuration
        from kubernetes.config import config_exception, incluster_config, kube_config
        from yaml import YAMLError
    except ImportError as error:
        raise ClusterError(
            f"the Python package kubernetes cannot be imported ({error}), and {name} is reached by it",
            hint="pip install 'orch-deepspeed[kubernetes]'",
        ) from error
    configuration = Configuration()
    configuration.retries = False  # only the caller knows whether a request may be repeated
    configuration.connection_pool_maxsize = CONNECTIONS
    context = namespace = None
    try:
        named = profile.kubeconfig is not None or profile.context is not None
        if not named and _is_in_pod():
            incluster_config.load_incluster_config(  # type: ignore[no-untyped-call]  # theirs - untyped
                client_configuration=configuration
            )
            namespace = _own_namespace()
        else:
            kube_config.load_kube_config(  # type: ignore[no-untyped-call]  # theirs - untyped
                config_file=profile.kubeconfig, context=profile.context, client_configuration=configuration
            )
            context, namespace = _context_of(profile)
    except config_exception.ConfigException as error:
        raise ClusterError(
            f"there is no way to the cluster {name}: {error}",
            hint=f"see that {profile.kubeconfig} is there, and has the context"
            if profile.kubeconfig
            else f"set KUBECONFIG, or kubeconfig and context of {name}; by hand: orch render job.yaml -c {name}",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
        # The client indexes a kubeconfig unchecked: a part of another shape raises any of these.
        raise ClusterError(
            f"the kubeconfig of {name} cannot be read: {' '.join(str(error).split())}",
            hint=f"see what kubectl config view says of {profile.kubeconfig or 'it'}",
        ) from error
    return ApiClient(configuration), context, namespace


def _is_in_pod() -> bool:
    """Whether to use the service account of the pod that this runs in: there is one, and no kubeconfig."""
    has_kubeconfig = "KUBECONFIG" in os.environ or Path("~/.kube/config").expanduser().exists()
    return "KUBERNETES_SERVICE_HOST" in os.environ and not has_kubeconfig


def _own_namespace() -> str | None:
    try:
        text = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text(encoding="utf-8")
    except OSError:
        return None
    return text.strip() or None


def _context_of(profile: KubernetesProfile) -> tuple[str | None, str | None]:
    """The name of the context that is used, and its namespace."""
    from kubernetes.config import kube_config

    listed, active = kube_config.list_kube_config_contexts(profile.kubeconfig)  # type: ignore[no-untyped-call]  # theirs - untyped
    chosen = read(KubeContext, active or {})
    if profile.context is not None:
        chosen = next(
            (one for one in (read(KubeContext, one) for one in listed) if one.name == profile.context), chosen
        )
    return chosen.name or None, chosen.namespace or None


def _yaml(document: Manifest) -> str:
    """JSON that is the same in YAML, which has no surrogate pairs and takes some characters only as escapes."""
    text = json.dumps(document, ensure_ascii=False)
    return _UNSAFE_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _clock(response: Any) -> float:
    """By the Date header; 0 where there is none."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except ValueError:
        return 0.0


def _failure(error: Exception) -> str:
    """Why a request had no answer."""
    cause = getattr(error, "reason", None) or error
    text = " ".join(str(cause).rpartition(">: ")[2].split())
    if "timed out" in text:
        return (
            "does not answer: it is reached, and says nothing" if "Read" in text else "does not answer: no connection"
        )
    return f"does not answer: {text[:200] or type(cause).__name__}"
