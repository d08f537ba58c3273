//! Networks, volumes, events and the engine itself.

use teu_api::event::Message;
use teu_api::network::{self, ConnectRequest, DisconnectRequest, Network};
use teu_api::system::{AuthConfig, AuthResponse, DiskUsage, Info, Version};
use teu_api::volume::{self, Volume};

use super::operation::{
    Operation, Parameter, bytes, delete, empty, filters, flag, get, gives, head, lines, moment, post, put, text, texts,
    unless,
};
use super::{CONFLICT, FORBIDDEN, MISSING, NO_CONTENT, TAR, TAR_ANSWER};

const PAUSE: Parameter = unless("pause", "Freeze the containers that use it meanwhile.");

pub(super) const OPERATIONS: &[Operation] = &[
    get("NetworkList", "/networks", "Lists networks.")
        .query(&[filters(&["dangling", "driver", "id", "label", "label!", "name", "scope", "type"])])
        .answers(&[gives::<Vec<Network>>(200, "The networks.")]),
    post("NetworkCreate", "/networks/create", "Makes a network.").takes::<network::CreateRequest>().answers(&[
        gives::<network::CreateResponse>(201, "The new network."),
        FORBIDDEN,
        MISSING,
        CONFLICT,
    ]),
    post("NetworkPrune", "/networks/prune", "Removes networks that no container is on.")
        .query(&[filters(&["label", "label!", "until"])])
        .answers(&[gives::<network::PruneReport>(200, "What was removed.")]),
    get("NetworkPrunePreview", "/networks/prune", "Tells what POST would remove.")
        .query(&[filters(&["label", "label!", "until"])])
        .answers(&[gives::<network::PruneReport>(200, "What would be removed.")]),
    get("NetworkInspect", "/networks/{id}", "Tells all about a network.")
        .query(&[flag("verbose", "Of no effect outside of a swarm."), text("scope", "Only one of that scope.")])
        .answers(&[gives::<Network>(200, "The network."), MISSING]),
    delete("NetworkDelete", "/networks/{id}", "Removes a network.").answers(&[NO_CONTENT, FORBIDDEN, MISSING]),
    post("NetworkConnect", "/networks/{id}/connect", "Puts a container on a network.")
        .takes::<ConnectRequest>()
        .answers(&[empty(200, "Connected."), FORBIDDEN, MISSING, CONFLICT]),
    post("NetworkDisconnect", "/networks/{id}/disconnect", "Takes a container off a network.")
        .takes::<DisconnectRequest>()
        .answers(&[empty(200, "Disconnected."), FORBIDDEN, MISSING, CONFLICT]),
    get("VolumeList", "/volumes", "Lists volumes.")
        .query(&[filters(&["dangling", "driver", "label", "label!", "name"])])
        .answers(&[gives::<volume::ListResponse>(200, "The volumes.")]),
    post("VolumeCreate", "/volumes/create", "Makes a volume.")
        .takes::<volume::CreateRequest>()
        .answers(&[gives::<Volume>(201, "The volume."), CONFLICT]),
    post("VolumePrune", "/volumes/prune", "Removes volumes that no container uses.")
        .query(&[filters(&["all", "label", "label!"])])
        .answers(&[gives::<volume::PruneReport>(200, "What was removed.")]),
    get("VolumePrunePreview", "/volumes/prune", "Tells what POST would remove.")
        .query(&[filters(&["all", "label", "label!"])])
        .answers(&[gives::<volume::PruneReport>(200, "What would be removed.")]),
    get("VolumeInspect", "/volumes/{name}", "Tells all about a volume.")
        .answers(&[gives::<Volume>(200, "The volume."), MISSING]),
    delete("VolumeDelete", "/volumes/{name}", "Removes a volume.")
        .query(&[flag("force", "Although its driver has lost it.")])
        .answers(&[NO_CONTENT, MISSING, CONFLICT]),
    put("VolumeUpdate", "/volumes/{name}", "Not there: only a swarm's volumes are changed.")
        .answers(&[empty(503, "This node is in no swarm.")]),
    post("VolumeClone", "/teu/volumes/{name}/clone", "Copies a volume.")
        .query(&[text("to", "Name of the copy.").needed(), PAUSE])
        .answers(&[gives::<Volume>(201, "The copy."), MISSING, CONFLICT]),
    post("VolumeSnapshot", "/teu/volumes/{name}/snapshot", "Makes a copy of a volume that nothing may write to.")
        .query(&[text("to", "Name of the copy; one is made up when there is none."), PAUSE])
        .answers(&[gives::<Volume>(201, "The copy."), MISSING, CONFLICT]),
    post("VolumeRename", "/teu/volumes/{name}/rename", "Gives a volume another name.")
        .query(&[text("to", "The name.").needed()])
        .answers(&[gives::<Volume>(200, "The volume."), MISSING, CONFLICT]),
    get("VolumeExport", "/teu/volumes/{name}/export", "Gives a volume's files as a tar.")
        .answers(&[TAR_ANSWER, MISSING]),
    post("VolumeImport", "/teu/volumes/{name}/import", "Fills a volume with the files of a tar.")
        .query(&[flag("force", "Although there are files in it.")])
        .takes_bytes(TAR)
        .answers(&[gives::<Volume>(200, "The volume."), MISSING, CONFLICT]),
    get("SystemEvents", "/events", "Tells what happens, as it happens.")
        .query(&[
            moment("since", "Also what has happened since."),
            moment("until", "Until then, and no further."),
            filters(crate::routes::EVENT_FILTERS),
        ])
        .answers(&[lines::<Message>("The events.")]),
    get("SystemPing", "/_ping", "Says that the engine is there, and in headers what it speaks.").answers(&[bytes(
        200,
        &["text/plain"],
        "`OK`.",
    )]),
    head("SystemPingHead", "/_ping", "The same without a body.").answers(&[empty(200, "It is there.")]),
    get("SystemVersion", "/version", "Tells which engine it is.").answers(&[gives::<Version>(200, "The version.")]),
    get("SystemInfo", "/info", "Tells about the engine and its host.").answers(&[gives::<Info>(200, "The facts.")]),
    post("SystemAuth", "/auth", "Checks credentials with the registry they are for.")
        .takes::<AuthConfig>()
        .answers(&[gives::<AuthResponse>(200, "They are good."), empty(401, "They are not.")]),
    get("SystemDataUsage", "/system/df", "Tells what takes how much space.")
        .query(&[
            texts("type", "Only `container`, `image`, `volume` or `build-cache`."),
            flag("verbose", "With each object, not only the sums."),
        ])
        .answers(&[gives::<DiskUsage>(200, "The sizes.")]),
    get("OpenApi", "/openapi.json", "Gives this document.")
        .answers(&[gives::<serde_json::Value>(200, "The document.")]),
];
