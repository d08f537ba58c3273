"""fuzz: asks an engine all that its OpenAPI document allows, and what it does not.

    fuzz.py SOCKET IMAGE SEED EXAMPLES [OPERATION...]

IMAGE is the archive of the busybox image. For every operation so many requests that follow the document and as many that break it, half of them about objects that
are there. What must hold for each: an answer within seconds; no status of 500 and above but 501 (refused by name) and 503
(no swarm); one clear sentence with each refusal; and a good answer is what the document says. The same seed asks the same.
"""

import io
import json
import sys
import tarfile
import time
from unittest import SkipTest

import requests
import schemathesis
from docker.transport import UnixHTTPAdapter
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from jsonschema_rs import Draft4Validator
from schemathesis import GenerationMode

HERE = "http+docker://localhost"
PATIENCE = 20
# As much as is read of an answer, and how long: some never end.
ENOUGH, SOON = 1 << 20, 0.3
# Asks nobody outside: connections to this port are refused.
NOBODY = "127.0.0.1:1/"
LASTING = {"SystemEvents", "ContainerLogs", "ContainerStats", "ContainerWait"}
# Of those, what has nothing to say at once: a sample takes a second, an end may never come.
SLOW = {"ContainerStats", "ContainerWait"}
UNHEARD = {"SystemPingHead", "ContainerArchiveInfo"}


def archive(files):
    """A tar of files, by name."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name or "x")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


NAMES = st.text(st.characters(min_codepoint=46, max_codepoint=122), min_size=1, max_size=20)
TARS = st.one_of(
    st.binary(max_size=1200),
    st.dictionaries(NAMES | st.sampled_from(["Dockerfile", "manifest.json", "index.json", "oci-layout", "../x", "/x"]),
                    st.binary(max_size=80) | st.sampled_from([b"FROM busybox\nLABEL a=b", b"FROM", b"[{}]", b"{}"]),
                    max_size=4).map(archive),
)
schemathesis.openapi.media_type("application/x-tar", TARS)


@schemathesis.serializer("application/x-tar")
def raw(_context, value):
    """Bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode()


class Engine:
    """The engine, and the objects that requests are about."""

    def __init__(self, socket, image):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http+docker://", UnixHTTPAdapter(socket, PATIENCE, pool_connections=4))
        self.exec = "none"
        with open(image, "rb") as archive:
            self.image = archive.read()

    def ask(self, method, path, **options):
        return self.session.request(method, HERE + path, timeout=PATIENCE, **options)

    def clean(self, kept=()):
        """Takes away what requests have made."""
        for row in self.ask("GET", "/containers/json?all=1").json():
            if row["Names"] not in kept:
                self.ask("DELETE", f"/containers/{row['Id']}?force=1&v=1")
        for room, rows, name in (("networks", lambda found: found, "Name"), ("volumes", lambda found: found["Volumes"], "Name")):
            for row in rows(self.ask("GET", f"/{room}").json()):
                if room == "volumes" or row[name] not in ("bridge", "host", "none"):
                    self.ask("DELETE", f"/{room}/{row.get('Id') or row[name]}")

    def restore(self):
        """Puts in place what requests may have taken away, and takes away what they have made."""
        self.clean([["/box"], ["/done"]])
        if self.ask("GET", "/images/busybox/json").status_code == 404:
            self.ask("POST", "/images/load?quiet=1", data=self.image).raise_for_status()
        self.ask("POST", "/images/busybox/tag?repo=fuzz/image&tag=1").raise_for_status()
        self.ask("POST", "/networks/create", json={"Name": "net"})
        self.ask("POST", "/volumes/create", json={"Name": "vol"})
        for name, command in (("box", "trap exit TERM; sleep 1000000 & wait"), ("done", "exit 3")):
            config = {"Image": "busybox", "Cmd": ["sh", "-c", command], "HostConfig": {"NetworkMode": "none"}}
            self.ask("POST", f"/containers/create?name={name}", json=config)
        self.ask("POST", "/containers/box/update", json={"RestartPolicy": {"Name": "no"}, "Memory": 0})
        self.ask("POST", "/containers/box/unpause")
        self.ask("POST", "/containers/box/start")
        made = self.ask("POST", "/containers/box/exec", json={"Cmd": ["true"]})
        self.exec = made.json().get("Id", "none")

    def start_all(self):
        """Starts and removes what was created; what is wrong with the answers."""
        told = None
        for row in self.ask("GET", '/containers/json?all=1&filters={"status":["created"]}').json():
            answer = self.ask("POST", f"/containers/{row['Id']}/start")
            if answer.status_code >= 500 and answer.status_code != 501:
                told = f"start: {answer.status_code}: {answer.text[:300]}"
            self.ask("DELETE", f"/containers/{row['Id']}?force=1&v=1")
        return told

    def those(self, path):
        """Objects that an operation at that path can be about."""
        rooms = {"containers": ["box", "done"], "exec": [self.exec], "images": ["busybox", "fuzz/image:1"],
                 "networks": ["net", "bridge"], "volumes": ["vol"], "distribution": [NOBODY + "x"]}
        return rooms.get(path.removeprefix("/teu").split("/")[1], ["x"])


def tame(case):
    """Keeps a request to this machine, and from waiting for what does not come."""
    operation = case.operation.definition.raw["operationId"]
    query = case.query if isinstance(case.query, dict) else {}
    if operation == "DistributionInspect":
        case.path_parameters = {"name": NOBODY + str(case.path_parameters.get("name", ""))}
    for name in ("fromImage", "fromSrc", "remote", "term"):
        if query.get(name):
            query[name] = NOBODY + str(query[name])
    if operation == "SystemAuth" and isinstance(case.body, dict):
        case.body = {key: value for key, value in case.body.items() if key.lower() != "serveraddress"}
        case.body["serveraddress"] = NOBODY
    if operation == "ImagePush":
        query.pop("tag", None)
    # The engine would wait as long as it is told to, and rightly.
    if operation in ("ContainerStop", "ContainerRestart"):
        query["t"] = "0" if query.get("t") in (None, "-1") or str(query["t"])[:1] in "-123456789" else query["t"]
    return operation


def body_of(response):
    """The beginning of an answer."""
    data, until = b"", time.monotonic() + SOON
    try:
        for piece in response.raw.stream(65536, decode_content=True):
            data += piece
            if len(data) > ENOUGH or time.monotonic() > until:
                return data, False
    except Exception:
        return data, False
    return data, True


def wrong(engine, case, operation, schemas):
    """What is wrong with the answer to a request; None when all is well."""
    request = case.as_transport_kwargs(base_url="http://localhost")
    request["url"] = request["url"].replace("http://localhost", HERE, 1)
    request["headers"]["Connection"] = "close"
    lasting = operation in LASTING
    try:
        response = engine.session.request(**request, stream=True, timeout=(PATIENCE, SOON if lasting else PATIENCE))
    except requests.exceptions.InvalidURL:
        return None
    except requests.exceptions.ReadTimeout:
        return None if operation in SLOW else "no answer in time"
    status = response.status_code
    streams = response.headers.get("content-type", "") in (
        "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream")
    if lasting or status == 101 or (streams and status == 200):
        response.close()
        return None
    data, whole = body_of(response)
    response.close()
    if status >= 500 and status not in (501, 503):
        return f"{status}: {data[:500]!r}"
    if status >= 400 and operation not in UNHEARD:
        try:
            message = json.loads(data)["message"]
        except Exception:
            return f"{status} without a message: {data[:300]!r}"
        if not message.strip():
            return f"{status} with an empty message"
        return None
    schema = schemas.get((operation, status))
    if schema is not None and whole and data:
        for error in schema.iter_errors(json.loads(data)):
            return f"{status} is not what the document says: {error.message[:300]} at {list(error.instance_path)}"
    return None


def nulls(schema):
    """OpenAPI's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: nulls(value) for key, value in schema.items() if key not in ("nullable", "x-line", "x-json")}
    return {"anyOf": [{"type": "null"}, plain]} if schema.get("nullable") is True else plain


def answers(document):
    """Validators of the JSON answers, by operation and status."""
    components, found = nulls(document["components"]), {}
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if schema and status.startswith("2") and schema.get("format") != "binary":
                    whole = {"allOf": [nulls(schema)], "components": components}
                    found[operation["operationId"], int(status)] = Draft4Validator(whole)
    return found


def main():
    socket, image, number, examples = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    wanted = sys.argv[5:]
    engine = Engine(socket, image)
    document = engine.ask("GET", "/openapi.json").json()
    schemas = answers(document)
    schema = schemathesis.openapi.from_dict(document)
    findings, asked = set(), 0
    for found in schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if wanted and name not in wanted:
            continue
        engine.restore()
        there = engine.those(operation.path)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            @seed(number)
            @settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans(), which=st.integers(0, 7))
            def ask(case, real, which):
                nonlocal asked
                asked += 1
                if real:
                    for place in case.path_parameters or {}:
                        case.path_parameters[place] = there[which % len(there)]
                    if name == "ContainerCreate" and isinstance(case.body, dict):
                        case.body.update(Image="busybox", Cmd=["true"])
                        for key in ("Entrypoint", "entrypoint"):
                            case.body.pop(key, None)
                    if name == "ImageCommit" and isinstance(case.query, dict):
                        case.query["container"] = there[0] if there[0] != "x" else "done"
                    if name in ("NetworkConnect", "NetworkDisconnect") and isinstance(case.body, dict):
                        case.body["Container"] = "box"
                told = wrong(engine, case, tame(case), schemas)
                if name == "ContainerCreate" and real and told is None:
                    told = engine.start_all()
                if told and (name, told[:60]) not in findings:
                    findings.add((name, told[:60]))
                    print(f"{name}: {told}\n    {case.as_curl_command()[:600]}", flush=True)

            try:
                ask()
            except (Unsatisfiable, SkipTest):
                # Nothing breaks what allows everything.
                continue
    engine.clean()
    print(f"{asked} requests, {len(findings)} findings")
    sys.exit(1 if findings else 0)


main()
