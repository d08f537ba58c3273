//! From a mount as recorded to a mount as the runtime makes it. Pure.

use teu_oci::runtime::Mount;
use teu_sys::mount::attribute;

use super::MountRecord;
use crate::volume::Place;

/// The mount options of `MOUNT_ATTR_*` that a volume may have of its own.
const ATTRIBUTES: [(u64, &str); 6] = [
    (attribute::READ_ONLY, "ro"),
    (attribute::NO_SETUID, "nosuid"),
    (attribute::NO_DEVICES, "nodev"),
    (attribute::NO_EXEC, "noexec"),
    (attribute::NO_ACCESS_TIME, "noatime"),
    (attribute::NO_DIRECTORY_ACCESS_TIME, "nodiratime"),
];

/// A mount with everything that its source turned out to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attachment {
    pub(crate) record: MountRecord,
    /// Where a volume's data is now.
    pub(crate) place: Option<Place>,
    /// An image's layers, topmost first.
    pub(crate) layers: Vec<std::path::PathBuf>,
    /// Where what is written to it goes: the upper and the work directory of an overlay. None is a tree that is read only.
    pub(crate) upper: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Attachment {
    /// For the runtime.
    pub(crate) fn mount(&self) -> Mount {
        let record = &self.record;
        let mut mount = Mount { destination: record.point.destination.clone(), ..Mount::default() };
        match record.point.kind.as_str() {
            "image" => {
                let subpath = record.asked.image_options.as_ref().map(|options| options.subpath.clone());
                mount.kind = "overlay".into();
                mount.options = self.layers.iter().map(|layer| format!("lowerdir+={}", layer.display())).collect();
                match &self.upper {
                    None => mount.options.push("ro".into()),
                    Some((upper, work)) => mount.options.extend([
                        format!("upperdir={}", upper.display()),
                        format!("workdir={}", work.display()),
                        "volatile".into(),
                    ]),
                }
                mount.options.extend(["nosuid", "nodev"].map(String::from));
                mount.subpath = subpath.filter(|subpath| !subpath.is_empty()).map(Into::into);
            }
            "volume" => {
                let place = self
                    .place
                    .clone()
                    .unwrap_or_else(|| Place { path: record.point.source.clone().into(), ..Place::default() });
                let subpath = record.asked.volume_options.as_ref().map(|options| options.subpath.clone());
                mount.kind = "bind".into();
                mount.options = vec![if place.alone { "bind" } else { "rbind" }.into()];
                let own = ATTRIBUTES.iter().filter(|(bit, _)| place.attributes & bit != 0);
                mount.options.extend(own.map(|(_, name)| (*name).to_owned()));
                mount.source = Some(place.path);
                mount.subpath = subpath.filter(|subpath| !subpath.is_empty()).map(Into::into);
                self.access(&mut mount);
            }
            _ => {
                let options = record.asked.bind_options.clone().unwrap_or_default();
                mount.kind = "bind".into();
                mount.source = Some(record.point.source.clone().into());
                mount.options = vec![if options.non_recursive { "bind" } else { "rbind" }.into()];
                self.access(&mut mount);
            }
        }
        mount
    }

    /// Who may write, and how mount events travel. What is read-only is so with all that is mounted below it, unless
    /// the user wants it otherwise.
    fn access(&self, mount: &mut Mount) {
        let point = &self.record.point;
        let options = self.record.asked.bind_options.clone().unwrap_or_default();
        if !point.rw {
            mount.options.push(if options.read_only_non_recursive { "ro" } else { "rro" }.into());
        }
        let propagation = if point.propagation.is_empty() { "rprivate" } else { &point.propagation };
        mount.options.push(propagation.into());
    }
}

#[cfg(test)]
mod tests {
    use teu_api::container::{BindOptions, Mount as Asked, MountPoint, VolumeOptions};

    use super::*;

    fn attachment(kind: &str, rw: bool, asked: Asked) -> Attachment {
        let point = MountPoint { kind: kind.into(), source: "/src".into(), rw, ..MountPoint::default() };
        Attachment { record: MountRecord { point, asked, image: None }, ..Attachment::default() }
    }

    #[test]
    fn a_read_only_bind_is_so_all_the_way_down_unless_told_otherwise() {
        let mount = attachment("bind", false, Asked::default()).mount();
        assert_eq!(mount.options, ["rbind", "rro", "rprivate"]);
        let bind_options = BindOptions {
            non_recursive: true,
            read_only_non_recursive: true,
            propagation: "rslave".into(),
            ..BindOptions::default()
        };
        let mut other = attachment("bind", false, Asked { bind_options: Some(bind_options), ..Asked::default() });
        other.record.point.propagation = "rslave".into();
        assert_eq!(other.mount().options, ["bind", "ro", "rslave"]);
    }

    #[test]
    fn a_volume_is_mounted_from_where_its_data_is() {
        let volume_options = VolumeOptions { subpath: "a/b".into(), ..VolumeOptions::default() };
        let mut volume = attachment("volume", true, Asked { volume_options: Some(volume_options), ..Asked::default() });
        volume.place = Some(Place { path: "/data".into(), attributes: attribute::NO_EXEC, alone: true });
        let mount = volume.mount();
        assert_eq!(mount.source, Some("/data".into()));
        assert_eq!(mount.subpath, Some("a/b".into()));
        assert_eq!(mount.options, ["bind", "noexec", "rprivate"]);
    }

    #[test]
    fn an_image_is_mounted_by_its_layers() {
        let mut image = attachment("image", false, Asked::default());
        image.layers = vec!["/top".into(), "/bottom".into()];
        let mount = image.mount();
        assert_eq!((mount.kind.as_str(), mount.source), ("overlay", None));
        assert_eq!(mount.options[..3], ["lowerdir+=/top", "lowerdir+=/bottom", "ro"]);
    }
}
