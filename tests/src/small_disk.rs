//! Small file systems of a test's own, to be filled.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::outcome::Outcome;
use crate::tools;
use crate::world::World;

impl World {
    /// A file system in memory of this size, such as `6m`; only this world has it.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn small_disk(&self, size: &str) -> Outcome<PathBuf> {
        let folder = self.fresh_path("small-disk");
        std::fs::create_dir_all(&folder)?;
        let mut mount = tools::command("mount")?;
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "small"]).arg(&folder);
        tools::output(&mut mount)?;
        Ok(folder)
    }
}

/// Writes a file that leaves no byte free.
///
/// # Errors
/// When it cannot be created.
pub fn fill_disk(path: &Path) -> Outcome {
    let mut file = File::create(path)?;
    for piece in [vec![0u8; 1 << 16], vec![0u8; 512], vec![0u8; 1]] {
        while file.write_all(&piece).is_ok() {}
    }
    Ok(())
}
