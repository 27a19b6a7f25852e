use std::fs;

use super::{super::tests::*, *};
use crate::store::{FileStore, LeaseOwner, TokenStore};

/// Eight tenants, in the order of their files.
async fn eight() -> (tempfile::TempDir, FileStore, Vec<TenantId>) {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut tenants: Vec<_> = ["a", "A", "é", "e\u{301}", "a/", "a\\", "b", "ab"]
        .map(tenant)
        .into();
    for tenant in &tenants {
        store.save(tenant, None, &grant(1, "a")).await.unwrap();
    }
    tenants.sort_by_key(file_name);
    (directory, store, tenants)
}

async fn all(store: &FileStore, limit: usize) -> Vec<TenantId> {
    let mut all: Vec<TenantId> = Vec::new();
    loop {
        let page = store.tenants(all.last(), limit).await.unwrap();
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page);
        assert!(all.len() <= 100, "no end");
    }
}

#[tokio::test]
async fn pages_follow_the_order_of_file_names() {
    let (_directory, store, tenants) = eight().await;
    for limit in [1, 2, 3, 4, 7, 8, 9, usize::MAX] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
    assert_eq!(store.tenants(None, 0).await.unwrap(), []);
}

#[tokio::test]
async fn files_that_are_not_grants_are_not_listed() {
    let (directory, store, tenants) = eight().await;
    // A lease without a grant, and its lock.
    let owner = LeaseOwner::random();
    let lessee = tenant("lessee");
    let minute = std::time::Duration::from_secs(60);
    store.acquire(&lessee, &owner, minute).await.unwrap();
    let bytes = grant(1, "a").to_bytes(&tenant("stranger"));
    let stranger = file_name(&tenant("stranger"));
    for name in [
        "notes.json",
        "stranger.json",
        &format!("{stranger}.tmp"),
        &format!("{stranger}.lease"),
        &format!("{stranger}.json.bak"),
        &format!("x{stranger}.json"),
        &format!("{stranger}0.json"),
        &stranger,
    ] {
        fs::write(directory.path().join(name), &bytes).unwrap();
    }
    fs::create_dir(directory.path().join(format!("{stranger}.json"))).unwrap();
    for limit in [1, 8, 100] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
}

#[tokio::test]
async fn damaged_files_neither_hide_other_tenants_nor_end_the_listing() {
    let (_directory, store, tenants) = eight().await;
    let overwrite = |number: usize, bytes: &[u8]| {
        let path = store.path(&tenants[number]);
        fs::write(path, bytes).unwrap();
    };
    // Truncated or too large, but the name can be read.
    let whole = grant(1, "a").to_bytes(&tenants[1]);
    overwrite(1, &whole[..whole.len() / 2]);
    let mut large = grant(1, "a").to_bytes(&tenants[2]).to_vec();
    large.resize(2 * usize::try_from(LARGEST_FILE).unwrap(), b' ');
    overwrite(2, &large);
    store.load(&tenants[1]).await.unwrap_err();
    store.load(&tenants[2]).await.unwrap_err();
    // A run longer than a page, and both ends.
    for number in [0, 3, 4, 5] {
        overwrite(number, b"");
    }
    overwrite(7, &grant(1, "a").to_bytes(&tenants[6]));
    let listed = [1, 2, 6].map(|number| tenants[number].clone());
    for limit in [1, 2, 3, 4] {
        assert_eq!(all(&store, limit).await, listed, "{limit}");
    }
}

#[tokio::test]
async fn last_tenant_of_a_page_may_be_deleted() {
    let (_directory, store, tenants) = eight().await;
    let page = store.tenants(None, 3).await.unwrap();
    let path = store.path(&page[2]);
    fs::remove_file(&path).unwrap();
    let rest = store.tenants(Some(&page[2]), 100).await.unwrap();
    assert_eq!(rest, tenants[3..]);
    // A name that was never stored has a position too.
    let absent = tenant("absent");
    let expected = tenants
        .iter()
        .filter(|tenant| file_name(tenant) > file_name(&absent));
    let rest = store.tenants(Some(&absent), 100).await.unwrap();
    assert_eq!(rest, expected.cloned().collect::<Vec<_>>());
}

/// Only the grant files were copied from another machine.
#[tokio::test]
async fn lock_files_are_not_needed() {
    let (_directory, store, tenants) = eight().await;
    for tenant in &tenants {
        fs::remove_file(store.path(tenant).with_extension("lock")).unwrap();
    }
    assert_eq!(all(&store, 3).await, tenants);
}

#[tokio::test]
async fn p14_missing_directory_is_an_error_and_not_the_end() {
    let (directory, store, _) = eight().await;
    fs::remove_dir_all(directory.path()).unwrap();
    let error = store.tenants(None, 10).await.unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Store);
}

#[cfg(unix)]
#[tokio::test]
async fn p23_file_that_is_not_trusted_does_not_end_the_listing() {
    use std::os::unix::fs::symlink;

    let (_directory, store, tenants) = eight().await;
    let path = |number: usize| store.path(&tenants[number]);
    // The name of such a tenant can be read. A load reports what is wrong.
    set_mode(&path(0), 0o644);
    fs::hard_link(path(1), path(1).with_extension("copy")).unwrap();
    // Nothing is read through a link.
    let target = path(2).with_extension("moved");
    fs::rename(path(2), &target).unwrap();
    symlink(&target, path(2)).unwrap();
    fs::remove_file(path(4)).unwrap();
    symlink(path(4), path(4)).unwrap();
    fs::remove_file(path(6)).unwrap();
    fs::create_dir(path(6)).unwrap();
    for number in [0, 1, 2, 4, 6] {
        store.load(&tenants[number]).await.unwrap_err();
    }
    let listed = [0, 1, 3, 5, 7].map(|number| tenants[number].clone());
    for limit in [1, 2, 8] {
        assert_eq!(all(&store, limit).await, listed, "{limit}");
    }
}

/// Skipping the tenant would let its grant expire.
#[test]
fn p14_failure_that_is_not_the_files_own_is_not_skipped() {
    let is_skipped = |kind: ErrorKind| concerns_this_file(&Problem::Io(io::Error::from(kind)));
    assert!(is_skipped(ErrorKind::PermissionDenied));
    for kind in [
        ErrorKind::Other,
        ErrorKind::TimedOut,
        ErrorKind::ResourceBusy,
    ] {
        assert!(!is_skipped(kind), "{kind}");
    }
}
