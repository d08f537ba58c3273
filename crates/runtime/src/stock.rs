//! What containers have in common, made once: the compiled system call filter and the loaded device filter.
//!
//! Nearly every container of an engine has the same two. Compiling the one takes a third of a millisecond and loading the
//! other half a one, so whoever makes many containers keeps both in stock; a container that wants others gets its own.

use std::io;
use std::os::fd::OwnedFd;

use teu_oci::runtime::{DeviceRule, Seccomp, Spec};

use crate::cgroup::devices;
use crate::credentials::Filter;
use crate::{Error, listener};

/// Filters in stock. An empty stock serves as well, slower.
#[derive(Debug, Default)]
pub struct Stock {
    system_calls: Option<(Seccomp, Filter)>,
    devices: Option<(Vec<DeviceRule>, OwnedFd)>,
}

impl Stock {
    /// What a container with this spec needs.
    ///
    /// # Errors
    /// When its filters cannot be made.
    pub fn of(spec: &Spec) -> Result<Stock, Error> {
        let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.clone());
        let filter = listener::filter(spec, &Stock::default())?;
        let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let rules = devices::rules(resources.map_or(&[], |resources| &resources.devices));
        // Without the privilege, or on a kernel without such programs, there is none to keep.
        let program = teu_sys::bpf::load_device_filter(&devices::program(&rules)).ok();
        Ok(Stock { system_calls: profile.zip(filter), devices: program.map(|program| (rules, program)) })
    }

    /// The system call filter of a container with this spec alone: as `kept`, what [`Stock::kept`] gave once, or made anew.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn of_filter(spec: &Spec, kept: Option<&[u8]>) -> Result<Stock, Error> {
        let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else {
            return Ok(Stock::default());
        };
        let filter = match kept.and_then(Filter::from_bytes) {
            Some(filter) => Some(filter),
            None => listener::filter(spec, &Stock::default())?,
        };
        Ok(Stock { system_calls: Some(profile.clone()).zip(filter), devices: None })
    }

    /// Its system call filter, to be kept.
    pub(crate) fn kept(&self) -> Option<Vec<u8>> {
        self.system_calls.as_ref().map(|(_, filter)| filter.to_bytes())
    }

    /// The compiled form of that profile.
    pub(crate) fn filter(&self, profile: &Seccomp) -> Option<&Filter> {
        self.system_calls.as_ref().filter(|(known, _)| known == profile).map(|(_, filter)| filter)
    }

    /// Attaches the filter of those rules to a cgroup v2 directory.
    pub(crate) fn filter_devices(&self, cgroup: &std::fs::File, rules: &[DeviceRule]) -> io::Result<()> {
        match &self.devices {
            Some((known, program)) if known == rules => teu_sys::bpf::attach_device_filter(cgroup, program),
            _ => {
                let program = teu_sys::bpf::load_device_filter(&devices::program(rules))?;
                teu_sys::bpf::attach_device_filter(cgroup, program)
            }
        }
    }
}
