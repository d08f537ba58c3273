//! Every command, where help shows it.

use super::{Entry, Group, local, verb};
use crate::commands as c;

/// What most people need on most days, in the order of help.
pub(crate) const COMMON: &[Entry] = &[
    verb::<c::run::Run>("run"),
    verb::<c::exec::Exec>("exec"),
    verb::<c::ps::Ps>("ps"),
    verb::<c::build::Build>("build"),
    verb::<c::pull::Pull>("pull"),
    verb::<c::push::Push>("push"),
    verb::<c::images::Images>("images"),
    verb::<c::login::Login>("login"),
    verb::<c::login::Logout>("logout"),
    verb::<c::search::Search>("search"),
    verb::<c::version::Version>("version"),
    verb::<c::info::Info>("info"),
];

/// The other commands, by name.
pub(crate) const OTHERS: &[Entry] = &[
    verb::<c::attach::Attach>("attach"),
    verb::<c::commit::Commit>("commit"),
    local::<c::completion::Completion>("completion", "SHELL", c::completion::ABOUT, c::completion::perform),
    verb::<c::cp::Cp>("cp"),
    verb::<c::run::Create>("create"),
    local::<DaemonArguments>("daemon", "", "Run the daemon in the foreground", c::daemon::perform),
    verb::<c::diff::Diff>("diff"),
    verb::<c::doctor::Doctor>("doctor"),
    verb::<c::events::Events>("events"),
    verb::<c::export::Export>("export"),
    verb::<c::history::History>("history"),
    verb::<c::import::Import>("import"),
    verb::<c::inspect::Inspect>("inspect"),
    verb::<c::lifecycle::Kill>("kill"),
    verb::<c::load::Load>("load"),
    verb::<c::logs::Logs>("logs"),
    MAN,
    verb::<c::completion::Complete>("__complete").hidden(),
    verb::<c::lifecycle::Pause>("pause"),
    verb::<c::port::Port>("port"),
    verb::<c::lifecycle::Rename>("rename"),
    verb::<c::lifecycle::Restart>("restart"),
    verb::<c::rm::Rm>("rm"),
    verb::<c::rmi::Rmi>("rmi"),
    verb::<c::save::Save>("save"),
    verb::<c::start::Start>("start"),
    verb::<c::stats::Stats>("stats"),
    verb::<c::lifecycle::Stop>("stop"),
    verb::<c::tag::Tag>("tag"),
    verb::<c::top::Top>("top"),
    verb::<c::lifecycle::Unpause>("unpause"),
    verb::<c::update::Update>("update"),
    verb::<c::wait::Wait>("wait"),
];

type DaemonArguments = c::daemon::DaemonArgs;

const MAN: Entry =
    local::<c::man::Man>("man", "FOLDER", "Write the manual pages to a folder", c::man::perform).hidden();

/// Commands about one kind of object, by that kind.
pub(crate) fn groups() -> Vec<Group> {
    let group = |name, about, entries| Group { name, about, entries };
    vec![
        group(
            "builder",
            "Manage builds",
            vec![verb::<c::build::Build>("build"), verb::<c::prune::BuildPrune>("prune")],
        ),
        group("checkpoint", "Manage checkpoints", checkpoints()),
        group("container", "Manage containers", containers()),
        group("context", "Manage contexts", contexts()),
        group("image", "Manage images", images()),
        group("manifest", "Manage image manifests and manifest lists", manifests()),
        group("network", "Manage networks", networks()),
        group(
            "registry",
            "Run an image registry",
            vec![local::<c::registry::RegistryArgs>("serve", "", c::registry::ABOUT, c::registry::perform)],
        ),
        group(
            "system",
            "Manage teu",
            vec![
                verb::<c::df::Df>("df"),
                verb::<c::dial::DialStdio>("dial-stdio").hidden(),
                verb::<c::events::Events>("events"),
                verb::<c::info::Info>("info"),
                verb::<c::prune::SystemPrune>("prune"),
            ],
        ),
        group(
            "volume",
            "Manage volumes",
            vec![
                verb::<c::volume::copies::Clone>("clone"),
                verb::<c::volume::Create>("create"),
                verb::<c::volume::copies::Export>("export"),
                verb::<c::volume::copies::Import>("import"),
                verb::<c::volume::VolumeInspect>("inspect"),
                verb::<c::volume::List>("ls").aka(&["list"]),
                verb::<c::prune::VolumePrune>("prune"),
                verb::<c::volume::copies::Rename>("rename"),
                verb::<c::volume::Remove>("rm").aka(&["remove"]),
                verb::<c::volume::copies::Snapshot>("snapshot"),
            ],
        ),
    ]
}

fn checkpoints() -> Vec<Entry> {
    vec![
        verb::<c::checkpoint::Create>("create"),
        verb::<c::checkpoint::Ls>("ls").aka(&["list"]),
        verb::<c::checkpoint::Remove>("rm").aka(&["remove"]),
    ]
}

fn contexts() -> Vec<Entry> {
    vec![
        verb::<c::context::Create>("create"),
        verb::<c::context::Export>("export"),
        verb::<c::context::Import>("import"),
        verb::<c::context::Inspect>("inspect"),
        verb::<c::context::Ls>("ls").aka(&["list"]),
        verb::<c::context::Remove>("rm").aka(&["remove"]),
        verb::<c::context::Show>("show"),
        verb::<c::context::Update>("update"),
        verb::<c::context::Use>("use"),
    ]
}

fn manifests() -> Vec<Entry> {
    vec![
        verb::<c::manifest::Annotate>("annotate"),
        verb::<c::manifest::Create>("create"),
        verb::<c::manifest::Inspect>("inspect"),
        verb::<c::manifest::Push>("push"),
        verb::<c::manifest::Remove>("rm"),
    ]
}

fn networks() -> Vec<Entry> {
    vec![
        verb::<c::network::Connect>("connect"),
        verb::<c::network::Create>("create"),
        verb::<c::network::Disconnect>("disconnect"),
        verb::<c::network::NetworkInspect>("inspect"),
        verb::<c::network::List>("ls").aka(&["list"]),
        verb::<c::prune::NetworkPrune>("prune"),
        verb::<c::network::Remove>("rm").aka(&["remove"]),
    ]
}

fn containers() -> Vec<Entry> {
    vec![
        verb::<c::attach::Attach>("attach"),
        verb::<c::commit::Commit>("commit"),
        verb::<c::cp::Cp>("cp"),
        verb::<c::run::Create>("create"),
        verb::<c::diff::Diff>("diff"),
        verb::<c::exec::Exec>("exec"),
        verb::<c::export::Export>("export"),
        verb::<c::inspect::ContainerInspect>("inspect"),
        verb::<c::lifecycle::Kill>("kill"),
        verb::<c::logs::Logs>("logs"),
        verb::<c::ps::Ps>("ls").aka(&["list", "ps"]),
        verb::<c::lifecycle::Pause>("pause"),
        verb::<c::port::Port>("port"),
        verb::<c::prune::ContainerPrune>("prune"),
        verb::<c::lifecycle::Rename>("rename"),
        verb::<c::lifecycle::Restart>("restart"),
        verb::<c::rm::Rm>("rm").aka(&["remove"]),
        verb::<c::run::Run>("run"),
        verb::<c::start::Start>("start"),
        verb::<c::stats::Stats>("stats"),
        verb::<c::lifecycle::Stop>("stop"),
        verb::<c::top::Top>("top"),
        verb::<c::lifecycle::Unpause>("unpause"),
        verb::<c::update::Update>("update"),
        verb::<c::wait::Wait>("wait"),
    ]
}

/// Commands about images.
pub(super) fn images() -> Vec<Entry> {
    vec![
        verb::<c::build::Build>("build"),
        verb::<c::history::History>("history"),
        verb::<c::import::Import>("import"),
        verb::<c::inspect::ImageInspect>("inspect"),
        verb::<c::load::Load>("load"),
        verb::<c::images::Images>("ls").aka(&["list"]),
        verb::<c::prune::ImagePrune>("prune"),
        verb::<c::pull::Pull>("pull"),
        verb::<c::push::Push>("push"),
        verb::<c::rmi::Rmi>("rm").aka(&["remove"]),
        verb::<c::save::Save>("save"),
        verb::<c::tag::Tag>("tag"),
    ]
}
