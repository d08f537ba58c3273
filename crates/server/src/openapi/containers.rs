//! Containers and execs.

use teu_api::container::{
    ChangeItem, CheckpointRequest, CheckpointSummary, Config, CreateRequest, CreateResponse, Inspect, PruneReport,
    Stats, Summary, TopResponse, UpdateRequest, UpdateResponse, WaitResponse,
};
use teu_api::exec::{ExecCreate, ExecCreateResponse, ExecInspect, ExecStart};
use teu_api::image::CommitResponse;
use teu_api::stream::{MULTIPLEXED_STREAM, RAW_STREAM};

use super::operation::{
    Operation, Parameter, bytes, cells, delete, empty, filters, flag, get, gives, head, integer, lines, moment, post,
    put, text, texts, unless, word,
};
use super::{CONFLICT, MISSING, NO_CONTENT, TAR};

/// What a stream of output is made of.
const OUTPUT: &[&str] = &[RAW_STREAM, MULTIPLEXED_STREAM];
const SIGNAL: Parameter = text("signal", "Signal that asks it to stop, by name or number.");
const PATIENCE: Parameter = integer("t", "Seconds until it is killed; -1 waits for ever.");
const CHECKPOINT: Parameter = text("checkpoint", "The name of a checkpoint to go on from.");
const CHECKPOINT_DIR: Parameter = text("checkpoint-dir", "The folder of checkpoints, other than the usual one.");
const DIR: Parameter = text("dir", "The folder of checkpoints, other than the usual one.");
const KEYS: Parameter = text("detachKeys", "Keys that let go of a terminal, `ctrl-p,ctrl-q`.");
const ROWS: Parameter = cells("h", "Rows.").needed();
const COLUMNS: Parameter = cells("w", "Columns.").needed();
const PATH: Parameter = text("path", "Path in the container.").needed();
const STREAMS: &[Parameter] = &[
    KEYS,
    flag("logs", "What was said before, first."),
    flag("stream", "What is said from now on."),
    flag("stdin", "Attach standard input."),
    flag("stdout", "Attach standard output."),
    flag("stderr", "Attach standard error."),
];

pub(super) const OPERATIONS: &[Operation] = &[
    get("ContainerList", "/containers/json", "Lists containers.")
        .query(&[
            flag("all", "Also those that do not run."),
            integer("limit", "The newest so many, whether they run or not."),
            flag("size", "With the bytes of each."),
            texts(
                "fields",
                "The members of a row that are wanted, with commas between; all of them without it. Not Docker's.",
            ),
            filters(&[
                "ancestor",
                "before",
                "exited",
                "expose",
                "health",
                "id",
                "is-task",
                "isolation",
                "label",
                "label!",
                "name",
                "network",
                "publish",
                "since",
                "status",
                "volume",
            ]),
        ])
        .answers(&[gives::<Vec<Summary>>(200, "The containers, newest first.")]),
    post("ContainerCreate", "/containers/create", "Makes a container.")
        .query(&[
            text("name", "Its name; one is made up when there is none."),
            text("platform", "`os/architecture[/variant]` of the image."),
            flag(
                "start",
                "Start it at once, and say so in the answer (`Started`, or why not in `Error`). Where it has streams to \
                 attach and no terminal, and an upgrade is announced, the connection becomes these: frames, and a last one \
                 with the exit code when it has ended, or is gone if it removes itself. The answer is in the header \
                 `X-Teu-Run` then. Not Docker's.",
            ),
        ])
        .takes::<CreateRequest>()
        .answers(&[
            gives::<CreateResponse>(201, "The new container."),
            bytes(101, OUTPUT, "The connection is the container's."),
            MISSING,
            CONFLICT,
        ]),
    post("ContainerPrune", "/containers/prune", "Removes containers that do not run.")
        .query(&[filters(&["label", "label!", "until"])])
        .answers(&[gives::<PruneReport>(200, "What was removed."), CONFLICT]),
    get("ContainerPrunePreview", "/containers/prune", "Tells what POST would remove.")
        .query(&[filters(&["label", "label!", "until"])])
        .answers(&[gives::<PruneReport>(200, "What would be removed.")]),
    get("ContainerInspect", "/containers/{id}/json", "Tells all about a container.")
        .query(&[flag("size", "With its bytes.")])
        .answers(&[gives::<Inspect>(200, "The container."), MISSING]),
    get("ContainerTop", "/containers/{id}/top", "Lists a container's processes.")
        .query(&[text("ps_args", "Which columns: options of ps(1).")])
        .answers(&[gives::<TopResponse>(200, "The processes."), MISSING, CONFLICT]),
    get("ContainerLogs", "/containers/{id}/logs", "Gives what a container has said.")
        .query(&[
            flag("follow", "And what it goes on to say."),
            flag("stdout", "Standard output."),
            flag("stderr", "Standard error."),
            moment("since", "Only what was said since."),
            moment("until", "Only what was said before."),
            flag("timestamps", "With the time before each line."),
            flag("details", "With the details that the log driver keeps."),
            text("tail", "So many lines from the end; `all` for every one."),
        ])
        .answers(&[bytes(200, OUTPUT, "The output."), MISSING]),
    get("ContainerChanges", "/containers/{id}/changes", "Tells how a container's files differ from its image's.")
        .answers(&[gives::<Option<Vec<ChangeItem>>>(200, "The changes."), MISSING]),
    get("ContainerExport", "/containers/{id}/export", "Gives a container's files as a tar.")
        .answers(&[bytes(200, &["application/octet-stream"], "The tar."), MISSING]),
    get("ContainerStats", "/containers/{id}/stats", "Tells what a container uses.")
        .query(&[
            unless("stream", "Again each second."),
            flag("one-shot", "One sample at once, without an earlier one to compare it with."),
        ])
        .answers(&[lines::<Stats>("The samples."), MISSING]),
    post("ContainerResize", "/containers/{id}/resize", "Sets the size of a container's terminal.")
        .query(&[ROWS, COLUMNS])
        .answers(&[empty(200, "Set."), MISSING, CONFLICT]),
    post("ContainerStart", "/containers/{id}/start", "Starts a container.")
        .query(&[KEYS, CHECKPOINT, CHECKPOINT_DIR])
        .answers(&[NO_CONTENT, empty(304, "It runs."), MISSING, CONFLICT]),
    get("CheckpointList", "/containers/{id}/checkpoints", "Lists the checkpoints of a container.")
        .query(&[DIR])
        .answers(&[gives::<Vec<CheckpointSummary>>(200, "The checkpoints, by name."), MISSING]),
    post("CheckpointCreate", "/containers/{id}/checkpoints", "Saves the processes of a running container, by criu.")
        .takes::<CheckpointRequest>()
        .answers(&[empty(201, "Saved."), MISSING, CONFLICT]),
    delete("CheckpointDelete", "/containers/{id}/checkpoints/{name}", "Removes a checkpoint.")
        .query(&[DIR])
        .answers(&[NO_CONTENT, MISSING]),
    post("ContainerStop", "/containers/{id}/stop", "Stops a container.").query(&[SIGNAL, PATIENCE]).answers(&[
        NO_CONTENT,
        empty(304, "It does not run."),
        MISSING,
    ]),
    post("ContainerRestart", "/containers/{id}/restart", "Stops and starts a container.")
        .query(&[SIGNAL, PATIENCE])
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    post("ContainerKill", "/containers/{id}/kill", "Sends a signal to a container.")
        .query(&[text("signal", "The signal, by name or number; SIGKILL when there is none.")])
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    post(
        "ContainerUpdate",
        "/containers/{id}/update",
        "Changes what a container may use, and when it is started again.",
    )
    .takes::<UpdateRequest>()
    .answers(&[gives::<UpdateResponse>(200, "Changed."), MISSING, CONFLICT]),
    post("ContainerRename", "/containers/{id}/rename", "Gives a container another name.")
        .query(&[text("name", "The name.").needed()])
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    post("ContainerPause", "/containers/{id}/pause", "Freezes a container.").answers(&[NO_CONTENT, MISSING, CONFLICT]),
    post("ContainerUnpause", "/containers/{id}/unpause", "Thaws a container.")
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    post("ContainerAttach", "/containers/{id}/attach", "Connects the client with a container's input and output.")
        .query(STREAMS)
        .answers(&[
            bytes(101, OUTPUT, "The connection is the container's."),
            bytes(200, OUTPUT, "The same for clients that announced no upgrade."),
            MISSING,
            CONFLICT,
        ]),
    get("ContainerAttachWebsocket", "/containers/{id}/attach/ws", "The same over a WebSocket.")
        .query(STREAMS)
        .answers(&[empty(101, "The WebSocket."), MISSING, CONFLICT]),
    post("ContainerWait", "/containers/{id}/wait", "Waits for a container's end.")
        .query(&[word("condition", &["not-running", "next-exit", "removed"], "Which end.")])
        .answers(&[gives::<WaitResponse>(200, "How it ended."), MISSING]),
    delete("ContainerDelete", "/containers/{id}", "Removes a container.")
        .query(&[
            flag("v", "With its anonymous volumes."),
            flag("force", "Kill it first when it runs."),
            flag("link", "Only the link of that name."),
        ])
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    head("ContainerArchiveInfo", "/containers/{id}/archive", "Tells what is at a path.")
        .query(&[PATH])
        .answers(&[empty(200, "In the header `X-Docker-Container-Path-Stat`."), empty(404, "No such thing.")]),
    get("ContainerArchive", "/containers/{id}/archive", "Gives what is at a path as a tar.")
        .query(&[PATH])
        .answers(&[bytes(200, &[TAR], "The tar."), MISSING]),
    put("PutContainerArchive", "/containers/{id}/archive", "Unpacks a tar at a path.")
        .query(&[
            PATH,
            flag("noOverwriteDirNonDir", "An error where a folder would replace what is none, or the other way."),
            flag("copyUIDGID", "With the owners in the tar."),
        ])
        .takes_bytes(TAR)
        .answers(&[empty(200, "Unpacked."), empty(403, "The place is read-only."), MISSING]),
    post("ImageCommit", "/commit", "Makes an image of a container.")
        .query(&[
            text("container", "The container.").needed(),
            text("repo", "The image's repository."),
            text("tag", "Its tag."),
            text("comment", "A word about it."),
            text("author", "Who."),
            unless("pause", "Freeze the container meanwhile."),
            texts("changes", "Dockerfile instructions that change its config."),
        ])
        .may_take::<Config>()
        .answers(&[gives::<CommitResponse>(201, "The new image."), MISSING, CONFLICT]),
    post("ContainerExec", "/containers/{id}/exec", "Prepares a further process in a container.")
        .query(&[flag(
            "start",
            "Run it at once, without a terminal, on this connection: its frames, and last one with the exit code. Not \
             Docker's, and only for whoever announces an upgrade.",
        )])
        .takes::<ExecCreate>()
        .answers(&[
            gives::<ExecCreateResponse>(201, "The exec."),
            bytes(101, OUTPUT, "The connection is the process's."),
            MISSING,
            CONFLICT,
        ]),
    post("ExecStart", "/exec/{id}/start", "Starts an exec.").may_take::<ExecStart>().answers(&[
        bytes(101, OUTPUT, "The connection is the process's."),
        bytes(200, OUTPUT, "The same for clients that announced no upgrade; nothing when detached."),
        MISSING,
        CONFLICT,
    ]),
    post("ExecResize", "/exec/{id}/resize", "Sets the size of an exec's terminal.").query(&[ROWS, COLUMNS]).answers(&[
        empty(200, "Set."),
        MISSING,
        CONFLICT,
    ]),
    get("ExecInspect", "/exec/{id}/json", "Tells about an exec.")
        .answers(&[gives::<ExecInspect>(200, "The exec."), MISSING]),
];
