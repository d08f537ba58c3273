//! Everything that init needs to know, planned before anything is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Device, Hook, Linux, Spec, TimeOffset};
use teu_sys::mount::Propagation;
use teu_sys::namespace;

use crate::create::Options;
use crate::hooks::Identity;
use crate::idmap::Maps;
use crate::launch::Launch;
use crate::mounts::plan::{self, Planned, Source};
use crate::namespaces::{self, Namespaces, User};
use crate::sources::CgroupDirectories;
use crate::{Cgroup, Error, Rootfs, rootless, sysctl};

/// Everything that init needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) namespaces: Namespaces,
    /// Whether the parent puts init into its cgroups, and says so.
    pub(crate) placed_by_parent: bool,
    /// Whether the root of init's mount namespace is empty and a place for the container's to lie on.
    pub(crate) on_empty_root: bool,
    /// Whether init opens by itself what it mounts of the host's tree: its parent has no privileges outside.
    pub(crate) opens_sources: bool,
    /// The places in `mounts` of binds whose source lies in the root: the parent makes them when init asks.
    pub(crate) later: Vec<usize>,
    pub(crate) maps: Maps,
    pub(crate) launch: Launch,
    /// The state directory of a container that is in the runtime's mount namespace.
    pub(crate) owner: Option<PathBuf>,
    /// The directory that the root is, if it is one.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) read_only_root: bool,
    pub(crate) no_pivot: bool,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) mounts: Vec<Planned>,
    /// The cgroup hierarchies that are shown, by name.
    pub(crate) hierarchies: Vec<Option<String>>,
    pub(crate) devices: Vec<Device>,
    pub(crate) masked: Vec<String>,
    pub(crate) read_only: Vec<String>,
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) clocks: Vec<(String, TimeOffset)>,
    /// The name of its session keyring; none keeps the caller's.
    pub(crate) keyring: Option<String>,
    pub(crate) hooks: Option<InitHooks>,
    /// Whether init stays, to look after the program and its orphans.
    pub(crate) reaper: bool,
    /// Whether somebody else than the parent says start, at a gate.
    pub(crate) gated: bool,
}

/// The hooks that init runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitHooks {
    pub(crate) identity: Identity,
    pub(crate) create_container: Vec<Hook>,
    pub(crate) start_container: Vec<Hook>,
}

impl Orders {
    /// Plans a container, and refuses what cannot be done before anything is made.
    pub(crate) fn new(id: &str, spec: &Spec, rootfs: &Rootfs, options: &Options) -> Result<Orders, Error> {
        let process = spec.process.as_ref().ok_or_else(|| Error::refused("execute: the spec has no process"))?;
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let namespaces = namespaces::plan(linux, options.inherits_mounts.is_some())?;
        sysctl::check(&linux.sysctl, &namespaces)?;
        let own_names =
            namespaces.born & namespace::UTS != 0 || namespaces.joined.iter().any(|(kind, _)| *kind == namespace::UTS);
        let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
        if named && !own_names {
            return Err(Error::refused("set the host name: unable to set hostname without a private UTS namespace"));
        }
        let launch = Launch::new(process, options.descriptors)?.of_container(linux)?;
        let launch = launch.on_plain_terminal(options.plain_terminal);
        let mut mounts = plan::plan(&spec.mounts, linux)?;
        let maps = Maps { users: linux.uid_mappings.clone(), groups: linux.gid_mappings.clone() };
        imply_maps(&mut mounts, &namespaces, &maps)?;
        if namespaces.shares_mounts {
            refuse_unbindable(&mounts)?;
        }
        let directory = match rootfs {
            Rootfs::Directory(path) => Some(path.clone()),
            Rootfs::Overlay(_) => None,
        };
        let later = binds_in_root(&mut mounts, directory.as_deref());
        let hooks = spec.hooks.as_ref().map(|hooks| InitHooks {
            identity: options.identity(id, spec),
            create_container: hooks.create_container.clone(),
            start_container: hooks.start_container.clone(),
        });
        Ok(Orders {
            placed_by_parent: false,
            on_empty_root: false,
            opens_sources: namespaces.maps_ids() && rootless::is_ordinary(),
            later,
            maps,
            launch,
            owner: options.inherits_mounts.clone(),
            directory,
            read_only_root: spec.root.as_ref().is_some_and(|root| root.readonly),
            no_pivot: options.no_pivot,
            propagation: propagation(&linux.rootfs_propagation)?,
            mounts,
            hierarchies: Vec::new(),
            devices: linux.devices.clone(),
            masked: once_each(&linux.masked_paths),
            read_only: once_each(&linux.readonly_paths),
            sysctl: linux.sysctl.clone(),
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            clocks: linux.time_offsets.iter().map(|(clock, offset)| (clock.clone(), *offset)).collect(),
            keyring: (!options.callers_keyring).then(|| format!("_ses.{id}")),
            hooks,
            reaper: options.reaper,
            gated: options.gate.is_some(),
            namespaces,
        })
    }

    /// Whether the root is mounted at its own path: hooks of the runtime's, and binds of what earlier mounts have put
    /// there, look for it there in the container's mount namespace.
    pub(crate) fn in_place(&self) -> bool {
        self.directory.is_some() && !self.on_empty_root
    }

    /// Whether init needs nothing of the host's tree but what it is sent, and nobody but its parent.
    pub(crate) fn is_plain(&self) -> bool {
        let Orders { namespaces, later, no_pivot, hooks, gated, .. } = self;
        let alone =
            !namespaces.maps_ids() && !namespaces.time && !namespaces.shares_mounts && self.launch.descriptors() == 0;
        alone && later.is_empty() && !no_pivot && hooks.is_none() && !gated
    }

    /// Tells which hierarchies a mount of type cgroup shows; returns their directories.
    pub(crate) fn show_cgroup(&mut self, cgroup: &Cgroup) -> CgroupDirectories {
        if !self.mounts.iter().any(|planned| planned.source == Source::Cgroup) {
            return Vec::new();
        }
        let directories = cgroup.named_directories();
        self.hierarchies = directories.iter().map(|(name, _)| name.clone()).collect();
        directories
    }
}

/// Translates destinations that are paths of the host's, into the root, to the places there. Returns the places in the
/// plan of the binds whose source is such a path.
fn binds_in_root(mounts: &mut [Planned], directory: Option<&Path>) -> Vec<usize> {
    let Some(root) = directory else { return Vec::new() };
    let mut found = Vec::new();
    for (place, planned) in mounts.iter_mut().enumerate() {
        if let Ok(inside) = Path::new(&planned.destination).strip_prefix(root) {
            planned.destination = Path::new("/").join(inside).to_string_lossy().into_owned();
        }
        if matches!(&planned.source, Source::Bind { path, .. } if path.starts_with(root)) {
            found.push(place);
        }
    }
    found
}

/// A copy of the tree, which is what is shown of it, would not have them.
fn refuse_unbindable(mounts: &[Planned]) -> Result<(), Error> {
    let unbindable = |planned: &&Planned| matches!(planned.propagation, Some((Propagation::Unbindable, _)));
    mounts.iter().find(unbindable).map_or(Ok(()), |planned| {
        let what = "an unbindable mount takes a mount namespace of the container's own";
        Err(Error::refused(format!("mount {}: {what}", planned.destination)))
    })
}

/// A mount that is idmapped without mappings has the container's.
fn imply_maps(mounts: &mut [Planned], namespaces: &Namespaces, maps: &Maps) -> Result<(), Error> {
    for planned in mounts.iter_mut().filter(|planned| planned.owners.as_ref().is_some_and(Maps::is_empty)) {
        if maps.is_empty() && !matches!(namespaces.user, User::Joined(_)) {
            let what = format!("mount {}: idmap without mappings and without a user namespace", planned.destination);
            return Err(Error::refused(what));
        }
        planned.owners = Some(maps.clone());
    }
    Ok(())
}

/// Without those that were there already: a cover over a cover hides nothing more.
fn once_each(paths: &[String]) -> Vec<String> {
    let mut once: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        let trimmed = path.trim_end_matches('/');
        if !once.iter().any(|known| known.trim_end_matches('/') == trimmed) {
            once.push(path.clone());
        }
    }
    once
}

fn propagation(mode: &str) -> Result<Option<Propagation>, Error> {
    Ok(match mode.trim_start_matches('r') {
        "" => None,
        "shared" => Some(Propagation::Shared),
        "slave" => Some(Propagation::Slave),
        "private" => Some(Propagation::Private),
        "unbindable" => Some(Propagation::Unbindable),
        other => return Err(Error::refused(format!("propagate mounts: there is no mode \"{other}\""))),
    })
}
