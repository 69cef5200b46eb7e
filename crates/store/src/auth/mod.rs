//! Users, roles and the auth switch, as one immutable value that is replaced whole.
//!
//! `change` executes the auth requests, `perms` knows intervals, `record` reads and writes the buckets.

pub(crate) mod change;
pub mod perms;
pub(crate) mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::authpb;

use crate::ApplyError;
use perms::{KeyRange, UserPermissions};

/// The user and the role that may do everything.
pub const ROOT: &str = "root";

/// Who asks. An empty user with revision 0 is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// User name.
    pub user: &'a str,
    /// Auth revision at which the user was authenticated; 0 = not authenticated.
    pub revision: u64,
}

impl Identity<'_> {
    /// No credentials.
    pub const NOBODY: Identity<'static> = Identity { user: "", revision: 0 };
}

/// A user with what it may touch.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// As stored.
    pub record: authpb::User,
    /// Union over the user's roles.
    pub permissions: UserPermissions,
}

impl User {
    /// True if the user holds role root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.has_role(ROOT)
    }

    /// True if the user holds the role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.record.roles.iter().any(|r| r == role)
    }

    /// True if the user cannot log in with a password.
    #[must_use]
    pub fn has_no_password(&self) -> bool {
        self.record.options.is_some_and(|o| o.no_password)
    }
}

/// Everything auth knows. Cloning shares users and roles.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuthState {
    /// The switch.
    pub enabled: bool,
    /// Grows with every change; 1 at first.
    pub revision: u64,
    /// By name.
    pub users: BTreeMap<String, Arc<User>>,
    /// By name.
    pub roles: BTreeMap<String, Arc<authpb::Role>>,
}

impl AuthState {
    /// May `who` read the range?
    pub fn check_read(&self, who: Identity<'_>, range: KeyRange<'_>) -> Result<(), ApplyError> {
        self.check(who, |user| user.read.cover(range))
    }

    /// May `who` write the range?
    pub fn check_write(&self, who: Identity<'_>, range: KeyRange<'_>) -> Result<(), ApplyError> {
        self.check(who, |user| user.write.cover(range))
    }

    /// May `who` administer? Does not look at the revision.
    pub fn check_admin(&self, who: Identity<'_>) -> Result<(), ApplyError> {
        if !self.enabled {
            return Ok(());
        }
        if who.user.is_empty() {
            return Err(ApplyError::UserEmpty);
        }
        let user = self.users.get(who.user).ok_or(ApplyError::UserNotFound)?;
        if user.is_root() { Ok(()) } else { Err(ApplyError::PermissionDenied) }
    }

    /// After a read: was it checked against the auth state that still holds?
    pub fn check_still_current(&self, who: Identity<'_>) -> Result<(), ApplyError> {
        if who.revision != 0 && who.revision != self.revision {
            Err(ApplyError::AuthOldRevision)
        } else {
            Ok(())
        }
    }

    /// bcrypt hash to compare a password with, before an Authenticate is proposed.
    pub fn password_hash(&self, user: &str) -> Result<&[u8], ApplyError> {
        if !self.enabled {
            return Err(ApplyError::AuthNotEnabled);
        }
        let user = self.users.get(user).ok_or(ApplyError::AuthFailed)?;
        if user.has_no_password() { Err(ApplyError::NoPasswordUser) } else { Ok(&user.record.password) }
    }

    fn check(
        &self,
        who: Identity<'_>,
        covers: impl FnOnce(&UserPermissions) -> bool,
    ) -> Result<(), ApplyError> {
        if !self.enabled {
            return Ok(());
        }
        if who.revision == 0 {
            return Err(ApplyError::UserEmpty);
        }
        if who.revision < self.revision {
            return Err(ApplyError::AuthOldRevision);
        }
        let user = self.users.get(who.user).ok_or(ApplyError::PermissionDenied)?;
        if user.is_root() || covers(&user.permissions) { Ok(()) } else { Err(ApplyError::PermissionDenied) }
    }

    pub(crate) fn put_user(&mut self, record: authpb::User) {
        let permissions = self.permissions_of(&record);
        let name = String::from_utf8_lossy(&record.name).into_owned();
        self.users.insert(name, Arc::new(User { record, permissions }));
    }

    /// A role changed: users that hold it get new permissions.
    pub(crate) fn refresh_holders(&mut self, role: &str) {
        let holders: Vec<authpb::User> =
            self.users.values().filter(|u| u.has_role(role)).map(|u| u.record.clone()).collect();
        for record in holders {
            self.put_user(record);
        }
    }

    fn permissions_of(&self, user: &authpb::User) -> UserPermissions {
        let roles = user.roles.iter().filter_map(|name| self.roles.get(name));
        UserPermissions::unite(roles.flat_map(|role| role.key_permission.iter()))
    }
}
