//! Groups of the resctrl file system: shares of caches and of memory bandwidth (Intel RDT, AMD QoS), and what a group
//! uses of them. See the kernel's documentation, "User Interface for Resource Control feature", and the runtime spec,
//! "IntelRdt".
//!
//! ```text
//! <resctrl>/<closID, or the container's id>/        the shares, and who has them
//!     schemata, tasks
//!     mon_groups/<the container's id>/              what the container uses, with enableMonitoring
//! ```
//!
//! Children are in their parent's group. Who enters a container goes into its groups before it has any.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use teu_oci::runtime::IntelRdt;

use crate::Error;
use crate::error::{During, errno};

/// What is to be made for one container.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    root: Mount,
    wanted: &'a IntelRdt,
    id: &'a str,
}

/// Where resctrl is mounted.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    pub(crate) place: PathBuf,
    /// Whether bandwidth is given in MB/s, which may be any number, and not in per cent, which the machine rounds.
    in_megabytes: bool,
}

/// The groups of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    root: PathBuf,
    /// The directory of the shares.
    control: PathBuf,
    /// Whether it is the container's alone, and goes with it.
    own: bool,
    /// The directory where its use is counted, if it is for itself.
    monitor: Option<PathBuf>,
}

/// Finds it, as proc_pid_mountinfo(5) has it.
pub(crate) fn root() -> Option<Mount> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let entry = teu_sys::mount::table(line).next()?;
        // One that shows a part of it is somebody else's.
        (entry.kind == b"resctrl" && entry.root == b"/")
            .then(|| Mount { place: entry.place(), in_megabytes: line.windows(8).any(|option| option == b"mba_MBps") })
    })
}

impl<'a> Plan<'a> {
    /// Refuses what cannot be.
    pub(crate) fn new(wanted: &'a IntelRdt, id: &'a str) -> Result<Plan<'a>, Error> {
        Self::below(root(), wanted, id)
    }

    fn below(root: Option<Mount>, wanted: &'a IntelRdt, id: &'a str) -> Result<Plan<'a>, Error> {
        let Some(root) = root else {
            let what = "neither Intel RDT nor AMD QoS is there (the resctrl file system is not mounted)";
            return Err(Error::refused(format!("use intelRdt: {what}")));
        };
        let name = wanted.clos_id.as_str();
        let reserved = matches!(name, "." | ".." | "info" | "mon_groups" | "mon_data");
        if name != "/" && (reserved || name.contains(['/', '\n'])) {
            return Err(Error::refused(format!("use intelRdt: invalid closID \"{name}\"")));
        }
        let single = wanted.schemata.iter().chain([&wanted.mem_bw_schema]);
        if let Some(line) = single.into_iter().find(|line| line.contains('\n')) {
            let what = format!("use intelRdt: more than one line in the schema \"{}\"", line.escape_debug());
            return Err(Error::refused(what));
        }
        if !wanted.mem_bw_schema.is_empty() && !wanted.mem_bw_schema.starts_with("MB:") {
            let what = format!("use intelRdt: memBwSchema does not begin with MB: in \"{}\"", wanted.mem_bw_schema);
            return Err(Error::refused(what));
        }
        Ok(Plan { root, wanted, id })
    }

    /// The groups, before there is anything of them.
    pub(crate) fn groups(&self) -> Groups {
        let root = &self.root.place;
        let (control, own) = match self.wanted.clos_id.as_str() {
            // One that is there by chance is somebody else's, who keeps it.
            "" => (root.join(self.id), !root.join(self.id).exists()),
            "/" => (root.clone(), false),
            name => (root.join(name), false),
        };
        let monitor = self.wanted.enable_monitoring.then(|| control.join("mon_groups").join(self.id));
        Groups { root: root.clone(), control, own, monitor }
    }

    /// Makes them and puts processes into them. Nothing that was made is left on an error.
    pub(crate) fn make(&self, groups: &Groups, pids: &[i32]) -> Result<(), Error> {
        let _lock = groups.lock().during_with(|| format!("lock {}", self.root.place.display()))?;
        let made = self.make_control(groups)?;
        let rest = || -> Result<(), Error> {
            if let Some(monitor) = &groups.monitor {
                match std::fs::create_dir(monitor) {
                    // Left by one of the same name, which is gone.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => groups.told(other, || format!("make {}", monitor.display()))?,
                }
            }
            pids.iter().try_for_each(|pid| groups.join(*pid))
        };
        rest().inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = groups.take_away();
            if made && !groups.own {
                let _ = std::fs::remove_dir(&groups.control);
            }
        })
    }

    /// The shares: as they are, or as they are wanted. Whether they were made here.
    fn make_control(&self, groups: &Groups) -> Result<bool, Error> {
        let written = lines(self.wanted).map(|line| format!("{line}\n")).collect::<String>();
        let place = groups.control.display().to_string();
        if groups.control.is_dir() {
            if self.wanted.clos_id.is_empty() {
                return groups.write_schemata(&written).map(|()| false);
            }
            return match self.unlike(&groups.control.join("schemata")) {
                Ok(None) => Ok(false),
                Ok(Some(line)) => Err(Error::refused(format!("use intelRdt: {place} exists and is not \"{line}\""))),
                Err(error) => Err(error).during_with(|| format!("read the schemata of {place}")),
            };
        }
        if !groups.own && written.is_empty() {
            let what = format!("use intelRdt: {place} does not exist, and there is no schema to make it with");
            return Err(Error::refused(what));
        }
        groups.told(std::fs::create_dir(&groups.control), || format!("make {place}"))?;
        groups.write_schemata(&written).inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = std::fs::remove_dir(&groups.control);
        })?;
        Ok(true)
    }

    /// The first line that is wanted and is not what is there.
    fn unlike(&self, schemata: &Path) -> io::Result<Option<&str>> {
        let mut wanted = lines(self.wanted).peekable();
        if wanted.peek().is_none() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(schemata)?;
        let there: BTreeMap<_, _> = text.lines().filter_map(parse).collect();
        let is_written_so = |line: &str| text.lines().any(|present| present.trim() == line.trim());
        let steps = std::fs::read_to_string(self.root.place.join("info/MB/bandwidth_gran")).ok();
        let step = steps.filter(|_| !self.root.in_megabytes).and_then(|text| text.trim().parse().ok());
        let step = step.filter(|step| *step > 0).unwrap_or(1);
        let rounded = |kind: &str, value: u64| if kind == "MB" { value.next_multiple_of(step) } else { value };
        let differs = |line: &&str| {
            let Some((kind, shares)) = parse(line) else { return !is_written_so(line) };
            let Some(present) = there.get(kind) else { return true };
            shares.iter().any(|(domain, share)| present.get(domain) != Some(&rounded(kind, *share)))
        };
        Ok(wanted.find(differs))
    }
}

/// The lines for `schemata`, in the order in which the spec has them written. Of several lines for the cache that of the
/// bandwidth gives way to the one that is given for that alone.
fn lines(wanted: &IntelRdt) -> impl Iterator<Item = &str> {
    let has_bandwidth = !wanted.mem_bw_schema.is_empty();
    let cache = wanted.l3_cache_schema.lines().filter(move |line| !(has_bandwidth && line.starts_with("MB:")));
    let others = std::iter::once(&wanted.mem_bw_schema).chain(&wanted.schemata).map(String::as_str);
    cache.chain(others).filter(|line| !line.is_empty())
}

/// A line of `schemata`, `L3:0=ff;1=c0`: what is shared, and the share in each domain. Bandwidth is in decimal digits,
/// masks are hexadecimal.
fn parse(line: &str) -> Option<(&str, BTreeMap<u32, u64>)> {
    let (kind, rest) = line.split_once(':')?;
    let kind = kind.trim();
    let base = if matches!(kind, "MB" | "SMBA") { 10 } else { 16 };
    let share = |part: &str| {
        let (domain, share) = part.split_once('=')?;
        let share = share.trim();
        let share = if base == 16 { share.strip_prefix("0x").unwrap_or(share) } else { share };
        Some((domain.trim().parse().ok()?, u64::from_str_radix(share, base).ok()?))
    };
    Some((kind, rest.trim().split(';').map(share).collect::<Option<_>>()?))
}

impl Groups {
    /// Puts a process into them, with all of its threads.
    pub(crate) fn join(&self, pid: i32) -> Result<(), Error> {
        for group in std::iter::once(&self.control).chain(&self.monitor) {
            let join = || -> io::Result<()> {
                for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                    let thread = thread?.file_name();
                    File::options().write(true).open(group.join("tasks"))?.write_all(thread.as_encoded_bytes())?;
                }
                Ok(())
            };
            self.told(join(), || format!("join {}", group.display()))?;
        }
        Ok(())
    }

    /// What the kernel's documentation asks of whoever changes something.
    fn lock(&self) -> io::Result<File> {
        let root = File::open(&self.root)?;
        rustix::fs::flock(&root, FlockOperation::LockExclusive)?;
        Ok(root)
    }

    /// Changes the shares.
    pub(crate) fn change(&self, lines: &str) -> Result<(), Error> {
        let _lock = self.lock().during_with(|| format!("lock {}", self.root.display()))?;
        self.write_schemata(lines)
    }

    fn write_schemata(&self, lines: &str) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let place = self.control.join("schemata");
        // The kernel takes whole lines, all in one write.
        let written = File::options().write(true).open(&place).and_then(|mut file| file.write_all(lines.as_bytes()));
        self.told(written, || format!("write {}", place.display()))
    }

    /// Takes away what is the container's. Who is in it still is in the group above then.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // Where it is no longer mounted there is nothing to take away.
        let Ok(_lock) = self.lock() else { return Ok(()) };
        self.take_away()
    }

    fn take_away(&self) -> io::Result<()> {
        let own = self.own.then_some(&self.control);
        for group in self.monitor.iter().chain(own) {
            match std::fs::remove_dir(group) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The kernel's own words for what it does not take, where it has any.
    fn told<T>(&self, result: io::Result<T>, step: impl FnOnce() -> String) -> Result<T, Error> {
        result.map_err(|error| {
            let status = std::fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
            match status.trim() {
                "" | "ok" => Error::Step { step: step(), errno: errno(&error) },
                words => Error::refused(format!("{}: {error}: {words}", step())),
            }
        })
    }

    /// What `events` shows of it, by runc's names. What this machine does not count is left out.
    pub(crate) fn stats(&self) -> Value {
        let text = |path: &Path| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        let line_of =
            |text: &str, kind: &str| text.lines().map(str::trim).find(|line| line.starts_with(kind)).map(str::to_owned);
        let mut value = json!({});
        let (all, own) = (text(&self.root.join("schemata")), text(&self.control.join("schemata")));
        if let Ok(own) = &own {
            value["schemata"] = own.lines().map(str::trim).collect();
        }
        let kinds = [("L3", "l3_cache_info", "l3_cache_schema"), ("MB", "mem_bw_info", "mem_bw_schema")];
        for (kind, about, schema) in kinds {
            if let Some(known) = numbers(&self.root.join("info").join(kind)) {
                value[about] = known;
                for (text, name) in [(&all, format!("{schema}_root")), (&own, schema.to_owned())] {
                    if let Some(line) = text.as_ref().ok().and_then(|text| line_of(text, kind)) {
                        value[name] = json!(line);
                    }
                }
            }
        }
        let counted = self.monitor.as_ref().unwrap_or(&self.control).join("mon_data");
        let mut domains: Vec<_> = std::fs::read_dir(counted).into_iter().flatten().flatten().collect();
        domains.sort_by_key(std::fs::DirEntry::file_name);
        for domain in domains {
            let number = |name: &str| text(&domain.path().join(name)).ok().and_then(|text| text.parse::<u64>().ok());
            let (total, local) = (number("mbm_total_bytes"), number("mbm_local_bytes"));
            if total.or(local).is_some() {
                let one = json!({ "mbm_total_bytes": total.unwrap_or(0), "mbm_local_bytes": local.unwrap_or(0) });
                append(&mut value["mbm_stats"], one);
            }
            if let Some(occupied) = number("llc_occupancy") {
                append(&mut value["cmt_stats"], json!({ "llc_occupancy": occupied }));
            }
        }
        value
    }
}

fn append(list: &mut Value, one: Value) {
    match list {
        Value::Array(list) => list.push(one),
        other => *other = json!([one]),
    }
}

/// What the kernel says of a resource: the numbers, and the mask as it is.
fn numbers(info: &Path) -> Option<Value> {
    let names = ["cbm_mask", "min_cbm_bits", "num_closids", "bandwidth_gran", "delay_linear", "min_bandwidth"];
    let mut value = json!({});
    for name in names {
        let Ok(text) = std::fs::read_to_string(info.join(name)) else { continue };
        let text = text.trim();
        let number = text.parse::<u64>().ok().filter(|_| name != "cbm_mask");
        value[name] = number.map_or_else(|| json!(text), |number| json!(number));
    }
    info.is_dir().then_some(value)
}

#[cfg(test)]
mod tests {
    use teu_sys::namespace;

    use super::*;

    const THERE: &str = "    L3:0=fffff;1=000c0\n    MB:0= 30;1=100\n";

    fn wanted(clos: &str, schemata: &[&str]) -> IntelRdt {
        let schemata = schemata.iter().map(|line| (*line).to_owned()).collect();
        IntelRdt { clos_id: clos.into(), schemata, ..IntelRdt::default() }
    }

    /// A directory that stands for resctrl, with a group in it.
    fn stand_in() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["info/L3", "info/MB", "gold/mon_groups", "gold/mon_data/mon_L3_00"] {
            std::fs::create_dir_all(root.path().join(folder)).expect("a folder");
        }
        for (name, text) in [
            ("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("gold/schemata", THERE),
            ("gold/tasks", ""),
            ("gold/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("gold/mon_data/mon_L3_00/mbm_total_bytes", "70\n"),
            ("gold/mon_data/mon_L3_00/mbm_local_bytes", "50\n"),
        ] {
            std::fs::write(root.path().join(name), text).expect("a file");
        }
        root
    }

    fn mounted(root: &Path) -> Mount {
        Mount { place: root.to_owned(), in_megabytes: false }
    }

    fn make(root: &Path, wanted: &IntelRdt) -> Result<Groups, Error> {
        let plan = Plan::below(Some(mounted(root)), wanted, "one")?;
        let groups = plan.groups();
        plan.make(&groups, &[std::process::id().cast_signed()]).map(|()| groups)
    }

    #[test]
    fn a_machine_without_it_is_told_so_and_bad_names_are_refused() {
        let refused = |root: Option<&str>, wanted: &IntelRdt, words: &str| {
            let error = Plan::below(root.map(Path::new).map(mounted), wanted, "one").expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(None, &wanted("gold", &[]), "the resctrl file system is not mounted");
        for name in [".", "..", "a/b", "info", "mon_groups"] {
            refused(Some("/r"), &wanted(name, &[]), "invalid closID");
        }
        refused(Some("/r"), &wanted("gold", &["L3:0=f\nMB:0=10"]), "more than one line");
        let bandwidth = IntelRdt { mem_bw_schema: "L3:0=f".into(), ..IntelRdt::default() };
        refused(Some("/r"), &bandwidth, "does not begin with MB:");
    }

    #[test]
    fn a_group_that_exists_is_joined_if_it_is_what_is_wanted_and_stays() {
        let root = stand_in();
        let good = [
            wanted("gold", &[]),
            wanted("gold", &["L3:1=c0"]),
            wanted("gold", &["L3:0=000fffff;1=c0", "MB:0=25"]),
            IntelRdt { l3_cache_schema: "L3:1=0xc0".into(), ..wanted("gold", &["MB:1=100"]) },
            IntelRdt {
                l3_cache_schema: "L3:1=c0\nMB:0=7".into(),
                mem_bw_schema: "MB:0=30".into(),
                ..wanted("gold", &[])
            },
        ];
        for wanted in good {
            let groups = make(root.path(), &wanted).expect("joined");
            groups.remove().expect("nothing to remove");
            assert!(root.path().join("gold").is_dir() && groups.monitor.is_none());
        }
        assert_eq!(std::fs::read_to_string(root.path().join("gold/schemata")).expect("read"), THERE);
        assert!(!std::fs::read_to_string(root.path().join("gold/tasks")).expect("read").is_empty());
        for line in ["L3:1=c1", "L3:2=c0", "L2:0=f", "MB:0=35"] {
            let error = make(root.path(), &wanted("gold", &[line])).expect_err("refused").to_string();
            assert!(error.contains(&format!("gold exists and is not \"{line}\"")), "{error}");
        }
        let exactly = Mount { in_megabytes: true, ..mounted(root.path()) };
        let shares = wanted("gold", &["MB:0=25"]);
        let plan = Plan::below(Some(exactly), &shares, "one").expect("planned");
        assert!(plan.make(&plan.groups(), &[]).is_err(), "megabytes are not rounded");
        let error = make(root.path(), &wanted("silver", &[])).expect_err("refused").to_string();
        assert!(error.contains("silver does not exist, and there is no schema to make it with"), "{error}");
    }

    #[test]
    fn what_could_not_be_made_whole_is_not_left_and_the_kernels_words_are_told() {
        let root = stand_in();
        std::fs::write(root.path().join("info/last_cmd_status"), "mask f0f not contiguous\n").expect("a file");
        // A folder here has no schemata of itself.
        let error = make(root.path(), &wanted("silver", &["L3:0=f0f"])).expect_err("refused").to_string();
        assert!(error.contains("mask f0f not contiguous"), "{error}");
        assert!(!root.path().join("silver").exists());
        let error = make(root.path(), &wanted("", &[])).expect_err("no tasks").to_string();
        assert!(error.contains("join") && !root.path().join("one").exists(), "{error}");
    }

    #[test]
    fn statistics_have_runcs_names() {
        let root = stand_in();
        let stats = make(root.path(), &wanted("gold", &[])).expect("joined").stats();
        let expected = json!({
            "schemata": ["L3:0=fffff;1=000c0", "MB:0= 30;1=100"],
            "l3_cache_info": { "cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16 },
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "l3_cache_schema": "L3:0=fffff;1=000c0",
            "mem_bw_info": { "bandwidth_gran": 10 },
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0= 30;1=100",
            "mbm_stats": [{ "mbm_total_bytes": 70, "mbm_local_bytes": 50 }],
            "cmt_stats": [{ "llc_occupancy": 4096 }],
        });
        assert_eq!(stats, expected);
    }

    /// A hierarchy of cgroups without controllers has such directories: with `tasks`, inherited, removed with their files.
    fn in_a_hierarchy() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        namespace::leave_files()?;
        namespace::unshare(namespace::MOUNT)?;
        teu_sys::mount::set_propagation_of_all(teu_sys::mount::Propagation::Slave)?;
        let mount = || -> io::Result<()> {
            let options = [("none", None), ("name", Some("teu-resctrl-test"))];
            let mounted = teu_sys::mount::filesystem("cgroup", &options, 0)?;
            let place = rustix::fs::open(root.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())?;
            teu_sys::mount::attach(&mounted, place)
        };
        mount()?;
        std::fs::create_dir_all(root.path().join("gold/mon_groups"))?;
        let tasks = |group: &str| std::fs::read_to_string(root.path().join(group).join("tasks")).unwrap_or_default();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn()?;
        let pid = child.id().cast_signed();
        for (clos, monitored, group) in [("", false, "one"), ("gold", true, "gold/mon_groups/one")] {
            let wanted = IntelRdt { enable_monitoring: monitored, ..wanted(clos, &[]) };
            let plan = Plan::below(Some(mounted(root.path())), &wanted, "one").map_err(io::Error::other)?;
            let groups = plan.groups();
            plan.make(&groups, &[pid]).map_err(io::Error::other)?;
            assert_eq!(tasks(group), format!("{pid}\n"));
            assert_eq!(groups, serde_json::from_str(&serde_json::to_string(&groups)?)?);
            // Where resctrl moves who is left, a hierarchy wants to be empty.
            std::fs::write(root.path().join("tasks"), pid.to_string())?;
            groups.remove()?;
            groups.remove()?;
            assert!(!root.path().join(group).exists());
        }
        assert!(root.path().join("gold").is_dir());
        child.kill()?;
        child.wait()?;
        for folder in ["gold/mon_groups", "gold"] {
            std::fs::remove_dir(root.path().join(folder))?;
        }
        loop {
            rustix::mount::unmount(root.path(), rustix::mount::UnmountFlags::DETACH)?;
            // It stays when it is unmounted while the kernel still has to do with what was removed in it.
            for _ in 0..100 {
                std::thread::sleep(std::time::Duration::from_millis(20));
                if !std::fs::read_to_string("/proc/thread-self/cgroup")?.contains("teu-resctrl-test") {
                    return Ok(());
                }
                if mount().is_ok() {
                    break;
                }
            }
        }
    }

    #[test]
    fn groups_of_its_own_are_made_joined_and_removed() {
        std::thread::spawn(in_a_hierarchy).join().expect("a thread").expect("made, joined and removed");
    }
}
