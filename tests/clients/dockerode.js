// dockerode: what programs do with the library for Node.js; DOCKER_HOST says where the engine is.
"use strict";

const assert = require("node:assert");
const { PassThrough } = require("node:stream");
const Docker = require("dockerode");

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });

// All that a stream says.
async function text(stream) {
  let all = "";
  for await (const piece of stream) all += piece;
  return all;
}

const finished = (stream) =>
  new Promise((done, fail) => docker.modem.followProgress(stream, (error, lines) => (error ? fail(error) : done(lines))));

async function containers() {
  const out = new PassThrough();
  const [ended, ran] = await docker.run("busybox", ["sh", "-c", "echo hello; exit 3"], out, { Tty: true });
  assert.strictEqual(ended.StatusCode, 3);
  assert.strictEqual(out.read().toString(), "hello\r\n");
  await ran.remove();

  const box = await docker.createContainer({ Image: "busybox", Cmd: ["cat"], name: "box", OpenStdin: true, StdinOnce: true });
  const stream = await box.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const said = new PassThrough();
  box.modem.demuxStream(stream, said, new PassThrough());
  await box.start();
  stream.write("to and fro\n");
  stream.end();
  assert.strictEqual((await box.wait()).StatusCode, 0);
  stream.once("end", () => said.end());
  assert.strictEqual((await box.logs({ stdout: true })).subarray(8).toString(), "to and fro\n");
  await box.remove();
  await assert.rejects(box.inspect(), (error) => error.statusCode === 404);
}

async function execs() {
  const box = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { AutoRemove: true } });
  await box.start();
  const exec = await box.exec({ Cmd: ["sh", "-c", "read line; echo got $line"], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const said = new PassThrough();
  docker.modem.demuxStream(stream, said, new PassThrough());
  stream.on("end", () => said.end());
  stream.write("it\n");
  assert.strictEqual(await text(said), "got it\n");
  assert.strictEqual((await exec.inspect()).ExitCode, 0);
  const stats = await box.stats({ stream: false });
  // Docker 20.10 has no figures where cgroups are hybrid.
  assert.ok(stats.memory_stats.usage > 0 || (process.env.ENGINE_UNDER_TEST === "theirs" && !stats.memory_stats.usage));
  await box.kill();
}

async function images() {
  const stream = await docker.buildImage({ context: __dirname, src: ["dockerode.js"] }, { t: "never" }).catch((error) => error);
  assert.ok(stream.statusCode >= 400 || stream.pipe, "a context without a Dockerfile");
  const repo = "made";
  const box = await docker.createContainer({ Image: "busybox", Cmd: ["true"] });
  await box.commit({ repo, tag: "1", changes: "LABEL a=b" });
  await box.remove();
  const image = docker.getImage("made:1");
  assert.strictEqual((await image.inspect()).Config.Labels.a, "b");
  const lines = await finished(await docker.loadImage(await image.get()));
  assert.ok(lines.some((line) => (line.stream || "").includes("Loaded image: made:1")), JSON.stringify(lines));
  await image.remove();
}

async function networksAndVolumes() {
  const network = await docker.createNetwork({ Name: "net", Internal: true });
  await docker.createVolume({ Name: "vol" });
  const box = await docker.createContainer({
    Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "none", Binds: ["vol:/data"] },
  });
  const other = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: "net" } });
  await other.start();
  assert.strictEqual(Object.keys((await network.inspect()).Containers).length, 1);
  assert.deepStrictEqual((await docker.listVolumes()).Volumes.map((volume) => volume.Name), ["vol"]);
  await Promise.all([box.remove({ force: true }), other.remove({ force: true })]);
  await network.remove();
  await docker.getVolume("vol").remove();
}

async function events() {
  const stream = await docker.getEvents({ filters: { type: ["volume"] } });
  await docker.createVolume({ Name: "told" });
  await docker.getVolume("told").remove();
  let all = "";
  for await (const piece of stream) {
    all += piece;
    if (all.includes('"destroy"')) break;
  }
  assert.deepStrictEqual(all.trim().split("\n").map((line) => JSON.parse(line).Action), ["create", "destroy"]);
}

(async () => {
  for (const part of [containers, execs, images, networksAndVolumes, events]) {
    await part();
    console.log(part.name);
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
