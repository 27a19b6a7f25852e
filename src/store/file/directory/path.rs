//! The path to a store's directory.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use super::{
    Problem,
    access::{Attributes, User},
};

/// As many links as Linux follows.
const MOST_LINKS: u32 = 40;

/// Resolves the links in a path, and checks each directory and link that leads to the last one.
///
/// If `create`, directories that are missing are created. An error contains the path where it
/// occurred.
pub(in super::super) fn resolve(
    path: &Path,
    create: bool,
    allows_group: bool,
) -> Result<PathBuf, (PathBuf, Problem)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path, Problem::Io(error))
    };
    let user = User::of_this_process(allows_group);
    let absolute = std::path::absolute(path).map_err(at(path))?;
    let mut resolved = PathBuf::new();
    let mut rest = reversed(&absolute);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(name);
        let metadata = match fs::symlink_metadata(&next) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                create_directory(&next, allows_group).map_err(at(&next))?;
                fs::symlink_metadata(&next)
            }
            found => found,
        };
        let metadata = metadata.map_err(at(&next))?;
        let is_link = metadata.is_symlink();
        // The last directory is checked each time that it is opened.
        if is_link || !rest.is_empty() {
            let checked = user.check_parent(&Attributes::of(&metadata));
            checked.map_err(|problem| (next.clone(), problem))?;
        }
        if is_link {
            links += 1;
            if links > MOST_LINKS {
                return Err((next, Problem::Rejected("the path has too many links")));
            }
            // A path that starts with the root replaces what was resolved.
            rest.extend(reversed(&fs::read_link(&next).map_err(at(&next))?));
        } else {
            resolved = next;
        }
    }
    Ok(resolved)
}

/// The components of a path, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let components = path.components();
    let components = components.filter(|component| *component != Component::CurDir);
    let mut names: Vec<_> = components.map(|name| name.as_os_str().to_owned()).collect();
    names.reverse();
    names
}

fn create_directory(path: &Path, allows_group: bool) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Another process has created it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        created => created?,
    }
    if allows_group {
        // Whatever the umask. New files get the group of the directory.
        fs::set_permissions(path, fs::Permissions::from_mode(0o2770))?;
    }
    // A new directory is durable once its parent is synced.
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A temporary directory without links in its path.
    fn base() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    #[test]
    fn path_is_resolved_as_the_kernel_does() {
        let (_directory, base) = base();
        fs::create_dir_all(base.join("a/b/c")).unwrap();
        symlink("a/b", base.join("relative")).unwrap();
        symlink(base.join("relative/c"), base.join("absolute")).unwrap();
        symlink("../b/../b/c", base.join("a/b/up")).unwrap();
        symlink("self", base.join("self")).unwrap();
        for path in [
            "a/b/c",
            "a/./b//c/",
            "relative/c",
            "absolute",
            "absolute/../c",
            "relative/up",
            "relative/../b/c/.",
        ] {
            let path = base.join(path);
            let resolved = resolve(&path, false, false).unwrap();
            assert_eq!(resolved, path.canonicalize().unwrap(), "{}", path.display());
        }
        for missing in ["none", "self", "a/none/c"] {
            assert!(resolve(&base.join(missing), false, false).is_err());
        }
    }

    #[test]
    fn p23_missing_directories_are_created_for_the_owner_only() {
        let (_directory, base) = base();
        symlink(base.join("target/x"), base.join("link")).unwrap();
        let resolved = resolve(&base.join("link/y"), true, false).unwrap();
        assert_eq!(resolved, base.join("target/x/y"));
        for created in ["target", "target/x", "target/x/y"] {
            let metadata = fs::metadata(base.join(created)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn p23_path_through_a_directory_that_others_can_write_to_is_rejected() {
        let (_directory, base) = base();
        fs::create_dir_all(base.join("open/grants")).unwrap();
        symlink("open/grants", base.join("link")).unwrap();
        let rejected = |path: &str| match resolve(&base.join(path), true, false) {
            Err((at, Problem::Rejected(_))) => Some(at),
            _ => None,
        };
        set_mode(&base.join("open"), 0o777);
        for path in ["open/grants", "open/new", "link", "open/grants/.."] {
            assert_eq!(rejected(path), Some(base.join("open")), "{path}");
        }
        assert!(!base.join("open/new").exists(), "checked before it is used");
        for mode in [0o1777, 0o755] {
            set_mode(&base.join("open"), mode);
            for path in ["open/grants", "link"] {
                assert_eq!(rejected(path), None, "{path} {mode:o}");
            }
        }
        // The last directory is checked when it is opened.
        set_mode(&base.join("open/grants"), 0o777);
        assert_eq!(rejected("open/grants"), None);
        assert_eq!(
            rejected("open/grants/below"),
            Some(base.join("open/grants"))
        );
    }
}
