//! What the log says about users, roles and the switch, in etcd's words. Never a password.

use proto::authpb::permission;
use proto::etcdserverpb as pb;
use store::AuthState;

use crate::log;

/// A request that changes users, roles or the switch; those that only ask say nothing.
pub trait Told {
    /// It was carried out; what held before it, and now.
    fn done(&self, _before: &AuthState, _now: &AuthState) {}
    /// It was refused.
    fn refused(&self, _auth: &AuthState) {}
}

const ROOT: &str = "root";

fn roles(auth: &AuthState, user: &str) -> Vec<String> {
    auth.users.get(user).map_or_else(Vec::new, |user| user.record.roles.clone())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Told for pb::AuthStatusRequest {}
impl Told for pb::AuthUserGetRequest {}
impl Told for pb::AuthUserListRequest {}
impl Told for pb::AuthRoleGetRequest {}
impl Told for pb::AuthRoleListRequest {}

impl Told for pb::AuthEnableRequest {
    fn done(&self, before: &AuthState, _: &AuthState) {
        if before.enabled {
            log::info!("authentication is already enabled; ignored auth enable request");
        } else {
            log::info!("enabled authentication");
        }
    }
}

impl Told for pb::AuthDisableRequest {
    fn done(&self, before: &AuthState, _: &AuthState) {
        if before.enabled {
            log::info!("disabled authentication");
        }
    }
}

impl Told for pb::AuthUserAddRequest {
    fn done(&self, _: &AuthState, _: &AuthState) {
        log::info!("added a user", "user-name" = &self.name);
    }
}

impl Told for pb::AuthUserDeleteRequest {
    fn done(&self, before: &AuthState, _: &AuthState) {
        log::info!("deleted a user", "user-name" = &self.name, "user-roles" = roles(before, &self.name));
    }

    fn refused(&self, auth: &AuthState) {
        if auth.enabled && self.name == ROOT {
            log::error!("cannot delete 'root' user", "user-name" = ROOT);
        }
    }
}

impl Told for pb::AuthUserChangePasswordRequest {
    fn done(&self, _: &AuthState, now: &AuthState) {
        log::info!(
            "changed a password of a user",
            "user-name" = &self.name,
            "user-roles" = roles(now, &self.name)
        );
    }
}

impl Told for pb::AuthUserGrantRoleRequest {
    fn done(&self, before: &AuthState, now: &AuthState) {
        let had = roles(before, &self.user);
        if had.contains(&self.role) {
            log::warning!(
                "ignored grant role request to a user",
                "user-name" = &self.user,
                "user-roles" = had,
                "duplicate-role-name" = &self.role
            );
        } else {
            log::info!(
                "granted a role to a user",
                "user-name" = &self.user,
                "user-roles" = roles(now, &self.user),
                "added-role-name" = &self.role
            );
        }
    }
}

impl Told for pb::AuthUserRevokeRoleRequest {
    fn done(&self, before: &AuthState, now: &AuthState) {
        log::info!(
            "revoked a role from a user",
            "user-name" = &self.name,
            "old-user-roles" = roles(before, &self.name),
            "new-user-roles" = roles(now, &self.name),
            "revoked-role-name" = &self.role
        );
    }

    fn refused(&self, auth: &AuthState) {
        if auth.enabled && self.name == ROOT && self.role == ROOT {
            log::error!("'root' user cannot revoke 'root' role", "user-name" = ROOT, "role-name" = ROOT);
        }
    }
}

impl Told for pb::AuthRoleAddRequest {
    fn done(&self, _: &AuthState, _: &AuthState) {
        log::info!("created a role", "role-name" = &self.name);
    }
}

impl Told for pb::AuthRoleDeleteRequest {
    fn done(&self, _: &AuthState, _: &AuthState) {
        log::info!("deleted a role", "role-name" = &self.role);
    }

    fn refused(&self, auth: &AuthState) {
        if auth.enabled && self.role == ROOT {
            log::error!("cannot delete 'root' role", "role-name" = ROOT);
        }
    }
}

impl Told for pb::AuthRoleGrantPermissionRequest {
    fn done(&self, _: &AuthState, _: &AuthState) {
        let permission = self.perm.clone().unwrap_or_default();
        let kind = permission::Type::try_from(permission.perm_type).unwrap_or_default();
        // The role is called a user in etcd, too.
        log::info!(
            "granted/updated a permission to a user",
            "user-name" = &self.name,
            "permission-name" = kind.as_str_name(),
            "key" = text(&permission.key),
            "range-end" = text(&permission.range_end)
        );
    }
}

impl Told for pb::AuthRoleRevokePermissionRequest {
    fn done(&self, _: &AuthState, _: &AuthState) {
        log::info!(
            "revoked a permission on range",
            "role-name" = &self.role,
            "key" = text(&self.key),
            "range-end" = text(&self.range_end)
        );
    }
}
