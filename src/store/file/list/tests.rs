use super::{super::tests::*, *};
use crate::store::{FileStore, LeaseOwner, TokenStore};

/// Eight tenants, in the order of their files.
async fn eight() -> (tempfile::TempDir, FileStore, Vec<TenantId>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let mut tenants: Vec<_> = ["a", "A", "é", "e\u{301}", "a/", "a\\", "b", "ab"]
        .map(tenant)
        .into();
    for tenant in &tenants {
        store.save(tenant, None, &grant(1, "a")).await.unwrap();
    }
    tenants.sort_by_key(file_name);
    (folder, store, tenants)
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
async fn pages_are_in_the_order_of_the_files() {
    let (_folder, store, tenants) = eight().await;
    for limit in [1, 2, 3, 4, 7, 8, 9, usize::MAX] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
    assert_eq!(store.tenants(None, 0).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_no_grant_is_not_listed() {
    let (folder, store, tenants) = eight().await;
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
        fs::write(folder.path().join(name), &bytes).unwrap();
    }
    fs::create_dir(folder.path().join(format!("{stranger}.json"))).unwrap();
    for limit in [1, 8, 100] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
}

#[tokio::test]
async fn damage_neither_hides_a_tenant_that_can_be_told_nor_ends_the_pages() {
    let (_folder, store, tenants) = eight().await;
    let overwrite = |number: usize, bytes: &[u8]| {
        let path = store.path(&tenants[number]);
        fs::write(path, bytes).unwrap();
    };
    // Readable only in part, or too large to be one: all the same it is known whose.
    let whole = grant(1, "a").to_bytes(&tenants[1]);
    overwrite(1, &whole[..whole.len() / 2]);
    let mut large = grant(1, "a").to_bytes(&tenants[2]).to_vec();
    large.resize(2 * usize::try_from(LARGEST_FILE).unwrap(), b' ');
    overwrite(2, &large);
    store.load(&tenants[1]).await.unwrap_err();
    store.load(&tenants[2]).await.unwrap_err();
    // Longer than a page, in the middle and at both ends.
    for number in [0, 3, 4, 5] {
        overwrite(number, b"");
    }
    overwrite(7, &grant(1, "a").to_bytes(&tenants[6]));
    let told = [1, 2, 6].map(|number| tenants[number].clone());
    for limit in [1, 2, 3, 4] {
        assert_eq!(all(&store, limit).await, told, "{limit}");
    }
}

#[tokio::test]
async fn the_last_of_a_page_may_be_gone() {
    let (_folder, store, tenants) = eight().await;
    let page = store.tenants(None, 3).await.unwrap();
    let path = store.path(&page[2]);
    fs::remove_file(&path).unwrap();
    let rest = store.tenants(Some(&page[2]), 100).await.unwrap();
    assert_eq!(rest, tenants[3..]);
    // One that was never there has its place as well.
    let absent = tenant("absent");
    let behind = tenants
        .iter()
        .filter(|tenant| file_name(tenant) > file_name(&absent));
    let rest = store.tenants(Some(&absent), 100).await.unwrap();
    assert_eq!(rest, behind.cloned().collect::<Vec<_>>());
}

/// As after somebody has tidied up, or copied the grants alone from elsewhere.
#[tokio::test]
async fn locks_are_not_needed() {
    let (_folder, store, tenants) = eight().await;
    for tenant in &tenants {
        fs::remove_file(store.path(tenant).with_extension("lock")).unwrap();
    }
    assert_eq!(all(&store, 3).await, tenants);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_error_and_not_the_end() {
    let (folder, store, _) = eight().await;
    fs::remove_dir_all(folder.path()).unwrap();
    let error = store.tenants(None, 10).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Store);
}

/// A file that cannot even be looked at, whoever looks.
#[cfg(unix)]
#[tokio::test]
async fn no_file_beyond_the_page_is_read_and_a_failure_is_not_the_end() {
    let (_folder, store, tenants) = eight().await;
    let path = store.path(&tenants[3]);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert_eq!(store.tenants(None, 3).await.unwrap(), tenants[..3]);
    let error = store.tenants(None, 4).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Store);
    assert!(!error.to_string().contains(path.to_str().unwrap()));
    let behind = store.tenants(Some(&tenants[3]), 100).await.unwrap();
    assert_eq!(behind, tenants[4..]);
}
