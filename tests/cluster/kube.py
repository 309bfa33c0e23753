"""Kubernetes manifests checked as the API server and KubeRay's operator would, without either.

- ray.io kinds against the schemas of KubeRay's CRDs, where there are any, with unknown fields refused;
- the operator's rules that stand in no schema (KubeRay 1.7, ray-operator/controllers/ray/utils/validation.go), those that
  concern what this project uses;
- every other kind, and the CRDs' pod templates, against the strict schemas of `kubernetes-validate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

KUBERNETES = "1.34"
CRDS = Path(__file__).parents[3] / "shared" / "crds"
KNOWN_ELSEWHERE = {("monitoring.coreos.com/v1", "PodMonitor")}


class Loader(yaml.CSafeLoader):
    """YAML in which a key stands once, as kubectl reads it."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def read(text: str) -> list[dict]:
    """The documents of a YAML stream."""
    return [document for document in yaml.load_all(text, Loader=Loader) if document]


def schemas() -> dict:
    """The CRDs' schemas by (apiVersion, kind); empty where the CRDs are not there."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        for crd in read(path.read_text()):
            for version in crd["spec"]["versions"]:
                name = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[name] = _json_schema(version["schema"]["openAPIV3Schema"])
    return found


def _json_schema(schema: dict) -> dict:
    """A CRD's structural schema as JSON Schema that refuses unknown fields."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **{k: schema[k] for k in ("pattern",) if k in schema}}
    kept = (
        "type",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "required",
    )
    out = {key: schema[key] for key in kept if key in schema}
    if "properties" in schema:
        out["properties"] = {name: _json_schema(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
        # the API server fills in defaults first
        out["required"] = [
            name for name in out.get("required", []) if "default" not in schema["properties"].get(name, {})
        ]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            out[key] = _json_schema(schema[key])
    if schema.get("nullable") and "type" in out:
        out["type"] = [out["type"], "null"]
    return out


def problems(document: dict, crds: dict) -> list[str]:
    """What the API server or the operator would refuse, or silently do otherwise."""
    import kubernetes_validate
    from jsonschema import Draft202012Validator

    name = (document.get("apiVersion"), document.get("kind"))
    if name in KNOWN_ELSEWHERE:
        return _monitor_problems(document)
    if not str(name[0]).startswith("ray.io/"):
        return _strict(kubernetes_validate, document)
    found = []
    if crds:
        if name not in crds:
            return [f"no such kind: {name}"]
        schema = crds[name] | {"required": ["spec"]}
        schema["properties"] = schema["properties"] | {"metadata": {"type": "object"}}
        for error in Draft202012Validator(schema).iter_errors(document):
            found.append(f"{error.json_path}: {error.message[:200]}")
    if not found:
        for template in templates(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | template.get("metadata", {})}
            found += _strict(kubernetes_validate, pod | {"spec": template["spec"]})
    return found or [*_rules(document)]


def _strict(validator, document: dict) -> list[str]:
    try:
        validator.validate(document, KUBERNETES, strict=True)
    except (validator.ValidationError, validator.SchemaNotFoundError) as error:
        return [f"{document.get('kind')}: {error.message[:200]}"]
    return [f"not a quantity: {value}" for value in quantities(document) if not QUANTITY.fullmatch(str(value))]


def _monitor_problems(document: dict) -> list[str]:
    spec = document["spec"]
    unknown = set(spec) - {"selector", "podMetricsEndpoints"}
    unknown |= {key for end in spec["podMetricsEndpoints"] for key in set(end) - {"port", "relabelings"}}
    return [f"unknown in a PodMonitor: {sorted(unknown)}"] if unknown else []


QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[MGT]i?|Ki)?")


def quantities(document) -> Iterator:
    """Every quantity under ``requests`` and ``limits``, and of an emptyDir."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("requests", "limits") and isinstance(value, dict):
                yield from value.values()
            elif key == "sizeLimit":
                yield value
            else:
                yield from quantities(value)
    elif isinstance(document, list):
        for value in document:
            yield from quantities(value)


def cluster_spec(document: dict) -> dict:
    """The RayClusterSpec of a RayCluster or a RayJob."""
    return document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]


def templates(document: dict) -> list[dict]:
    """Every pod template of a RayCluster or a RayJob."""
    spec = cluster_spec(document)
    found = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    return [*found, document["spec"]["submitterPodTemplate"]] if document["kind"] == "RayJob" else found


def _rules(document: dict) -> Iterator[str]:
    spec, name = cluster_spec(document), document["metadata"]["name"]
    limit = 47 if document["kind"] == "RayJob" else 53
    if len(name) > limit or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"name {name!r}: a DNS label of {limit} characters at most"
    scaler = spec.get("autoscalerOptions", {})
    v2 = bool(spec.get("enableInTreeAutoscaling")) and scaler.get("version") == "v2"
    version = tuple(int(part) for part in spec.get("rayVersion", "0.0").split(".")[:2])
    if spec.get("authOptions", {}).get("mode") == "token" and version < (2, 52):
        yield "authOptions.mode token needs rayVersion 2.52 or later"
    names = [group["groupName"] for group in spec["workerGroupSpecs"]]
    if len(set(names)) < len(names):
        yield "two groups of one name"
    for group in spec["workerGroupSpecs"]:
        low, high = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        if not 0 <= low <= group.get("replicas", low) <= high:
            yield f"{group['groupName']}: replicas outside minReplicas to maxReplicas"
        if group.get("priority") and (not v2 or version < (2, 56)):
            yield f"{group['groupName']}: priority needs autoscaler v2 and rayVersion 2.56 or later"
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        if v2 and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "restartPolicy must be Never with autoscaler v2"
        if any(not isinstance(value, str) for value in group["rayStartParams"].values()):
            yield "rayStartParams are strings"
        ports = [p["containerPort"] for c in group["template"]["spec"]["containers"] for p in c.get("ports", [])]
        if len(set(ports)) < len(ports):
            yield "a port twice"
    environment = {e["name"] for e in spec["headGroupSpec"]["template"]["spec"]["containers"][0].get("env", [])}
    if "gcsFaultToleranceOptions" in spec and environment & {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"}:
        yield "the head's environment names Redis beside gcsFaultToleranceOptions"
    for field in {"networkPolicy", "tlsOptions", "historyServerOptions"} & set(spec):
        yield f"{field} is behind a feature gate that is off"
    if document["kind"] != "RayJob":
        return
    job = document["spec"]
    if job.get("ttlSecondsAfterFinished") and not job.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if job.get("submissionMode", "K8sJobMode") != "K8sJobMode":  # the CRD takes any word
        yield f"submissionMode {job['submissionMode']}: submitterPodTemplate is for K8sJobMode"
    if job.get("clusterSelector"):
        yield "clusterSelector with a cluster of its own"
