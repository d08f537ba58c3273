//! Containers: what a client asks for, and what it is told about them.

mod config;
mod host;
mod inspect;
mod mount;
mod network;
mod picked;
mod stats;

pub use config::{Config, CreateRequest, CreateResponse, RUN_HEADER, RunResponse};
pub use host::{
    CheckpointRequest, CheckpointSummary, DeviceMapping, DeviceRequest, HostConfig, LogConfig, RestartPolicy,
    ThrottleDevice, Ulimit, UpdateRequest, UpdateResponse, WeightDevice,
};
pub use inspect::{
    ChangeItem, GraphDriver, Health, HealthResult, HealthSummary, Inspect, PathStat, Port, PruneReport, State, Summary,
    SummaryHostConfig, SummaryNetworks, TopResponse, WaitError, WaitResponse,
};
pub use mount::{BindOptions, ImageOptions, Mount, MountPoint, TmpfsOptions, VolumeDriverConfig, VolumeOptions};
pub use network::{
    Address, EndpointIpamConfig, EndpointSettings, NetworkSettings, NetworkingConfig, PortBinding, PortMap, PortSet,
};
pub use picked::Picked;
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, StorageStats, Throttling,
};
