//! From the spec's resources to values of cgroup files, purely.
//!
//! One list serves both versions: each controller is asked which kind of files it has on this machine. A controller
//! that is missing is an error where its limit was asked for, and silence where not.

use teu_oci::runtime::{BlockIo, Cpu, Memory, Resources, Throttle, WeightDevice};

use super::hierarchy::Version;
use crate::Error;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The controller whose directory holds the file.
    pub(crate) controller: String,
    /// In which kind of hierarchy that is.
    pub(crate) version: Version,
    /// The file; where kernels differ, the names in order of preference, separated by `|`.
    pub(crate) file: String,
    /// What is written; where it differs by file, the values in the files' order, separated by `|`.
    pub(crate) value: String,
    /// The spec's field, for the error. Empty where the file may be missing.
    pub(crate) field: &'static str,
}

impl Setting {
    /// The files there may be, each with what is written to it.
    pub(crate) fn choices(&self) -> impl Iterator<Item = (&str, &str)> {
        let last = self.value.rsplit('|').next().unwrap_or_default();
        self.file.split('|').zip(self.value.split('|').chain(std::iter::repeat(last)))
    }

    /// None of the files is there.
    pub(crate) fn no_file(&self) -> Error {
        let (controller, files) = (&self.controller, self.file.replace('|', " and no "));
        Error::refused(format!(
            "limit {}: the {controller} cgroup controller of this machine has no {files}",
            self.field
        ))
    }
}

/// The list in the making.
struct List<'a> {
    version_of: &'a dyn Fn(&str) -> Option<Version>,
    settings: Vec<Setting>,
}

impl List<'_> {
    fn version(&self, controller: &str, field: &'static str) -> Result<Version, Error> {
        (self.version_of)(controller)
            .ok_or_else(|| Error::NoCgroupController { controller: controller.to_owned(), setting: field.to_owned() })
    }

    fn push(&mut self, controller: &str, version: Version, file: &str, value: String, field: &'static str) {
        let (controller, file) = (controller.to_owned(), file.to_owned());
        self.settings.push(Setting { controller, version, file, value, field });
    }

    /// The same limit under its v1 and its v2 name, with the value in both notations.
    fn both(
        &mut self,
        controller: &str,
        field: &'static str,
        legacy: (&str, String),
        unified: (&str, String),
    ) -> Result<(), Error> {
        let version = self.version(controller, field)?;
        let (file, value) = if version == Version::Legacy { legacy } else { unified };
        self.push(controller, version, file, value, field);
        Ok(())
    }
}

/// All writes that `resources` asks for, in the order in which they can be made.
pub(crate) fn plan(resources: &Resources, version_of: &dyn Fn(&str) -> Option<Version>) -> Result<Vec<Setting>, Error> {
    let mut list = List { version_of, settings: Vec::new() };
    if let Some(memory) = &resources.memory {
        plan_memory(&mut list, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        plan_cpu(&mut list, cpu)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        // 0 would be a container without its first process.
        let limit = if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() };
        list.both("pids", "pids.limit", ("pids.max", limit.clone()), ("pids.max", limit))?;
    }
    if let Some(block_io) = &resources.block_io {
        plan_block_io(&mut list, block_io)?;
    }
    for page in &resources.hugepage_limits {
        if !is_page_size(&page.page_size) {
            return Err(Error::refused(format!(
                "invalid configuration: hugepageLimits: page size \"{}\" is not one like 2MB or 1GB",
                page.page_size
            )));
        }
        let legacy = format!("hugetlb.{}.limit_in_bytes", page.page_size);
        let unified = format!("hugetlb.{}.max", page.page_size);
        let value = page.limit.to_string();
        list.both("hugetlb", "hugepageLimits", (&legacy, value.clone()), (&unified, value))?;
    }
    plan_marks(&mut list, resources)?;
    for (file, value) in &resources.unified {
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains('/') || list.version(controller, "unified")? != Version::Unified {
            return Err(Error::refused(format!(
                "invalid configuration: set cgroup file \"{file}\": not a file of cgroup v2 here"
            )));
        }
        list.push(controller, Version::Unified, file, value.clone(), "unified");
    }
    Ok(list.settings)
}

/// -1 is no limit.
fn bytes(value: i64, none: &str) -> String {
    if value < 0 { none.to_owned() } else { value.to_string() }
}

fn plan_memory(list: &mut List<'_>, memory: &Memory) -> Result<(), Error> {
    // 0 is "not set" in what engines write.
    let set = |value: Option<i64>| value.filter(|bytes| *bytes != 0);
    if let Some(limit) = set(memory.limit) {
        list.both(
            "memory",
            "memory.limit",
            ("memory.limit_in_bytes", bytes(limit, "-1")),
            ("memory.max", bytes(limit, "max")),
        )?;
    }
    plan_swap(list, set(memory.limit), set(memory.swap))?;
    if let Some(reservation) = set(memory.reservation) {
        list.both(
            "memory",
            "memory.reservation",
            ("memory.soft_limit_in_bytes", bytes(reservation, "-1")),
            ("memory.low", bytes(reservation, "max")),
        )?;
    }
    // v2 has neither of these two; asking for them there is asking for nothing, as in other engines.
    if let Some(swappiness) = memory.swappiness
        && list.version("memory", "memory.swappiness")? == Version::Legacy
    {
        list.push("memory", Version::Legacy, "memory.swappiness", swappiness.to_string(), "memory.swappiness");
    }
    if memory.disable_oom_killer == Some(true) && list.version("memory", "memory.disableOOMKiller")? == Version::Legacy
    {
        list.push("memory", Version::Legacy, "memory.oom_control", "1".to_owned(), "memory.disableOOMKiller");
    }
    Ok(())
}

/// The spec's swap is memory and swap together; v2 counts swap alone.
fn plan_swap(list: &mut List<'_>, limit: Option<i64>, swap: Option<i64>) -> Result<(), Error> {
    let (Some(total), field) = (swap, "memory.swap") else { return Ok(()) };
    let version = list.version("memory", "memory.swap")?;
    if version == Version::Legacy {
        list.push("memory", version, "memory.memsw.limit_in_bytes", bytes(total, "-1"), field);
        return Ok(());
    }
    let alone = match limit {
        _ if total < 0 => -1,
        Some(limit) if limit > total => {
            return Err(Error::refused("limit memory.swap: less than memory.limit, which it includes"));
        }
        Some(limit) if limit > 0 => total - limit,
        _ => return Err(Error::refused("limit memory.swap: needs memory.limit")),
    };
    list.push("memory", version, "memory.swap.max", bytes(alone, "max"), field);
    Ok(())
}

fn plan_cpu(list: &mut List<'_>, cpu: &Cpu) -> Result<(), Error> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        let legacy = ("cpu.shares", shares.to_string());
        list.both("cpu", "cpu.shares", legacy, ("cpu.weight", weight_of_shares(shares).to_string()))?;
    }
    plan_quota(list, cpu)?;
    if let Some(burst) = cpu.burst {
        let value = burst.to_string();
        list.both("cpu", "cpu.burst", ("cpu.cfs_burst_us", value.clone()), ("cpu.max.burst", value))?;
    }
    if let Some(idle) = cpu.idle {
        list.both("cpu", "cpu.idle", ("cpu.idle", idle.to_string()), ("cpu.idle", idle.to_string()))?;
    }
    let real_time = [
        (cpu.realtime_period.filter(|v| *v != 0).map(|v| v.to_string()), "cpu.rt_period_us", "cpu.realtimePeriod"),
        (cpu.realtime_runtime.filter(|v| *v != 0).map(|v| v.to_string()), "cpu.rt_runtime_us", "cpu.realtimeRuntime"),
    ];
    for (value, file, field) in real_time {
        if let Some(value) = value {
            if list.version("cpu", field)? != Version::Legacy {
                return Err(Error::refused(format!("limit {field}: cgroup v2 has no such limit")));
            }
            list.push("cpu", Version::Legacy, file, value, field);
        }
    }
    for (value, file, field) in [(&cpu.cpus, "cpuset.cpus", "cpu.cpus"), (&cpu.mems, "cpuset.mems", "cpu.mems")] {
        if !value.is_empty() {
            list.both("cpuset", field, (file, value.clone()), (file, value.clone()))?;
        }
    }
    Ok(())
}

fn plan_quota(list: &mut List<'_>, cpu: &Cpu) -> Result<(), Error> {
    let (quota, period) = (cpu.quota.filter(|v| *v != 0), cpu.period.filter(|v| *v != 0));
    if quota.is_none() && period.is_none() {
        return Ok(());
    }
    if list.version("cpu", "cpu.quota")? == Version::Unified {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let value = period.map_or(quota.clone(), |period| format!("{quota} {period}"));
        list.push("cpu", Version::Unified, "cpu.max", value, "cpu.quota");
        return Ok(());
    }
    if let Some(period) = period {
        list.push("cpu", Version::Legacy, "cpu.cfs_period_us", period.to_string(), "cpu.period");
    }
    if let Some(quota) = quota {
        list.push("cpu", Version::Legacy, "cpu.cfs_quota_us", quota.to_string(), "cpu.quota");
    }
    Ok(())
}

/// v1 shares (2 to 262144, 1024 by default) on v2's scale (1 to 10000, 100 by default), along the curve through the three
/// that other runtimes use.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both ends are small"
)]
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// A weight of the BFQ scheduler (10 to 1000) on the scale of the I/O cost model (1 to 10000).
fn weight_of_bfq(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// `<size><prefix>B`, config-linux.md, "Huge page limits".
fn is_page_size(text: &str) -> bool {
    let number = text.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G']));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn plan_block_io(list: &mut List<'_>, block_io: &BlockIo) -> Result<(), Error> {
    let controller = if (list.version_of)("blkio").is_some() { "blkio" } else { "io" };
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        list.both(
            controller,
            "blockIO.weight",
            ("blkio.weight|blkio.bfq.weight", weight.to_string()),
            ("io.bfq.weight|io.weight", format!("{weight}|{}", weight_of_bfq(weight))),
        )?;
    }
    if let Some(weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        if list.version(controller, "blockIO.leafWeight")? == Version::Unified {
            return Err(Error::refused("limit blockIO.leafWeight: cgroup v2 has no such limit"));
        }
        list.push("blkio", Version::Legacy, "blkio.leaf_weight", weight.to_string(), "blockIO.leafWeight");
    }
    for device in &block_io.weight_device {
        plan_weights(list, controller, *device)?;
    }
    let rates: [(&[Throttle], &str, &str, &'static str); 4] = [
        (&block_io.read_bps, "blkio.throttle.read_bps_device", "rbps", "blockIO.throttleReadBpsDevice"),
        (&block_io.write_bps, "blkio.throttle.write_bps_device", "wbps", "blockIO.throttleWriteBpsDevice"),
        (&block_io.read_iops, "blkio.throttle.read_iops_device", "riops", "blockIO.throttleReadIOPSDevice"),
        (&block_io.write_iops, "blkio.throttle.write_iops_device", "wiops", "blockIO.throttleWriteIOPSDevice"),
    ];
    for (throttles, file, key, field) in rates {
        for Throttle { major, minor, rate } in throttles {
            let limit = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            let unified = format!("{major}:{minor} {key}={limit}");
            list.both(controller, field, (file, format!("{major}:{minor} {rate}")), ("io.max", unified))?;
        }
    }
    Ok(())
}

fn plan_weights(list: &mut List<'_>, controller: &str, device: WeightDevice) -> Result<(), Error> {
    let WeightDevice { major, minor, weight, leaf_weight } = device;
    let field = "blockIO.weightDevice";
    if let Some(weight) = weight {
        let legacy = "blkio.weight_device|blkio.bfq.weight_device";
        // 0 takes the device's own weight away.
        let written = |weight: u64| if weight == 0 { "default".to_owned() } else { weight.to_string() };
        let value = format!("{major}:{minor} {}", written(weight.into()));
        let other = if weight == 0 { 0 } else { weight_of_bfq(weight) };
        let unified = format!("{value}|{major}:{minor} {}", written(other));
        list.both(controller, field, (legacy, value), ("io.bfq.weight|io.weight", unified))?;
    }
    if let Some(weight) = leaf_weight {
        if list.version(controller, field)? == Version::Unified {
            return Err(Error::refused("limit blockIO.weightDevice: cgroup v2 has no leaf weight"));
        }
        list.push("blkio", Version::Legacy, "blkio.leaf_weight_device", format!("{major}:{minor} {weight}"), field);
    }
    Ok(())
}

/// Marks on packets and RDMA limits.
fn plan_marks(list: &mut List<'_>, resources: &Resources) -> Result<(), Error> {
    let network = resources.network.clone().unwrap_or_default();
    let mut only_legacy = |controller: &str, file: &str, value: String, field: &'static str| {
        if list.version(controller, field)? == Version::Unified {
            return Err(Error::refused(format!("limit {field}: cgroup v2 has no such limit")));
        }
        list.push(controller, Version::Legacy, file, value, field);
        Ok(())
    };
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        only_legacy("net_cls", "net_cls.classid", class.to_string(), "network.classID")?;
    }
    for one in &network.priorities {
        let value = format!("{} {}", one.name, one.priority);
        only_legacy("net_prio", "net_prio.ifpriomap", value, "network.priorities")?;
    }
    for (device, limits) in &resources.rdma {
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {key}={limit}"));
            }
        }
        list.both("rdma", "rdma", ("rdma.max", value.clone()), ("rdma.max", value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use teu_oci::runtime::Pids;

    use super::*;

    fn written(resources: &Resources, version: Version) -> Vec<(String, String)> {
        let settings = plan(resources, &|_| Some(version)).expect("a plan");
        settings.into_iter().map(|setting| (setting.file, setting.value)).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn memory_and_swap_have_two_notations() {
        let memory = Memory { limit: Some(64 << 20), swap: Some(128 << 20), ..Memory::default() };
        let resources = Resources { memory: Some(memory), ..Resources::default() };
        let legacy = [("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "134217728")];
        assert_eq!(written(&resources, Version::Legacy), pairs(&legacy));
        let unified = [("memory.max", "67108864"), ("memory.swap.max", "67108864")];
        assert_eq!(written(&resources, Version::Unified), pairs(&unified));
    }

    #[test]
    fn quota_and_shares_have_a_v2_notation() {
        let cpu = Cpu { shares: Some(1024), quota: Some(50_000), period: Some(100_000), ..Cpu::default() };
        let resources = Resources { cpu: Some(cpu), ..Resources::default() };
        let unified = [("cpu.weight", "100"), ("cpu.max", "50000 100000")];
        assert_eq!(written(&resources, Version::Unified), pairs(&unified));
        let legacy = [("cpu.shares", "1024"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")];
        assert_eq!(written(&resources, Version::Legacy), pairs(&legacy));
    }

    #[test]
    fn a_missing_controller_is_an_error_only_where_its_limit_was_asked_for() {
        let none = |_: &str| None;
        assert_eq!(plan(&Resources::default(), &none).expect("a plan"), []);
        let resources = Resources { pids: Some(Pids { limit: Some(5) }), ..Resources::default() };
        let error = plan(&resources, &none).expect_err("no pids controller");
        assert_eq!(error, Error::NoCgroupController { controller: "pids".into(), setting: "pids.limit".into() });
    }

    #[test]
    fn a_devices_weight_is_written_to_the_file_that_there_is_on_its_own_scale() {
        let device = WeightDevice { major: 8, minor: 16, weight: Some(1000), leaf_weight: None };
        let block_io = BlockIo { weight_device: vec![device], ..BlockIo::default() };
        let resources = Resources { block_io: Some(block_io), ..Resources::default() };
        let choices = |version| {
            let settings = plan(&resources, &|_| Some(version)).expect("a plan");
            settings[0].choices().map(|(file, value)| (file.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        let unified = [("io.bfq.weight", "8:16 1000"), ("io.weight", "8:16 10000")];
        assert_eq!(choices(Version::Unified), pairs(&unified));
        let legacy = [("blkio.weight_device", "8:16 1000"), ("blkio.bfq.weight_device", "8:16 1000")];
        assert_eq!(choices(Version::Legacy), pairs(&legacy));
    }

    #[test]
    fn a_huge_pages_size_names_the_file_and_nothing_else() {
        let resources = |text: &str| Resources {
            hugepage_limits: serde_json::from_str(text).expect("a limit"),
            ..Resources::default()
        };
        for name in ["pageSize", "pagesize"] {
            let limit = resources(&format!(r#"[{{"{name}": "2MB", "limit": 4194304}}]"#));
            assert_eq!(written(&limit, Version::Unified), pairs(&[("hugetlb.2MB.max", "4194304")]));
        }
        for size in ["", "MB", "2", "2mB", "../2MB"] {
            let limit = resources(&format!(r#"[{{"pageSize": "{size}", "limit": 1}}]"#));
            let error = plan(&limit, &|_| Some(Version::Unified)).expect_err(size).to_string();
            assert!(error.contains("hugepageLimits") && error.contains(size), "{error}");
        }
    }

    #[test]
    fn no_pids_limit_is_written_as_max() {
        let resources = Resources { pids: Some(Pids { limit: Some(-1) }), ..Resources::default() };
        assert_eq!(written(&resources, Version::Legacy), pairs(&[("pids.max", "max")]));
    }
}
