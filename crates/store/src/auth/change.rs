//! Auth requests as they are applied: each checks, changes the state and writes the same change to the buckets.

use std::sync::Arc;

use backend::{Backend, Bucket};
use bytes::Bytes;
use proto::authpb::{self, Permission, Role, UserAddOptions};
use proto::etcdserverpb as pb;

use super::{AuthState, Identity, ROOT, perms, record};
use crate::{ApplyError, HashPassword};

/// The state to change and the place to write it to.
pub(crate) struct AuthChange<'a> {
    pub state: &'a mut AuthState,
    pub backend: &'a mut Backend,
}

impl AuthChange<'_> {
    /// Returns whether anything changed.
    pub fn enable(&mut self) -> Result<bool, ApplyError> {
        if self.state.enabled {
            return Ok(false);
        }
        let root = self.state.users.get(ROOT).ok_or(ApplyError::RootUserNotExist)?;
        if !root.is_root() {
            return Err(ApplyError::RootRoleNotExist);
        }
        self.state.enabled = true;
        record::put_enabled(self.backend, true);
        Ok(true)
    }

    /// Returns whether anything changed.
    pub fn disable(&mut self) -> bool {
        if !self.state.enabled {
            return false;
        }
        self.state.enabled = false;
        record::put_enabled(self.backend, false);
        self.next_revision();
        true
    }

    pub fn user_add(
        &mut self,
        r: &pb::AuthUserAddRequest,
        hash: Option<HashPassword>,
    ) -> Result<(), ApplyError> {
        if r.name.is_empty() {
            return Err(ApplyError::UserEmpty);
        }
        if self.state.users.contains_key(&r.name) {
            return Err(ApplyError::UserAlreadyExists);
        }
        let options = r.options.unwrap_or(UserAddOptions { no_password: false });
        let password = match options.no_password {
            true => Bytes::new(),
            false => stored_password(&r.password, &r.hashed_password, hash)?,
        };
        self.put_user(authpb::User {
            name: r.name.clone().into(),
            password,
            roles: Vec::new(),
            options: Some(options),
        });
        self.next_revision();
        Ok(())
    }

    pub fn user_delete(&mut self, r: &pb::AuthUserDeleteRequest) -> Result<(), ApplyError> {
        if self.state.enabled && r.name == ROOT {
            return Err(ApplyError::InvalidAuthManagement);
        }
        self.state.users.remove(&r.name).ok_or(ApplyError::UserNotFound)?;
        self.backend.delete(Bucket::AuthUsers, r.name.as_bytes());
        self.next_revision();
        Ok(())
    }

    pub fn user_change_password(
        &mut self,
        r: &pb::AuthUserChangePasswordRequest,
        hash: Option<HashPassword>,
    ) -> Result<(), ApplyError> {
        let user = self.state.users.get(&r.name).ok_or(ApplyError::UserNotFound)?;
        let password = match user.has_no_password() {
            true => Bytes::new(),
            false => stored_password(&r.password, &r.hashed_password, hash)?,
        };
        let changed = authpb::User { password, ..user.record.clone() };
        self.put_user(changed);
        self.next_revision();
        Ok(())
    }

    pub fn user_grant_role(&mut self, r: &pb::AuthUserGrantRoleRequest) -> Result<bool, ApplyError> {
        let user = self.state.users.get(&r.user).ok_or(ApplyError::UserNotFound)?;
        if r.role != ROOT && !self.state.roles.contains_key(&r.role) {
            return Err(ApplyError::RoleNotFound);
        }
        if user.has_role(&r.role) {
            return Ok(false);
        }
        let mut changed = user.record.clone();
        changed.roles.push(r.role.clone());
        changed.roles.sort();
        self.put_user(changed);
        self.next_revision();
        Ok(true)
    }

    pub fn user_revoke_role(&mut self, r: &pb::AuthUserRevokeRoleRequest) -> Result<(), ApplyError> {
        if self.state.enabled && r.name == ROOT && r.role == ROOT {
            return Err(ApplyError::InvalidAuthManagement);
        }
        let user = self.state.users.get(&r.name).ok_or(ApplyError::UserNotFound)?;
        if !user.has_role(&r.role) {
            return Err(ApplyError::RoleNotGranted);
        }
        let changed = without_role(&user.record, &r.role);
        self.put_user(changed);
        self.next_revision();
        Ok(())
    }

    pub fn role_add(&mut self, r: &pb::AuthRoleAddRequest) -> Result<(), ApplyError> {
        if r.name.is_empty() {
            return Err(ApplyError::RoleEmpty);
        }
        if self.state.roles.contains_key(&r.name) {
            return Err(ApplyError::RoleAlreadyExists);
        }
        self.put_role(Role { name: r.name.clone().into(), key_permission: Vec::new() });
        self.next_revision();
        Ok(())
    }

    pub fn role_delete(&mut self, r: &pb::AuthRoleDeleteRequest) -> Result<(), ApplyError> {
        if self.state.enabled && r.role == ROOT {
            return Err(ApplyError::InvalidAuthManagement);
        }
        self.state.roles.remove(&r.role).ok_or(ApplyError::RoleNotFound)?;
        self.backend.delete(Bucket::AuthRoles, r.role.as_bytes());
        let holders = self.state.users.values().filter(|u| u.has_role(&r.role));
        let changed: Vec<authpb::User> = holders.map(|u| without_role(&u.record, &r.role)).collect();
        for user in changed {
            self.put_user(user);
        }
        self.next_revision();
        Ok(())
    }

    pub fn role_grant(&mut self, r: &pb::AuthRoleGrantPermissionRequest) -> Result<(), ApplyError> {
        let granted = r.perm.as_ref().ok_or(ApplyError::PermissionNotGiven)?;
        if !perms::is_grantable(granted) {
            return Err(ApplyError::InvalidAuthManagement);
        }
        let mut role = Role::clone(self.state.roles.get(&r.name).ok_or(ApplyError::RoleNotFound)?);
        let held = &mut role.key_permission;
        // Only the first permission with this key is compared, as etcd does.
        let first = held.partition_point(|p| p.key < granted.key);
        match held.get_mut(first).filter(|p| p.key == granted.key && p.range_end == granted.range_end) {
            Some(same) => same.perm_type = granted.perm_type,
            None => {
                held.push(Permission::clone(granted));
                held.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.put_role(role);
        self.next_revision();
        Ok(())
    }

    pub fn role_revoke(&mut self, r: &pb::AuthRoleRevokePermissionRequest) -> Result<(), ApplyError> {
        let mut role = Role::clone(self.state.roles.get(&r.role).ok_or(ApplyError::RoleNotFound)?);
        let held = role.key_permission.len();
        role.key_permission.retain(|p| p.key != r.key || p.range_end != r.range_end);
        if role.key_permission.len() == held {
            return Err(ApplyError::PermissionNotGranted);
        }
        self.put_role(role);
        self.next_revision();
        Ok(())
    }

    fn put_user(&mut self, user: authpb::User) {
        record::put_user(self.backend, &user);
        self.state.put_user(user);
    }

    fn put_role(&mut self, role: Role) {
        record::put_role(self.backend, &role);
        let name = String::from_utf8_lossy(&role.name).into_owned();
        self.state.roles.insert(name.clone(), Arc::new(role));
        self.state.refresh_holders(&name);
    }

    fn next_revision(&mut self) {
        self.state.revision += 1;
        record::put_revision(self.backend, self.state.revision);
    }
}

/// Answers of auth reads.
impl AuthState {
    /// UserGet: root may ask for anyone, others for themselves.
    pub(crate) fn user_get(&self, who: Identity<'_>, name: &str) -> Result<Vec<String>, ApplyError> {
        let admin = self.check_admin(who);
        if name != who.user {
            admin?;
        }
        let user = self.users.get(name).ok_or(ApplyError::UserNotFound)?;
        Ok(user.record.roles.clone())
    }

    /// RoleGet: root may ask for any role, others for their own.
    pub(crate) fn role_get(&self, who: Identity<'_>, name: &str) -> Result<Vec<Permission>, ApplyError> {
        let admin = self.check_admin(who);
        if !self.users.get(who.user).is_some_and(|user| user.has_role(name)) {
            admin?;
        }
        let role = self.roles.get(name).ok_or(ApplyError::RoleNotFound)?;
        if name == ROOT {
            return Ok(vec![Permission {
                perm_type: authpb::permission::Type::Readwrite.into(),
                key: Bytes::new(),
                range_end: Bytes::from_static(b"\0"),
            }]);
        }
        Ok(role.key_permission.clone())
    }

    /// Authenticate, after the password was verified by the member that proposed it.
    pub(crate) fn authenticate(&self, name: &str) -> Result<(), ApplyError> {
        if !self.enabled {
            return Err(ApplyError::AuthNotEnabled);
        }
        let user = self.users.get(name).ok_or(ApplyError::AuthFailed)?;
        if user.has_no_password() { Err(ApplyError::AuthFailed) } else { Ok(()) }
    }
}

fn without_role(user: &authpb::User, role: &str) -> authpb::User {
    let mut user = user.clone();
    user.roles.retain(|r| r != role);
    user
}

/// The hash travels as base64; entries of old members carry the plain password instead.
fn stored_password(plain: &str, hashed: &str, hash: Option<HashPassword>) -> Result<Bytes, ApplyError> {
    let stored = if !plain.is_empty() && hashed.is_empty() {
        hash.and_then(|h| (h.hash)(plain, h.cost)).map(Bytes::from)
    } else {
        base64_decode(hashed.as_bytes()).map(Bytes::from)
    };
    stored.ok_or(ApplyError::NoPasswordUser)
}

/// Standard alphabet with padding; line breaks are skipped, as Go's decoder does.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let last = (text.len() / 4).saturating_sub(1);
    for (i, quad) in text.chunks_exact(4).enumerate() {
        let padding = quad.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && i != last) {
            return None;
        }
        let mut bits = 0u32;
        for &b in &quad[..4 - padding] {
            bits = bits << 6 | base64_digit(b)?;
        }
        bits <<= 6 * padding;
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

fn base64_digit(b: u8) -> Option<u32> {
    let digit = match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_as_go_decodes_it() {
        let table: [(&str, Option<&[u8]>); 9] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9v\nZg==", Some(b"foof")),
            ("/+8A", Some(&[0xff, 0xef, 0])),
            ("Zg=", None),
            ("Zg==Zg==", None),
            ("Z-8=", None),
        ];
        for (text, bytes) in table {
            assert_eq!(base64_decode(text.as_bytes()).as_deref(), bytes, "{text:?}");
        }
    }
}
