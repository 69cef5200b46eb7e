//! Auth in the buckets `auth`, `authUsers`, `authRoles`. formats 3.4.

use std::sync::Arc;

use backend::schema::auth as key;
use backend::{Backend, Bucket};
use bytes::Bytes;
use prost::Message;
use proto::authpb;

use super::AuthState;
use crate::Error;
use crate::record::{be_u64, damaged, text};

/// Reads everything; a fresh file gets revision 1, as etcd writes it on first boot. All of it is copied: slices of the
/// file would keep its pages pinned, and none that is freed later could be used again.
pub(crate) fn load(backend: &mut Backend) -> Result<AuthState, Error> {
    let mut state = AuthState::default();
    for record in backend.range(Bucket::AuthRoles, b"", None) {
        let (name, value) = record?;
        let role = authpb::Role::decode(&value[..]).map_err(|e| damaged(Bucket::AuthRoles, &name, e))?;
        state.roles.insert(text(Bucket::AuthRoles, &name)?, Arc::new(role));
    }
    for record in backend.range(Bucket::AuthUsers, b"", None) {
        let (name, value) = record?;
        text(Bucket::AuthUsers, &name)?;
        let mut user = authpb::User::decode(&value[..]).map_err(|e| damaged(Bucket::AuthUsers, &name, e))?;
        user.name = Bytes::copy_from_slice(&name);
        state.put_user(user);
    }
    state.enabled = backend.get(Bucket::Auth, key::ENABLED)?.is_some_and(|v| v[..] == [1]);
    match backend.get(Bucket::Auth, key::REVISION)? {
        Some(v) => state.revision = be_u64(Bucket::Auth, key::REVISION, &v)?,
        None => {
            state.revision = 1;
            put_revision(backend, 1);
        }
    }
    Ok(state)
}

pub(crate) fn put_revision(backend: &mut Backend, revision: u64) {
    put(backend, Bucket::Auth, key::REVISION, Bytes::copy_from_slice(&revision.to_be_bytes()));
}

pub(crate) fn put_enabled(backend: &mut Backend, enabled: bool) {
    put(backend, Bucket::Auth, key::ENABLED, Bytes::from_static(if enabled { &[1] } else { &[0] }));
}

pub(crate) fn put_user(backend: &mut Backend, user: &authpb::User) {
    backend.put(Bucket::AuthUsers, user.name.clone(), user.encode_to_vec().into());
}

pub(crate) fn put_role(backend: &mut Backend, role: &authpb::Role) {
    backend.put(Bucket::AuthRoles, role.name.clone(), role.encode_to_vec().into());
}

fn put(backend: &mut Backend, bucket: Bucket, key: &'static [u8], value: Bytes) {
    backend.put(bucket, Bytes::from_static(key), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_was_read_does_not_keep_pages_of_the_file() {
        let disk = std::sync::Arc::new(disk::MemDisk::new(0));
        let open = || Backend::open(disk.clone(), Path::new("/db"), backend::Options::default()).unwrap();
        let mut backend = open();
        let permission = authpb::Permission { key: "k".into(), range_end: "l".into(), perm_type: 0 };
        put_role(&mut backend, &authpb::Role { name: "r".into(), key_permission: vec![permission] });
        let user = authpb::User { name: "u".into(), password: "p".into(), ..Default::default() };
        put_user(&mut backend, &user);
        let keys: Vec<Bytes> = (0..1000u64).map(|n| n.to_be_bytes().to_vec().into()).collect();
        keys.iter().for_each(|key| backend.put(Bucket::Key, key.clone(), vec![1; 500].into()));
        backend.commit().unwrap();
        drop(backend);
        let mut backend = open();
        let before = backend.size_in_use();
        let state = load(&mut backend).unwrap();
        assert_eq!((state.users["u"].record.clone(), state.roles.len()), (user, 1));
        keys.iter().for_each(|key| backend.delete(Bucket::Key, key));
        backend.commit().unwrap();
        backend.put(Bucket::Meta, "m".into(), "v".into());
        backend.commit().unwrap();
        assert!(backend.size_in_use() < before / 4, "{} of {before}", backend.size_in_use());
        drop(state);
    }
}
