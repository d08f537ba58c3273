//! `--gpus`, `--device` by its CDI name, and limits for one block device.

use teu_api::container::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

use super::{environment, fields, limits, size};

/// What `--device` names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Device {
    /// A file in /dev.
    Path(DeviceMapping),
    /// A device of the Container Device Interface, `vendor.com/class=name`.
    Cdi(String),
}

/// Reads `host[:container[:rwm]]` or `vendor.com/class=name`.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    if is_cdi(text) { Ok(Device::Cdi(text.to_owned())) } else { limits::device(text).map(Device::Path) }
}

/// Whether a text is a qualified name: a vendor, a class and a name, each of letters, digits and a few signs.
fn is_cdi(text: &str) -> bool {
    let Some(((vendor, class), name)) =
        text.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)))
    else {
        return false;
    };
    let word = |text: &str, signs: &str| {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        ends(text.bytes().next())
            && ends(text.bytes().last())
            && text.chars().all(|char| char.is_ascii_alphanumeric() || signs.contains(char))
    };
    word(vendor, "_-.")
        && vendor.starts_with(|char: char| char.is_ascii_alphabetic())
        && word(class, "_-")
        && word(name, "_-.:")
}

/// Reads `all`, a number, or `driver=…,count=…,"device=0,1","capabilities=…",options=…`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').map_or(("count", field.as_str()), |(key, value)| (key, value));
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "driver" => value.clone_into(&mut request.driver),
            "count" => request.count = count(value)?,
            "device" => request.device_ids = Some(list()),
            "capabilities" => request.capabilities = Some(vec![list().into_iter().chain(["gpu".to_owned()]).collect()]),
            "options" => request.options = Some(environment::pairs(&fields(value)?)),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.device_ids.is_none() && !seen.iter().any(|key| key == "count") {
        request.count = 1;
    }
    request.capabilities.get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    request.options.get_or_insert_default();
    Ok(request)
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|_| format!("count ({text}) must be an integer"))
}

/// Reads `/dev/x:weight`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let wrong = || format!("invalid weight for device: {text}");
    let (path, weight) = split(text)?;
    let weight: u16 = weight.parse().map_err(|_| wrong())?;
    if weight != 0 && !(10..=1000).contains(&weight) {
        return Err(wrong());
    }
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// Reads `/dev/x:1mb`.
pub(crate) fn bytes_per_second(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split(text)?;
    let wrong = |_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )
    };
    let rate = size::bytes(rate).map_err(wrong)?;
    Ok(ThrottleDevice { path: path.to_owned(), rate: rate.unsigned_abs() })
}

/// Reads `/dev/x:1000`.
pub(crate) fn operations_per_second(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split(text)?;
    let wrong = |_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive \
             integer"
        )
    };
    Ok(ThrottleDevice { path: path.to_owned(), rate: rate.parse().map_err(wrong)? })
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if path.starts_with("/dev/") { Ok((path, value)) } else { Err(format!("bad format for device path: {text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("2").unwrap().count, 2);
        assert_eq!(gpus("driver=nvidia").unwrap().count, 1);
        let request = gpus("\"device=0,GPU-1\",\"capabilities=utility,compute\",options=a=b").unwrap();
        assert_eq!((request.count, request.device_ids.unwrap().len()), (0, 2));
        assert_eq!(request.capabilities.unwrap(), [["utility", "compute", "gpu"]]);
        assert_eq!(request.options.unwrap()["a"], "b");
        for bad in ["some", "count=x", "all,count=1", "what=ever"] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_told_from_names() {
        for name in ["vendor.com/class=name", "nvidia.com/gpu=0:1"] {
            assert_eq!(device(name), Ok(Device::Cdi(name.to_owned())));
        }
        assert!(matches!(device("/dev/fuse"), Ok(Device::Path(_))));
        for bad in ["vendor.com=name", "-v/c=n", "vendor.com/class=", "fuse"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_of_block_devices_are_read() {
        assert_eq!(weight("/dev/sda:300").unwrap().weight, 300);
        assert_eq!(bytes_per_second("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(operations_per_second("/dev/sda:50").unwrap().rate, 50);
        assert!(weight("/dev/sda:5").is_err() && weight("sda:100").is_err());
        assert!(bytes_per_second("/dev/sda").is_err() && operations_per_second("/dev/sda:1kb").is_err());
    }
}
