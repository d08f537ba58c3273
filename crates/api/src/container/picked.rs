//! Rows of a list with some of their members only.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Summary;

/// A row of which only the named members are told; all of them when none are named.
///
/// It is as the whole row without the others: what is left out there for being empty is left out here as well.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// The row.
    pub row: &'a Summary,
    /// The names of members as they are on the wire, `Id`.
    pub fields: &'a [String],
}

impl Serialize for Picked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Picked { row, fields } = self;
        if fields.is_empty() {
            return row.serialize(serializer);
        }
        let has = |key: &str| fields.iter().any(|field| field == key);
        let mut map = serializer.serialize_map(None)?;
        macro_rules! tell {
            ($($key:literal: $member:ident),* ; $($optional_key:literal: $optional:ident),*) => {
                $(if has($key) { map.serialize_entry($key, &row.$member)?; })*
                $(if let Some(value) = row.$optional.as_ref().filter(|_| has($optional_key)) {
                    map.serialize_entry($optional_key, value)?;
                })*
            };
        }
        tell!(
            "Id": id,
            "Names": names,
            "Image": image,
            "ImageID": image_id,
            "Command": command,
            "Created": created,
            "Ports": ports,
            "Labels": labels,
            "State": state,
            "Status": status,
            "HostConfig": host_config,
            "NetworkSettings": network_settings,
            "Mounts": mounts;
            "ImageManifestDescriptor": image_manifest_descriptor,
            "SizeRw": size_rw,
            "SizeRootFs": size_root_fs,
            "Health": health
        );
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::HealthSummary;
    use crate::shape::{Shape, Shaped};

    #[test]
    fn all_members_together_are_the_whole_row_and_each_can_be_had_alone() {
        let Shape::Object(object) = Summary::shape() else { panic!("an object") };
        let fields: Vec<String> = (object.members)().iter().map(|member| member.key.to_owned()).collect();
        let digest = format!("sha256:{}", "a".repeat(64));
        let descriptor = serde_json::json!({"mediaType": "a/b", "digest": digest, "size": 1});
        let row = Summary {
            id: "a".into(),
            image_manifest_descriptor: Some(serde_json::from_value(descriptor).expect("a descriptor")),
            size_rw: Some(1),
            size_root_fs: Some(2),
            health: Some(HealthSummary::default()),
            ..Summary::default()
        };
        let whole = serde_json::to_value(&row).expect("a row");
        assert_eq!(serde_json::to_value(Picked { row: &row, fields: &fields }).expect("a row"), whole);
        assert_eq!(serde_json::to_value(Picked { row: &row, fields: &[] }).expect("a row"), whole);
        for field in fields {
            let one = serde_json::to_value(Picked { row: &row, fields: std::slice::from_ref(&field) }).expect("a row");
            assert_eq!(one, serde_json::json!({ &field: whole[&field] }));
        }
    }
}
