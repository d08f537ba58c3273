//! `teu man`: the manual pages, for packagers.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches};
use clap_mangen::Man as Page;

use crate::failure::{Failure, Naming};
use crate::{Faces, table};

/// Writes the manual pages.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Folder to write to
    #[arg(required = true, value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes them.
pub(crate) fn perform(matches: &ArgMatches, _: &Faces) -> Result<u8, Failure> {
    let args = Man::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()))?;
    fs::create_dir_all(&args.folder).or_fail(format!("make folder {}", args.folder.display()))?;
    let mut tree = table::tree();
    tree.build();
    write(&args.folder, "teu", &tree)?;
    Ok(0)
}

/// Writes a command's page and those below it: `teu-image-pull.1`.
fn write(folder: &Path, name: &str, command: &Command) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    let what = format!("write {}", path.display());
    let page = Page::new(command.clone().name(name.to_owned())).title(name.to_uppercase()).manual("teu Manual");
    let mut text = Vec::new();
    page.render(&mut text).or_fail(&what)?;
    fs::write(&path, text).or_fail(&what)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    below.into_iter().try_for_each(|below| write(folder, &format!("{name}-{}", below.get_name()), below))
}
