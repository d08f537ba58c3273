"""sdk: what programs do with Docker's own library for Python; DOCKER_HOST says where the engine is."""

import io
import sys
import tarfile
import threading

import docker
from docker.types import Mount

client = docker.from_env()


def equal(found, expected):
    if found != expected:
        sys.exit(f"sdk.py: {found!r} is not {expected!r}")


def refused(error, work):
    try:
        work()
    except error as told:
        return told
    sys.exit(f"sdk.py: nothing was refused: {error}")


def containers():
    equal(client.ping(), True)
    equal(client.containers.run("busybox", ["echo", "hello"], remove=True), b"hello\n")
    failed = refused(docker.errors.ContainerError, lambda: client.containers.run("busybox", "false", remove=True))
    equal(failed.exit_status, 1)
    refused(docker.errors.ImageNotFound, lambda: client.images.get("nothing:here"))
    box = client.containers.create("busybox", "sh -c 'echo out; echo err >&2; exec cat'", stdin_open=True, name="box",
                                   labels={"a": "b"}, environment={"E": "f"}, mem_limit="64m")
    box.start()
    equal([one.name for one in client.containers.list(filters={"label": "a=b"})], ["box"])
    code, (out, err) = box.exec_run(["sh", "-c", "echo $E; echo wrong >&2; exit 3"], demux=True)
    equal((code, out, err), (3, b"f\n", b"wrong\n"))
    socket = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    socket._sock.sendall(b"echoed\n")
    socket._sock.shutdown(1)
    equal(box.wait()["StatusCode"], 0)
    equal(box.logs(stdout=True, stderr=False), b"out\nechoed\n")
    box.put_archive("/tmp", archive("file", b"content"))
    stream, stat = box.get_archive("/tmp/file")
    equal(stat["size"], 7)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        equal(tar.extractfile("file").read(), b"content")
    equal([change["Path"] for change in box.diff()], ["/tmp", "/tmp/file"])
    box.restart(timeout=0)
    equal(sorted(box.stats(stream=False))[:2], sorted(box.stats(stream=False))[:2])
    equal(box.top()["Processes"][0][-1], "cat")
    box.pause()
    box.reload()
    equal(box.status, "paused")
    box.unpause()
    box.rename("other")
    equal(client.containers.get("other").id, box.id)
    box.remove(force=True)
    refused(docker.errors.NotFound, lambda: client.containers.get("other"))


def archive(name, data):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def images():
    dockerfile = b"FROM busybox\nARG A\nRUN echo $A > /a\nCMD cat /a\n"
    image, lines = client.images.build(fileobj=io.BytesIO(dockerfile), tag="made:1", buildargs={"A": "built"}, rm=True)
    equal(any("Successfully built" in line.get("stream", "") for line in lines), True)
    equal(client.containers.run("made:1", remove=True), b"built\n")
    saved = b"".join(image.save(named=True))
    client.images.remove("made:1")
    equal(client.images.load(saved)[0].tags, ["made:1"])
    refused(docker.errors.BuildError, lambda: client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 4\n")))
    client.images.remove("made:1")


def networks_and_volumes():
    network, volume = client.networks.create("net", driver="bridge"), client.volumes.create("vol", labels={"x": "y"})
    mount = Mount("/data", "vol")
    client.containers.run("busybox", "sh -c 'echo kept > /data/file'", mounts=[mount], remove=True)
    web = client.containers.run("busybox", "httpd -f -p 80 -h /data", mounts=[mount], network="net", name="web",
                                detach=True, ports={"80/tcp": None})
    line = "sh -c 'until wget -qO- http://web/file; do sleep 0.1; done'"
    equal(client.containers.run("busybox", line, network="net", remove=True), b"kept\n")
    web.reload()
    equal(int(web.ports["80/tcp"][0]["HostPort"]) > 0, True)
    network.disconnect(web)
    web.remove(force=True)
    network.remove()
    volume.remove()


def events():
    seen, ready = [], threading.Event()
    stream = client.events(decode=True, filters={"type": "volume"})

    def listen():
        ready.set()
        for event in stream:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait()
    client.volumes.create("told").remove()
    listener.join(20)
    equal(seen, ["create", "destroy"])


for part in (containers, images, networks_and_volumes, events):
    part()
    print(part.__name__)
