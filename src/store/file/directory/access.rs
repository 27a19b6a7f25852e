//! Which files and directories the store trusts, decided by their owner, group, mode, type and
//! links.

use super::Problem;

/// The superuser, which has access to every file anyway.
const ROOT: u32 = 0;

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// The mode of the files of a group.
pub(super) const FILE_OF_GROUP: u32 = 0o660;

/// The owner, mode, type and links of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) kind: Kind,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
    pub(super) links: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// The user of this process.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: u32,
    pub(super) group: u32,
    /// The groups that are trusted like the user. Empty, unless group access is allowed.
    pub(super) trusted_groups: Vec<u32>,
}

impl User {
    /// Checks a directory or link on the path to the store's directory, as sshd's `StrictModes`
    /// does. With write access to a directory, a user can replace what is in it.
    pub(super) fn check_parent(&self, parent: &Attributes) -> Result<(), Problem> {
        let is_of_trusted_group = self.trusted_groups.contains(&parent.group);
        // Its members can replace what is in it, and only a member can give it to the group.
        let is_shared =
            parent.kind == Kind::Directory && is_of_trusted_group && parent.mode & GROUP_WRITE != 0;
        if ![ROOT, self.id].contains(&parent.user) && !is_shared {
            return Err(Problem::Rejected(
                "another user owns a directory or link on the path; use a path that only root and \
                 the user of this process own",
            ));
        }
        match parent.kind {
            // The mode of a link has no meaning. The directory that contains it was checked.
            Kind::Link => return Ok(()),
            Kind::Directory => {}
            Kind::File | Kind::Other => return Err(Problem::NOT_A_DIRECTORY),
        }
        // In a sticky directory, only the owner of an entry can replace it.
        let is_sticky = parent.mode & STICKY != 0;
        // By convention, a group with the number of its user has no other members.
        let is_private = parent.group == self.group && parent.group == self.id;
        if is_sticky {
            return Ok(());
        }
        if parent.mode & OTHERS_WRITE != 0 {
            return Err(Problem::Rejected(
                "all users can write to a directory on the path, and replace what is in it; run \
                 chmod go-w for it, or use another path",
            ));
        }
        if parent.mode & GROUP_WRITE != 0 && !is_private && !is_of_trusted_group {
            return Err(Problem::Rejected(
                "a group can write to a directory on the path, and replace what is in it; run \
                 chmod g-w for it, use another path, or set FileStoreBuilder::allow_group_access \
                 if this process is in the group",
            ));
        }
        Ok(())
    }

    /// Checks the store's directory. Returns which files in it are trusted.
    pub(super) fn check_directory(&self, directory: &Attributes) -> Result<Trust, Problem> {
        if directory.kind != Kind::Directory {
            return Err(Problem::NOT_A_DIRECTORY);
        }
        let group = Some(directory.group).filter(|group| self.trusted_groups.contains(group));
        if ![ROOT, self.id].contains(&directory.user) && group.is_none() {
            return Err(Problem::Rejected(
                "another user owns the directory; run chown for it, or the process as its owner",
            ));
        }
        if directory.mode & OTHERS_WRITE != 0 {
            return Err(Problem::Rejected(
                "all users can write to the directory; run chmod o-w for it",
            ));
        }
        if directory.mode & GROUP_WRITE != 0 && group.is_none() {
            return Err(Problem::Rejected(
                "a group can write to the directory; run chmod 700 for it, or set \
                 FileStoreBuilder::allow_group_access if this process is in the group",
            ));
        }
        Ok(Trust {
            user: self.id,
            group,
        })
    }
}

/// Which files in a directory are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trust {
    user: u32,
    /// The group whose members are trusted like the user.
    group: Option<u32>,
}

impl Trust {
    pub(super) fn check_file(self, file: &Attributes) -> Result<(), Problem> {
        check_kind(file)?;
        // A file that was replaced since it was opened has no links.
        if file.links > 1 {
            return Err(Problem::Rejected(
                "it has several hard links, so other paths lead to it; replace it by a copy",
            ));
        }
        let is_of_the_group = self.group == Some(file.group);
        if file.user != self.user && !is_of_the_group {
            return Err(Problem::Rejected(
                "another user owns it; run chown for it if its content can be trusted, and \
                 otherwise move it away",
            ));
        }
        if is_of_the_group && file.mode & 0o007 != 0 {
            return Err(Problem::Rejected(
                "users outside of the group can read or write it; run chmod 660, and let the \
                 customer consent again if they may have read tokens in it",
            ));
        }
        if !is_of_the_group && file.mode & 0o077 != 0 {
            return Err(Problem::Rejected(
                "other users can read or write it; run chmod 600, and let the customer consent \
                 again if they may have read tokens in it",
            ));
        }
        Ok(())
    }

    /// The group that a file of this user lacks, so that other members could not open it.
    pub(super) fn missing_group(self, file: &Attributes) -> Option<u32> {
        let lacks = |group| file.group != group || file.mode & FILE_OF_GROUP != FILE_OF_GROUP;
        self.group
            .filter(|group| file.user == self.user && lacks(*group))
    }
}

/// Checks that reading or writing the file cannot block, as a pipe does.
pub(super) fn check_kind(file: &Attributes) -> Result<(), Problem> {
    match file.kind {
        Kind::File => Ok(()),
        Kind::Link => Err(Problem::LINK),
        Kind::Directory | Kind::Other => Err(Problem::NOT_A_FILE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELF: u32 = 1_000;
    const OTHER: u32 = 1_001;
    const GROUP: u32 = 2_000;

    fn user() -> User {
        User {
            id: SELF,
            group: SELF,
            trusted_groups: Vec::new(),
        }
    }

    fn of(kind: Kind, user: u32, group: u32, mode: u32) -> Attributes {
        Attributes {
            kind,
            user,
            group,
            mode,
            links: 1,
        }
    }

    #[test]
    fn p23_only_files_of_the_owner_alone_are_trusted() {
        let directory = of(Kind::Directory, SELF, SELF, 0o700);
        let trust = user().check_directory(&directory).unwrap();
        let file = |user, mode| trust.check_file(&of(Kind::File, user, SELF, mode));
        for mode in [0o600, 0o400, 0o700, 0o200] {
            file(SELF, mode).unwrap();
        }
        for mode in [0o640, 0o620, 0o604, 0o602, 0o610, 0o601, 0o666] {
            file(SELF, mode).unwrap_err();
        }
        for foreign in [OTHER, ROOT] {
            file(foreign, 0o600).unwrap_err();
        }
        for kind in [Kind::Directory, Kind::Link, Kind::Other] {
            trust.check_file(&of(kind, SELF, SELF, 0o600)).unwrap_err();
        }
        let linked = |links| {
            trust.check_file(&Attributes {
                links,
                ..of(Kind::File, SELF, SELF, 0o600)
            })
        };
        linked(0).unwrap();
        linked(2).unwrap_err();
    }

    #[test]
    fn p23_superuser_does_not_trust_the_files_of_others() {
        let root = User {
            id: ROOT,
            group: ROOT,
            trusted_groups: Vec::new(),
        };
        let directory = |user| of(Kind::Directory, user, ROOT, 0o700);
        let trust = root.check_directory(&directory(ROOT)).unwrap();
        trust
            .check_file(&of(Kind::File, ROOT, ROOT, 0o600))
            .unwrap();
        let foreign = of(Kind::File, SELF, ROOT, 0o600);
        trust.check_file(&foreign).unwrap_err();
        root.check_directory(&directory(SELF)).unwrap_err();
        root.check_parent(&directory(SELF)).unwrap_err();
    }

    #[test]
    fn p23_directory_that_others_can_write_to_is_rejected() {
        let check =
            |user_id, mode| user().check_directory(&of(Kind::Directory, user_id, SELF, mode));
        for mode in [0o700, 0o755, 0o750, 0o2755] {
            check(SELF, mode).unwrap();
        }
        for mode in [0o777, 0o770, 0o707, 0o1777, 0o2770] {
            check(SELF, mode).unwrap_err();
        }
        check(ROOT, 0o700).unwrap();
        check(OTHER, 0o700).unwrap_err();
        let file = of(Kind::File, SELF, SELF, 0o700);
        user().check_directory(&file).unwrap_err();
    }

    #[test]
    fn p23_parent_is_rejected_if_others_can_replace_what_is_in_it() {
        let check =
            |owner, group, mode| user().check_parent(&of(Kind::Directory, owner, group, mode));
        for (owner, group, mode) in [
            (ROOT, ROOT, 0o755),
            (SELF, SELF, 0o700),
            (ROOT, ROOT, 0o1777),
            (ROOT, GROUP, 0o1775),
            // The private group of the user.
            (SELF, SELF, 0o775),
        ] {
            check(owner, group, mode).unwrap();
        }
        for (owner, group, mode) in [
            (ROOT, ROOT, 0o777),
            (ROOT, GROUP, 0o775),
            (SELF, OTHER, 0o770),
            (OTHER, OTHER, 0o755),
            (OTHER, OTHER, 0o1777),
        ] {
            check(owner, group, mode).unwrap_err();
        }
        let link = |owner| user().check_parent(&of(Kind::Link, owner, owner, 0o777));
        link(SELF).unwrap();
        link(ROOT).unwrap();
        link(OTHER).unwrap_err();
        let file = of(Kind::File, SELF, SELF, 0o700);
        user().check_parent(&file).unwrap_err();
    }

    #[test]
    fn p23_group_of_the_directory_is_trusted_only_if_allowed() {
        let members = User {
            trusted_groups: vec![SELF, GROUP],
            ..user()
        };
        // As Kubernetes mounts a volume with an `fsGroup`.
        let volume = of(Kind::Directory, ROOT, GROUP, 0o2775);
        user().check_directory(&volume).unwrap_err();
        let trust = members.check_directory(&volume).unwrap();
        let file = |user, group, mode| trust.check_file(&of(Kind::File, user, group, mode));
        file(SELF, GROUP, 0o660).unwrap();
        file(OTHER, GROUP, 0o660).unwrap();
        file(SELF, SELF, 0o600).unwrap();
        file(SELF, SELF, 0o660).unwrap_err();
        file(OTHER, OTHER, 0o600).unwrap_err();
        for mode in [0o664, 0o662, 0o666] {
            file(SELF, GROUP, mode).unwrap_err();
        }
        for (owner, group, mode) in [(ROOT, GROUP, 0o2777), (OTHER, OTHER, 0o770)] {
            let directory = of(Kind::Directory, owner, group, mode);
            members.check_directory(&directory).unwrap_err();
        }
        members.check_parent(&volume).unwrap();
    }

    #[test]
    fn p23_directory_of_another_member_on_the_path_is_trusted_if_all_members_can_write_to_it() {
        let members = User {
            trusted_groups: vec![SELF, GROUP],
            ..user()
        };
        let shared = of(Kind::Directory, OTHER, GROUP, 0o2770);
        members.check_parent(&shared).unwrap();
        user().check_parent(&shared).unwrap_err();
        for (kind, group, mode) in [
            (Kind::Directory, OTHER, 0o2770),
            (Kind::Directory, GROUP, 0o2750),
            (Kind::Directory, GROUP, 0o2772),
            (Kind::Link, GROUP, 0o777),
            (Kind::File, GROUP, 0o660),
        ] {
            let parent = of(kind, OTHER, group, mode);
            members.check_parent(&parent).unwrap_err();
        }
    }

    #[test]
    fn p23_file_of_the_user_is_given_to_the_group() {
        let file = |user, group, mode| of(Kind::File, user, group, mode);
        let (mut trust, of_group) = (
            Trust {
                user: SELF,
                group: Some(GROUP),
            },
            Some(GROUP),
        );
        for (group, mode, missing) in [
            (GROUP, 0o660, None),
            (GROUP, 0o770, None),
            (GROUP, 0o600, of_group),
            (GROUP, 0o640, of_group),
            (SELF, 0o600, of_group),
        ] {
            assert_eq!(trust.missing_group(&file(SELF, group, mode)), missing);
        }
        assert_eq!(trust.missing_group(&file(OTHER, GROUP, 0o600)), None);
        trust.group = None;
        assert_eq!(trust.missing_group(&file(SELF, SELF, 0o600)), None);
    }
}
