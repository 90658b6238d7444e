"""Checks of the files in deploy/. scripts/kubernetes runs this program in an environment with PyYAML and jsonschema.

    kubernetes.py schema [--write]     compare the settings in the schema of the chart with the configuration reference
    kubernetes.py rules [--write]      compare the rules of the Kustomize component with deploy/monitoring/rules.yaml
    kubernetes.py objects DEFINITIONS CORE FOLDER...    check the rendered objects of each folder's .yaml files
    kubernetes.py configurations BINARY FOLDER...    load the configuration of each container with the command goconductor
    kubernetes.py roles CHART KUSTOMIZE   compare the roles of two rendered files
    kubernetes.py apply URL DEFINITIONS FOLDER...    apply the objects to an API server, without effect
"""

import functools
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference/configuration.md"
SCHEMA = ROOT / "deploy/helm/goconductor/values.schema.json"

# Settings that the chart sets itself, so that a value would have no effect, or that differ between pods.
SET_BY_CHART = {
    "advertise",
    "listen",
    "allow_insecure_bind",
    "data_dir",
    "state_store.endpoints",
    "state_store.listen",
    "state_store.migrate",
    "election.listen",
    "election.electors",
    "executor.listen",
    "tls.ca_file",
    "tls.certificate_file",
    "tls.key_file",
    "tls.trust_domain",
}
REFERENCE_TO_SECRET = "^(env|file|secret)://.+$"
# A URL without a password, or a reference. A password belongs in a Secret.
URL = REFERENCE_TO_SECRET + r"|^[a-z]+://([^:@/]*@)?[^@]*$"
# Parts of a path that the user chooses.
NAMES = ("NAME", "ACTION")
NAME = "^[A-Za-z0-9][-_.A-Za-z0-9]*$"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
HOST_AND_PORT = r"^[^/@\s]+:[0-9]{1,5}$"


def settings(page):
    """Returns the settings of the reference page: path, type and description."""
    rows = re.findall(r"^\| `([A-Za-z_.]+)` \| (.+?) \| .*? \| [a-z]+ \| (.+?) \|$", page, re.MULTILINE)
    if len(rows) < 50:
        raise SystemExit(f"error: {REFERENCE} has only {len(rows)} settings; its tables have another form")
    return rows


def schema_of(kind, description):
    """Returns the schema of a setting's type."""
    types = {
        "boolean": {"type": "boolean"},
        "path": {"type": "string", "minLength": 1},
        "text": {"type": "string", "minLength": 1},
        "integer": {"type": "integer", "minimum": 0},
        "number": {"type": "number", "minimum": 0},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "duration": {"type": "string", "pattern": DURATION},
        "size": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+(KiB|MiB|GiB)?$"},
        "URL": {"type": "string", "pattern": URL},
        "secret": {"type": "string", "pattern": REFERENCE_TO_SECRET},
        "reference": {"type": "string", "pattern": REFERENCE_TO_SECRET},
        "address": {"type": "string", "pattern": HOST_AND_PORT},
        "nested text": {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/nested"}]},
        "list of text": {"type": "array", "items": {"type": "string", "minLength": 1}},
        "list of URLs": {"type": "array", "items": {"type": "string", "pattern": URL}},
        "list of `host:port`": {"type": "array", "items": {"type": "string", "pattern": HOST_AND_PORT}},
    }
    schema = types.get(kind)
    if schema is None:
        values = re.findall(r"`([^`]+)`", kind)
        if values and all("://" in value for value in values):
            schemes = "|".join(value.partition("://")[0] for value in values)
            return {"description": re.sub(r"`", "", description), "type": "string", "pattern": f"^({schemes})://.+$"}
        if not values or re.sub(r"`[^`]+`|[, ]", "", kind):
            raise SystemExit(f"error: the type {kind!r} of the configuration reference is unknown; add it to {__file__}")
        schema = {"type": "string", "enum": values}
    return {"description": re.sub(r"`", "", description), **schema}


def is_in_secret(path, kind):
    """Returns whether a setting can come from a Secret."""
    name = path.rsplit(".", 1)[-1]
    return kind == "secret" or path in ("state_store.url", "election.url") or name in ("user", "access_key_id")


def settings_schema(page):
    """Returns the schemas of the values `config` and `secrets`."""
    config = {"type": "object", "additionalProperties": False, "properties": {}}
    secrets = {"type": "object", "additionalProperties": False, "properties": {}}
    for path, kind, description in settings(page):
        if path in SET_BY_CHART:
            continue
        node = config
        *sections, last = path.split(".")
        for section in sections:
            below = {"type": "object", "additionalProperties": False}
            if section in NAMES:
                node = node.setdefault("patternProperties", {}).setdefault(NAME, below)
            else:
                node = node.setdefault("properties", {}).setdefault(section, below)
        schema = schema_of("nested text" if "nested keys" in description else kind, description)
        if last in NAMES:
            node.setdefault("patternProperties", {})[NAME] = schema
        else:
            node.setdefault("properties", {})[last] = schema
        if is_in_secret(path, kind):
            reference = {"$ref": "#/definitions/secretKey"}
            if last in NAMES:
                prefix = re.escape(path.removesuffix(last))
                secrets.setdefault("patternProperties", {})[f"^{prefix}{NAME[1:]}"] = reference
            else:
                secrets["properties"][path] = reference
    return config, secrets


def nested():
    """Returns the schema of names whose parts are nested keys."""
    value = {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/nested"}]}
    return {"type": "object", "additionalProperties": False, "patternProperties": {NAME: value}}


@functools.cache
def known_settings():
    """Returns a pattern that matches the path of each setting. A name in `telemetry.resource` can have several parts."""
    patterns = []
    for path in {path for path, _, _ in settings(REFERENCE.read_text())} | SET_BY_CHART:
        part = ".+" if path.startswith("telemetry.resource.") else "[^.]+"
        patterns.append(".".join(part if each in NAMES else re.escape(each) for each in path.split(".")))
    return re.compile("|".join(patterns))


def is_setting(path):
    return known_settings().fullmatch(path) is not None


def write_or_compare(path, expected, write):
    """Writes a generated file, or exits with an error if it differs."""
    if path.exists() and path.read_text() == expected:
        return
    if not write:
        raise SystemExit(f"error: {path.relative_to(ROOT)} is not current; run: scripts/kubernetes write")
    path.write_text(expected)
    print(f"wrote {path.relative_to(ROOT)}")


def schema(write):
    """Keeps the settings in the schema of the chart equal to the configuration reference."""
    content = json.loads(SCHEMA.read_text())
    content["definitions"]["nested"] = nested()
    content["definitions"]["config"], content["definitions"]["secrets"] = settings_schema(REFERENCE.read_text())
    write_or_compare(SCHEMA, json.dumps(content, indent=2) + "\n", write)
    loose = [path for path, node in objects_in(content, "") if node.get("additionalProperties") is not False]
    # `global` is for charts that include this one. The attributes of a CSI volume belong to its driver.
    loose = [path for path in loose if not path.endswith(("/global", "/volumeAttributes"))]
    if loose:
        raise SystemExit(f"error: these objects of {SCHEMA.relative_to(ROOT)} accept unknown keys: {', '.join(loose)}")


def objects_in(node, path):
    """Yields each schema of an object with its path."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, below in node.items():
            yield from objects_in(below, f"{path}/{key}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from objects_in(below, f"{path}/{index}")


def rules(write):
    """Keeps the PrometheusRule of the Kustomize component equal to the rules, and its dashboards complete."""
    text = (ROOT / "deploy/monitoring/rules.yaml").read_text()
    body = "".join("  " + line if line.strip() else line for line in text.splitlines(keepends=True))
    head = (
        "# Generated from deploy/monitoring/rules.yaml by: scripts/kubernetes write\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: goconductor\nspec:\n"
    )
    write_or_compare(ROOT / "deploy/kubernetes/components/monitoring/prometheus-rule.yaml", head + body, write)
    folder = ROOT / "deploy/monitoring"
    dashboards = sorted(path.name for path in folder.glob("dashboards/*.json"))
    entries = "".join(
        f"  - name: goconductor-dashboard-{name.removesuffix('.json')}\n    files: [dashboards/{name}]\n"
        for name in dashboards
    )
    component = (
        "# Generated by: scripts/kubernetes write\n"
        "# A ConfigMap for each dashboard. The sidecar of Grafana loads ConfigMaps with this label.\n"
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n\n"
        "generatorOptions:\n  disableNameSuffixHash: true\n  labels:\n    grafana_dashboard: \"1\"\n"
    ) + (f"\nconfigMapGenerator:\n{entries}" if entries else "")
    write_or_compare(folder / "kustomization.yaml", component, write)


# The objects of a rendered file.


class Objects:
    """The objects of one rendered file, with the problems that were found in them."""

    def __init__(self, path):
        import yaml

        self.path = path
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.all = [each for each in yaml.load_all(path.read_text(), Loader=loader) if each]
        self.problems = []

    def problem(self, each, text):
        self.problems.append(f"{self.path.name}: {each['kind']} {each['metadata']['name']}: {text}")

    def of_kind(self, *kinds):
        return [each for each in self.all if each["kind"] in kinds]

    def find(self, kind, name):
        return next((each for each in self.of_kind(kind) if each["metadata"]["name"] == name), None)

    def pods(self):
        """Yields each object with a pod, with the labels and the specification of the pod."""
        for each in self.of_kind("Deployment", "StatefulSet", "Job"):
            template = each["spec"]["template"]
            yield each, template["metadata"].get("labels", {}), template["spec"]
        for each in self.of_kind("Pod"):
            yield each, each["metadata"].get("labels", {}), each["spec"]


BINARIES = {"api-gateway", "state-store", "leader-elector", "saga-executor", "goconductor"}
LABELS = ["name", "instance", "version", "part-of", "managed-by"]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
DEFINED = {"Certificate": "cert-manager.io_certificates", "ScaledObject": "keda.sh_scaledobjects", "ServiceMonitor": "monitoring.coreos.com_servicemonitors",
           "PrometheusRule": "monitoring.coreos.com_prometheusrules"}
# The time that a process reserves after executor.drain, see `Config::shutdown_limit`.
RESERVE = 15
# The longest time of a readiness check, see `crates/service-kit/src/health.rs`.
CHECK_TIMEOUT = 2


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"]


def check_restricted(objects, each, pod):
    """Checks the Pod Security Standard `restricted`, and a read-only root file system."""
    for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if pod.get(field):
            objects.problem(each, f"{field} is set")
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            objects.problem(each, f"the volume {volume['name']} has the type {kinds}")
    whole = pod.get("securityContext", {})
    if whole.get("sysctls"):
        objects.problem(each, "sysctls are set")
    for container in containers_of(pod):
        context = container.get("securityContext", {})
        merged = {**whole, **context}
        where = f"container {container['name']}"
        if context.get("privileged") or context.get("procMount", "Default") != "Default":
            objects.problem(each, f"{where} is privileged")
        if context.get("allowPrivilegeEscalation") is not False:
            objects.problem(each, f"{where} allows privilege escalation")
        capabilities = context.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            objects.problem(each, f"{where} keeps capabilities")
        if merged.get("runAsNonRoot") is not True or merged.get("runAsUser") == 0:
            objects.problem(each, f"{where} can run as root")
        if merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            objects.problem(each, f"{where} has no seccomp profile")
        if context.get("readOnlyRootFilesystem") is not True:
            objects.problem(each, f"{where} can write to its root file system")
        if any("hostPort" in port for port in container.get("ports", [])):
            objects.problem(each, f"{where} uses a port of the host")


def check_pod(objects, each, labels, pod):
    """Checks the fields of a pod that GoConductor needs."""
    check_restricted(objects, each, pod)
    if pod.get("enableServiceLinks") is not False:
        objects.problem(each, "enableServiceLinks is not false")
    if pod.get("automountServiceAccountToken") is not False:
        objects.problem(each, "the token of the ServiceAccount is mounted")
    if "app.kubernetes.io/component" not in labels:
        objects.problem(each, "its pods have no label app.kubernetes.io/component")
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])}
    for container in containers_of(pod):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes and mount["name"] not in claims:
                objects.problem(each, f"container {container['name']} mounts the unknown volume {mount['name']}")
        image = container["image"]
        if "@sha256:" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
            objects.problem(each, f"the image {image} has no fixed version")
        if not container.get("resources") and container["name"] != "participant":
            objects.problem(each, f"container {container['name']} has no resources")
    account = pod.get("serviceAccountName", "default")
    if account not in ("default", "existing") and not objects.find("ServiceAccount", account):
        objects.problem(each, f"the ServiceAccount {account} is not part of the file")
    is_server = each["kind"] in ("Deployment", "StatefulSet")
    for container in pod["containers"]:
        command = container.get("command", [None])[0]
        if is_server and command in BINARIES:
            check_server(objects, each, pod, volumes, container)


def check_server(objects, each, pod, volumes, container):
    """Checks the probes, the drain and the configuration of a server."""
    config = configuration(objects, each, volumes, container)
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    scheme = {"scheme": "HTTPS"} if "tls" in (config or {}) else {}
    for probe, path in paths.items():
        found = container.get(probe, {}).get("httpGet", {})
        if found != {"path": path, "port": "http", **scheme}:
            objects.problem(each, f"{probe} must request {path} of port http {scheme or ''}, and has {found}")
    if container.get("readinessProbe", {}).get("timeoutSeconds", 1) <= CHECK_TIMEOUT:
        objects.problem(each, f"the timeout of readinessProbe must exceed the {CHECK_TIMEOUT} s of a check")
    if config is None:
        return
    check_certificate(objects, each, volumes, container, config)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = pause + seconds(config.get("executor", {}).get("drain", "10s")) + RESERVE
    if pod.get("terminationGracePeriodSeconds") != grace:
        found = pod.get("terminationGracePeriodSeconds")
        objects.problem(each, f"terminationGracePeriodSeconds is {found}; preStop, drain and reserve are {grace}")
    check_addresses(objects, each, container, config)


def check_certificate(objects, each, volumes, container, config):
    """Checks that the files of the section tls are those of a mounted Secret, which can change while the process runs."""
    folders = {}
    for mount in container.get("volumeMounts", []):
        if "secret" in volumes.get(mount["name"], {}) and "subPath" not in mount:
            folders[mount["mountPath"]] = volumes[mount["name"]]["secret"]
    files = {"ca_file": "ca.crt", "certificate_file": "tls.crt", "key_file": "tls.key"}
    for setting, name in files.items():
        path = config.get("tls", {}).get(setting)
        if "tls" not in config:
            continue
        folder = folders.get(str(path).removesuffix("/" + name))
        if folder is None:
            objects.problem(each, f"tls.{setting} is {path}, which is not {name} of a mounted Secret")
        elif folder.get("defaultMode") != 0o440:
            objects.problem(each, f"others can read the Secret {folder['secretName']}")


def configuration(objects, each, volumes, container):
    """Returns the configuration file of a container."""
    import yaml

    variables = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
    path = variables.get("GOCONDUCTOR_CONFIG", "")
    for mount in container.get("volumeMounts", []):
        source = volumes.get(mount["name"], {}).get("configMap", {}).get("name")
        if source and path.startswith(mount["mountPath"] + "/"):
            found = objects.find("ConfigMap", source)
            text = found and found["data"].get(path.removeprefix(mount["mountPath"] + "/"))
            if text:
                return yaml.safe_load(text)
    objects.problem(each, f"the file {path!r} of GOCONDUCTOR_CONFIG is not in a ConfigMap of the file")
    return None


def seconds(text):
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    total = sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|d|h|m|s)", text))
    return -int(-total // 1)


def flat(config, prefix=""):
    """Returns the settings of a configuration by path."""
    found = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        found.update(flat(value, path + ".") if isinstance(value, dict) else {path: value})
    return found


def check_addresses(objects, each, container, config):
    """Checks the settings of a configuration, and that its addresses are those of the file."""
    values = flat(config)
    for path in values:
        if not is_setting(path):
            objects.problem(each, f"its configuration has the unknown setting {path}")
    for variable in container.get("env", []):
        path = variable["name"].removeprefix("GOCONDUCTOR_").lower().replace("__", ".")
        is_ours = variable["name"].startswith("GOCONDUCTOR_") and path != "config"
        if is_ours and not is_setting(path):
            objects.problem(each, f"the variable {variable['name']} is not a setting")
    command = container["command"][0]
    listen = {"state-store": "state_store.listen", "leader-elector": "election.listen",
              "saga-executor": "executor.listen"}.get(command, "listen")
    port = str(values.get(listen, "")).rsplit(":", 1)[-1]
    if [str(each["containerPort"]) for each in container["ports"]] != [port]:
        objects.problem(each, f"{listen} has the port {port}, and the container another one")
    # Access control protects the API, and TLS the services behind the gateway.
    has_tls, has_access = "tls" in config, values.get("access.enabled") is True
    has_proxy = has_access and values.get("access.allow_plaintext") is True
    is_protected = {"listen": (has_access and has_tls) or has_proxy, "executor.listen": has_tls or has_proxy}.get(
        listen, has_tls)
    if values.get("allow_insecure_bind", False) is is_protected:
        objects.problem(each, f"allow_insecure_bind must be {str(not is_protected).lower()}")
    scheme = "https://" if "tls" in config else "http://"
    for path in ("state_store.endpoints", "election.electors"):
        for url in values.get(path, []):
            if not url.startswith(scheme):
                objects.problem(each, f"{path} has {url}, which does not begin with {scheme}")
                continue
            if url.split(":")[1].endswith(".svc"):  # another release
                continue
            name, port = url.removeprefix(scheme).rsplit(":", 1)
            service = objects.find("Service", name)
            ports = [port["port"] for port in service["spec"]["ports"]] if service else []
            if int(port) not in ports:
                objects.problem(each, f"{path} has {url}, and no Service of the file has this name and port")


def check_references(objects):
    """Checks selectors, autoscalers and the number of replicas."""
    pods = list(objects.pods())
    for each in objects.of_kind("Deployment", "StatefulSet"):
        selector = each["spec"]["selector"]["matchLabels"].items()
        if not selector <= each["spec"]["template"]["metadata"]["labels"].items():
            objects.problem(each, "its selector does not match its own pods")
        matched = [name_of(other) for other, labels, _ in pods if selector <= labels.items()]
        if matched != [name_of(each)]:
            objects.problem(each, f"its selector matches the pods of {matched}")
    for each in objects.of_kind("Service", "PodDisruptionBudget"):
        selector = each["spec"]["selector"]
        selector = selector.get("matchLabels", selector).items()
        matched = [pod for _, labels, pod in pods if selector <= labels.items()]
        if len(matched) != 1:
            objects.problem(each, f"its selector matches {len(matched)} workloads")
        elif each["kind"] == "Service":
            names = {port["name"] for container in matched[0]["containers"] for port in container.get("ports", [])}
            if not {port["targetPort"] for port in each["spec"]["ports"]} <= names:
                objects.problem(each, f"its target is not one of the ports {sorted(names)}")
    scaled = []
    for each in objects.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = objects.find("Deployment", each["spec"]["scaleTargetRef"]["name"])
        scaled.append(each["spec"]["scaleTargetRef"]["name"])
        if not target:
            objects.problem(each, "its target is not part of the file")
        elif "replicas" in target["spec"]:
            objects.problem(target, "an autoscaler and the file both set the number of replicas")
    for name in {name for name in scaled if scaled.count(name) > 1}:
        objects.problem(objects.find("Deployment", name), "two autoscalers scale it")
    for each in objects.of_kind("Deployment"):
        if "replicas" not in each["spec"] and name_of(each)[1] not in scaled:
            objects.problem(each, "no autoscaler and no field sets its number of replicas")
    for each in objects.of_kind("NetworkPolicy"):
        selector = each["spec"]["podSelector"].get("matchLabels", {}).items()
        component = each["metadata"]["name"].endswith("default-deny")
        if not component and not any(selector <= labels.items() for _, labels, _ in pods):
            objects.problem(each, "it selects no pod")
    for each in objects.of_kind("ServiceMonitor"):
        selector = each["spec"]["selector"]["matchLabels"].items()
        for service in objects.of_kind("Service"):
            if not selector <= service["metadata"]["labels"].items():
                objects.problem(each, f"it does not select the Service {service['metadata']['name']}")


def check_metadata(objects):
    """Checks labels and names of all objects."""
    seen = set()
    for each in objects.all:
        if each["kind"] == "Secret":
            objects.problem(each, "a Secret must exist already, so that no file contains a secret")
        if name_of(each) in seen:
            objects.problem(each, "another object of the file has its name")
        seen.add(name_of(each))
        labels = each["metadata"].get("labels", {})
        missing = [name for name in LABELS if f"app.kubernetes.io/{name}" not in labels]
        if missing:
            objects.problem(each, f"it has no label app.kubernetes.io/{', '.join(missing)}")
        if each["kind"] == "ServiceAccount" and each.get("automountServiceAccountToken") is not False:
            objects.problem(each, "its token is mounted")


def definitions(folder):
    """Returns the strict schemas of the kinds that other projects define."""
    import yaml

    found = {}
    for kind, name in DEFINED.items():
        content = yaml.safe_load((Path(folder) / f"{name}.yaml").read_text())
        version = next(version for version in content["spec"]["versions"] if version["storage"])
        found[kind] = (f"{content['spec']['group']}/{version['name']}", strict(version["schema"]["openAPIV3Schema"]))
    return found


def strict(node):
    """Returns a schema of a resource definition as a JSON Schema that refuses unknown keys."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: value if key == "enum" else strict(value) for key, value in node.items()}
    if node.get("x-kubernetes-int-or-string"):
        node.pop("type", None)
    if node.get("nullable") and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
    is_closed = "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields")
    if is_closed and "additionalProperties" not in node and node.get("type") == "object":
        # The metadata of an object have no properties in a definition.
        node["additionalProperties"] = False
    return node


def check_defined(objects, known):
    """Validates the objects whose kinds other projects define."""
    import jsonschema

    for each in objects.of_kind(*DEFINED):
        version, schema = known[each["kind"]]
        if each["apiVersion"] != version:
            objects.problem(each, f"its apiVersion is not {version}")
        for error in jsonschema.Draft7Validator(schema).iter_errors(each):
            objects.problem(each, f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")


def check_objects(definitions_folder, core, *folders):
    """Checks all rendered files, and writes the objects of Kubernetes itself to the folder `core`."""
    import yaml

    known = definitions(definitions_folder)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    Path(core).mkdir()
    problems, files, count, written = [], 0, 0, set()
    for folder in folders:
        for path in sorted(Path(folder).glob("*.yaml")):
            objects = Objects(path)
            for each, labels, pod in objects.pods():
                check_pod(objects, each, labels, pod)
            check_references(objects)
            check_metadata(objects)
            check_defined(objects, known)
            problems += objects.problems
            files, count = files + 1, count + len(objects.all)
            # Each different object is validated once.
            for each in objects.all:
                text = json.dumps(each, sort_keys=True)
                if each["kind"] in DEFINED or text in written:
                    continue
                written.add(text)
                (Path(core) / f"{len(written)}.yaml").write_text(yaml.dump(each, Dumper=dumper))
    if problems:
        raise SystemExit("error: " + "\n       ".join(problems))
    print(f"{count} objects in {files} files are valid, {len(written)} of them different", file=sys.stderr)


def load_configurations(binary, *folders):
    """Loads the configuration file and the variables of each container with the command line. It finds what a schema
    cannot express, such as a setting that another one requires."""
    import subprocess
    import tempfile
    import yaml

    loaded, problems = set(), []
    for path in [path for folder in folders for path in sorted(Path(folder).glob("*.yaml"))]:
        objects = Objects(path)
        for each, _, pod in objects.pods():
            volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
            for container in containers_of(pod):
                variables = {variable["name"]: stand_in(variable) for variable in container.get("env", [])}
                if "GOCONDUCTOR_CONFIG" not in variables:
                    continue
                config = configuration(objects, each, volumes, container)
                key = json.dumps([config, variables], sort_keys=True)
                if key in loaded:
                    continue
                loaded.add(key)
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                    yaml.safe_dump(config, file)
                    file.flush()
                    command = [binary, "config", "explain", "--config", file.name]
                    variables.pop("GOCONDUCTOR_CONFIG")
                    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    objects.problem(each, f"container {container['name']}: {done.stderr.strip()}")
        problems += objects.problems
    if problems:
        raise SystemExit("error: " + "\n       ".join(problems))
    print(f"{len(loaded)} different configurations were loaded", file=sys.stderr)


def stand_in(variable):
    """Returns the value of a variable, or a valid one instead of that of a Secret."""
    if "value" in variable:
        return variable["value"]
    return "postgres://user:password@127.0.0.1/database" if variable["name"].endswith("URL") else "text"


# The comparison of the chart and Kustomize.

SUFFIX = re.compile(r"-[0-9a-z]{10}$")


def name_of(each):
    return each["kind"], each["metadata"]["name"]


def roles_of(path):
    """Returns the objects of a file by kind and name, without what differs on purpose: labels and annotations of objects,
    the suffix of the names of generated ConfigMaps, hooks and the pod of `helm test`."""
    import yaml

    found = {}
    for each in Objects(Path(path)).all:
        if "helm.sh/hook" in each["metadata"].get("annotations", {}):
            continue
        kind, name = name_of(each)
        each = json.loads(json.dumps(each))
        if kind == "ConfigMap":
            name = name if name.startswith("goconductor-dashboard") else SUFFIX.sub("", name)
            text = each["data"].get("goconductor.yaml")
            body = yaml.safe_load(text) if text else each["data"]
        elif kind == "ServiceAccount":
            body = {"automountServiceAccountToken": each.get("automountServiceAccountToken")}
        else:
            body = each["spec"]
        template = body.get("template") if isinstance(body, dict) else None
        if template:
            metadata = template["metadata"]
            template["metadata"] = {
                key: value for key, value in metadata["labels"].items()
                if key.startswith("goconductor-") or key.endswith(("/name", "/instance", "/component"))
            }
            for container in containers_of(template["spec"]):
                # Kustomize puts new entries first. No variable refers to another one.
                container.get("env", []).sort(key=lambda variable: variable["name"])
                container.get("volumeMounts", []).sort(key=lambda mount: mount["mountPath"])
            template["spec"].get("volumes", []).sort(key=lambda volume: volume["name"])
            for volume in template["spec"].get("volumes", []):
                if "configMap" in volume:
                    volume["configMap"]["name"] = SUFFIX.sub("", volume["configMap"]["name"])
        found[kind, name] = body
    return found


def differences(one, other, path):
    """Yields the differences of two values. Entries of lists are compared by position."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other)):
            if key not in one or key not in other:
                side = "the chart" if key in one else "Kustomize"
                yield f"{path}.{key} is only in {side}"
            else:
                yield from differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other)):
            yield from differences(first, second, f"{path}[{index}]")
    elif one != other:
        yield f"{path}: the chart has {one!r}, and Kustomize has {other!r}"


def compare(chart, kustomize):
    """Compares the roles of two rendered files."""
    one, other = roles_of(chart), roles_of(kustomize)
    problems = []
    for key in sorted(set(one) | set(other)):
        name = " ".join(key)
        if key not in one or key not in other:
            problems.append(f"{name} is only in {'the chart' if key in one else 'Kustomize'}")
        else:
            problems += differences(one[key], other[key], name)
    if problems:
        raise SystemExit(f"error: {chart} and {kustomize} differ:\n       " + "\n       ".join(problems))
    print(f"{Path(chart).stem} and {Path(kustomize).stem}: {len(one)} equal objects", file=sys.stderr)


# The API server.

PATHS = {
    "Certificate": ("apis/cert-manager.io/v1", "certificates"),
    "ConfigMap": ("api/v1", "configmaps"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("apis/batch/v1", "jobs"),
    "Namespace": ("api/v1", "namespaces"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "Pod": ("api/v1", "pods"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "PriorityClass": ("apis/scheduling.k8s.io/v1", "priorityclasses"),
    "PrometheusRule": ("apis/monitoring.coreos.com/v1", "prometheusrules"),
    "ScaledObject": ("apis/keda.sh/v1alpha1", "scaledobjects"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ServiceMonitor": ("apis/monitoring.coreos.com/v1", "servicemonitors"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
}
CLUSTER = {"Namespace", "CustomResourceDefinition", "PriorityClass"}
NAMESPACE = "goconductor"


class Server:
    """A client of an API server on this machine, whose certificate is self-signed."""

    def __init__(self, url):
        import ssl

        self.url = url
        self.context = ssl._create_unverified_context()

    def request(self, method, path, body=None, content_type="application/json"):
        """Returns the response, and the warnings of the server."""
        import urllib.error
        import urllib.request

        headers = {"Authorization": "Bearer admin", "Content-Type": content_type}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        try:
            with opener.open(request, timeout=30) as response:
                return response.read(), response.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            message = json.loads(text).get("message", text) if text.startswith("{") else text
            raise RuntimeError(f"{error.code}: {message.strip()}") from None

    def apply(self, each, dry_run):
        """Applies an object on the side of the server. Unknown fields are refused."""
        group, plural = PATHS[each["kind"]]
        folder = "" if each["kind"] in CLUSTER else f"namespaces/{NAMESPACE}/"
        options = "fieldManager=check&fieldValidation=Strict&force=true" + ("&dryRun=All" if dry_run else "")
        path = f"{group}/{folder}{plural}/{each['metadata']['name']}?{options}"
        return self.request("PATCH", path, each, "application/apply-patch+yaml")[1]


def apply(url, definitions_folder, *folders):
    """Applies all rendered files without effect. A warning is an error."""
    import time
    import yaml

    server = Server(url)
    enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}}, False)
    for path in sorted(Path(definitions_folder).glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        server.apply(definition, False)
        group, version = definition["spec"]["group"], definition["spec"]["versions"][-1]["name"]
        for _ in range(300):  # until the server serves the kind
            try:
                server.request("GET", f"apis/{group}/{version}/{definition['spec']['names']['plural']}")
                break
            except RuntimeError:
                time.sleep(0.1)
    # A pod with an unsupported field must be refused, otherwise the check could not fail.
    wrong = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrong"}, "spec": {"containers": [
        {"name": "wrong", "image": "wrong:1"}]}}
    try:
        server.apply(wrong, True)
        raise SystemExit("error: the API server does not enforce the Pod Security Standard restricted")
    except RuntimeError as error:
        if "violates PodSecurity" not in str(error):
            raise SystemExit(f"error: {error}") from None
    problems, count, files = [], 0, 0
    for folder in folders:
        for path in sorted(Path(folder).glob("*.yaml")):
            objects = Objects(path)
            pods = [
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-of-{each['metadata']['name']}"[:63],
                 "labels": labels}, "spec": {**pod, "volumes": volumes_of(each, pod)}}
                for each, labels, pod in objects.pods() if each["kind"] != "Pod"
            ]
            files += 1
            for each in objects.all + pods:
                count += 1
                try:
                    warnings = server.apply(each, True)
                except RuntimeError as error:
                    objects.problem(each, str(error))
                else:
                    for warning in warnings:
                        objects.problem(each, warning)
            problems += objects.problems
    if problems:
        raise SystemExit("error: " + "\n       ".join(problems))
    print(f"the API server accepted {count} objects and pods of {files} files without a warning", file=sys.stderr)


def volumes_of(each, pod):
    """Returns the volumes of a pod with those of its volume claim templates."""
    claims = each["spec"].get("volumeClaimTemplates", [])
    claims = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
    return pod.get("volumes", []) + claims


def main(arguments):
    command, *rest = arguments or ["help"]
    if command == "schema":
        schema("--write" in rest)
    elif command == "rules":
        rules("--write" in rest)
    elif command == "objects":
        check_objects(*rest)
    elif command == "configurations":
        load_configurations(*rest)
    elif command == "roles":
        compare(*rest)
    elif command == "ready":
        Server(rest[0]).request("GET", "readyz")
    elif command == "apply":
        apply(*rest)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
