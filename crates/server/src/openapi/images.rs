//! Images, builds and look-ups at registries.

use std::collections::BTreeMap;

use teu_api::build;
use teu_api::container::Ulimit;
use teu_api::image::{DeleteItem, Distribution, HistoryItem, Inspect, PruneReport, SearchResult, Summary};
use teu_api::stream::JsonMessage;
use teu_api::system::{AuthConfig, REGISTRY_AUTH, REGISTRY_CONFIG};

use super::operation::{
    Operation, Parameter, delete, empty, encoded, filters, flag, get, gives, integer, json, lines, post, text, texts,
    unless,
};
use super::{CONFLICT, MISSING, TAR, TAR_ANSWER};

const AUTH: Parameter = encoded::<AuthConfig>(REGISTRY_AUTH, "Credentials for the registry.");
const PLATFORM: Parameter = text("platform", "`os/architecture[/variant]`.");
const BUILD_PRUNE: &[Parameter] = &[
    flag("all", "Also what is in use."),
    integer("keep-storage", "Bytes to keep."),
    integer("reserved-space", "Bytes to keep."),
    integer("max-used-space", "Bytes to keep at most."),
    integer("min-free-space", "Bytes of the disk to be free."),
    filters(&["description", "id", "inuse", "private", "shared", "type", "unused-for", "until"]),
];

pub(super) const OPERATIONS: &[Operation] = &[
    get("ImageList", "/images/json", "Lists images.")
        .query(&[
            flag("all", "Also those that other images were built on."),
            filters(&["before", "dangling", "label", "label!", "reference", "since", "until"]),
            flag("shared-size", "With the bytes that each shares with others."),
            flag("digests", "With digests; they are always there."),
            flag("manifests", "With the manifests of each."),
            flag("identity", "With what is known of who made each."),
        ])
        .answers(&[gives::<Vec<Summary>>(200, "The images, newest first.")]),
    post("ImageCreate", "/images/create", "Pulls an image, or makes one of a file tree.")
        .query(&[
            text("fromImage", "Name of the image to pull."),
            text("fromSrc", "`-`: a tar in the body is the new image's file tree; else the URL of one."),
            text("repo", "Name for the new image."),
            text("tag", "Tag or digest to pull, or tag for the new image."),
            text("message", "A word about the new image."),
            texts("changes", "Dockerfile instructions for the new image's config."),
            PLATFORM,
        ])
        .headers(&[AUTH])
        .takes_bytes(TAR)
        .answers(&[lines::<JsonMessage>("How it goes."), MISSING]),
    post("ImageLoad", "/images/load", "Takes images from an archive.")
        .query(&[
            flag("quiet", "Without progress."),
            json::<Vec<teu_api::Platform>>("platform", "Only these platforms."),
        ])
        .takes_bytes(TAR)
        .answers(&[lines::<JsonMessage>("How it goes.")]),
    get("ImageGetAll", "/images/get", "Gives images as one archive.")
        .query(&[texts("names", "Which ones."), json::<Vec<teu_api::Platform>>("platform", "Only these platforms.")])
        .answers(&[TAR_ANSWER, MISSING]),
    post("ImagePrune", "/images/prune", "Removes images that nothing uses.")
        .query(&[filters(&["dangling", "label", "label!", "until"])])
        .answers(&[gives::<PruneReport>(200, "What was removed.")]),
    get("ImagePrunePreview", "/images/prune", "Tells what POST would remove.")
        .query(&[filters(&["dangling", "label", "label!", "until"])])
        .answers(&[gives::<PruneReport>(200, "What would be removed.")]),
    get("ImageSearch", "/images/search", "Searches a registry's index for images.")
        .query(&[
            text("term", "What for.").needed(),
            integer("limit", "At most so many."),
            filters(&["is-automated", "is-official", "stars"]),
        ])
        .answers(&[gives::<Vec<SearchResult>>(200, "What was found.")]),
    get("ImageInspect", "/images/{name}/json", "Tells all about an image.")
        .query(&[flag("manifests", "With its manifests."), json::<Option<teu_api::Platform>>("platform", "Which one.")])
        .answers(&[gives::<Inspect>(200, "The image."), MISSING]),
    get("ImageHistory", "/images/{name}/history", "Tells of the steps that made an image.")
        .query(&[json::<Option<teu_api::Platform>>("platform", "Which one.")])
        .answers(&[gives::<Vec<HistoryItem>>(200, "The steps, newest first."), MISSING]),
    get("ImageGet", "/images/{name}/get", "Gives an image as an archive.")
        .query(&[json::<Vec<teu_api::Platform>>("platform", "Only these platforms.")])
        .answers(&[TAR_ANSWER, MISSING]),
    post("ImagePush", "/images/{name}/push", "Pushes an image to its registry.")
        .query(&[text("tag", "Only this tag."), json::<Option<teu_api::Platform>>("platform", "Which one.")])
        .headers(&[AUTH])
        .answers(&[lines::<JsonMessage>("How it goes."), MISSING]),
    post("ImageTag", "/images/{name}/tag", "Gives an image a further name.")
        .query(&[text("repo", "Repository.").needed(), text("tag", "Tag.")])
        .answers(&[empty(201, "Given."), MISSING, CONFLICT]),
    delete("ImageDelete", "/images/{name}", "Takes a name from an image, and removes what has none left.")
        .query(&[
            flag("force", "Although containers use it, or with all its names."),
            flag("noprune", "Leave the images it was built on."),
            json::<Vec<teu_api::Platform>>("platforms", "Only these platforms."),
        ])
        .answers(&[gives::<Vec<DeleteItem>>(200, "What was removed."), MISSING, CONFLICT]),
    get("ImageAttestations", "/images/{name}/attestations", "Not there: no statement about an image is kept with it.")
        .query(&[
            PLATFORM,
            texts("type", "Only statements of these types."),
            flag("statement", "With the statements themselves."),
        ])
        .answers(&[empty(501, "Attestations are not supported."), MISSING]),
    get("DistributionInspect", "/distribution/{name}/json", "Asks a registry what a name means.")
        .headers(&[AUTH])
        .answers(&[
            gives::<Distribution>(200, "What it means."),
            empty(401, "The registry wants credentials."),
            MISSING,
        ]),
    post("ImageBuild", "/build", "Builds an image; the body is its context.")
        .query(&[
            text("dockerfile", "Path of the Dockerfile in the context."),
            texts("t", "Names for the image."),
            text("remote", "URL of an archive, a Dockerfile or a git repository to fetch instead of the body."),
            flag("q", "Say nothing but the image's id."),
            flag("nocache", "Use no cache."),
            text("nocachefilter", "Names of stages, between commas, that use no cache."),
            json::<BTreeMap<String, String>>(
                "contexts",
                "What names of stages and images stand for: `docker-image://…`, a URL, or `upload:` and the name of an archive that another request brings.",
            ),
            flag("pull", "Pull base images although they are here."),
            unless("rm", "Of no effect: no step leaves a container behind."),
            flag("forcerm", "Of no effect, likewise."),
            integer("memory", "Memory limit of RUN."),
            integer("memswap", "Limit of memory and swap together."),
            integer("cpushares", "Relative CPU weight of RUN."),
            text("cpusetcpus", "CPUs for RUN."),
            text("cpusetmems", "Memory nodes for RUN."),
            integer("cpuperiod", "CPU period of RUN, microseconds."),
            integer("cpuquota", "CPU time of RUN in each period."),
            json::<BTreeMap<String, Option<String>>>("buildargs", "Values of ARG."),
            json::<BTreeMap<String, String>>("labels", "Labels for the image."),
            json::<Vec<String>>("allow", "What a `RUN` may ask for: `network.host`, `security.insecure`."),
            json::<Vec<String>>("cachefrom", "Images to take cache from."),
            json::<Vec<Ulimit>>("ulimits", "Resource limits of RUN."),
            integer("shmsize", "Bytes of /dev/shm for RUN."),
            flag("squash", "One layer for all that the build makes."),
            text("networkmode", "Network of RUN."),
            text("cgroupparent", "Parent of the build's cgroups."),
            texts("extrahosts", "Lines for /etc/hosts of RUN, `host:ip`."),
            PLATFORM,
            text("target", "Stage to stop at."),
            json::<Vec<build::BuildOutput>>(
                "outputs",
                "One archive that comes with the answer, in the place of an image; in version 2 what BuildKit's clients take.",
            ),
            text("version", "`1`, or `2`: as BuildKit builds, with a session."),
            text("session", "The client's session, in version 2."),
            text("buildid", "The client's name for the build; `upload-request:` before it brings its archive."),
        ])
        .headers(&[
            encoded::<BTreeMap<String, AuthConfig>>(REGISTRY_CONFIG, "Credentials by registry."),
            encoded::<BTreeMap<String, String>>(build::BUILD_SECRETS, "Secrets by id, each in base64."),
        ])
        .takes_bytes(TAR)
        .answers(&[lines::<JsonMessage>("How it goes."), MISSING]),
    post("BuildPrune", "/build/prune", "Removes the build cache.").query(BUILD_PRUNE).answers(&[gives::<
        build::PruneReport,
    >(
        200,
        "What was removed.",
    )]),
    get("BuildPrunePreview", "/build/prune", "Tells what POST would remove.").query(BUILD_PRUNE).answers(&[gives::<
        build::PruneReport,
    >(
        200,
        "What would be removed.",
    )]),
];
