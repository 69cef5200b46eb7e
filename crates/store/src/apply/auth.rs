//! Auth requests.

use std::sync::Arc;

use proto::etcdserverpb as pb;

use super::Applying;
use crate::auth::change::AuthChange;
use crate::request::Kind;
use crate::{ApplyError, Outcome, Response, Store, TokenChange, options::TokenKind};

impl Store {
    pub(super) fn auth_request(
        &mut self,
        a: &Applying<'_>,
        outcome: &mut Outcome,
    ) -> Result<Response, ApplyError> {
        match self.auth_read(a, outcome) {
            Some(answer) => answer,
            None => self.auth_change(&a.request.kind, outcome),
        }
    }

    /// Requests that leave users and roles as they are; `None` for the others.
    fn auth_read(&mut self, a: &Applying<'_>, outcome: &mut Outcome) -> Option<Result<Response, ApplyError>> {
        let header = self.header();
        let auth = &self.auth;
        let who = a.request.who();
        Some(match &a.request.kind {
            Kind::UserGet(_) | Kind::RoleGet(_) | Kind::AuthStatus if !a.wanted => Ok(Response::Nothing),
            Kind::UserGet(r) => auth
                .user_get(who, &r.name)
                .map(|roles| Response::AuthUserGet(pb::AuthUserGetResponse { header, roles })),
            Kind::RoleGet(r) => auth
                .role_get(who, &r.role)
                .map(|perm| Response::AuthRoleGet(pb::AuthRoleGetResponse { header, perm })),
            Kind::AuthStatus => Ok(Response::AuthStatus(pb::AuthStatusResponse {
                header,
                enabled: auth.enabled,
                auth_revision: auth.revision,
            })),
            Kind::UserList => {
                let users = auth.users.keys().cloned().collect();
                Ok(Response::AuthUserList(pb::AuthUserListResponse { header, users }))
            }
            Kind::RoleList => {
                let roles = auth.roles.keys().cloned().collect();
                Ok(Response::AuthRoleList(pb::AuthRoleListResponse { header, roles }))
            }
            Kind::Authenticate(r) => self.authenticate(r, a.index, outcome),
            _ => return None,
        })
    }

    /// The password was checked before; every member remembers the token.
    fn authenticate(
        &self,
        r: &pb::InternalAuthenticateRequest,
        index: u64,
        outcome: &mut Outcome,
    ) -> Result<Response, ApplyError> {
        self.auth.authenticate(&r.name)?;
        let token = match self.options.token_kind {
            TokenKind::Simple => format!("{}.{index}", r.simple_token),
            TokenKind::Jwt => String::new(),
        };
        outcome.tokens.push(TokenChange::Granted { user: r.name.clone(), token: token.clone() });
        Ok(Response::Authenticate(pb::AuthenticateResponse { header: self.header(), token }))
    }

    fn auth_change(&mut self, kind: &Kind, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        let header = self.header();
        let hash = self.options.hash_password;
        let mut change = AuthChange { state: Arc::make_mut(&mut self.auth), backend: &mut self.backend };
        let mut changed = true;
        let response = match kind {
            Kind::AuthEnable => {
                changed = change.enable()?;
                Response::AuthEnable(pb::AuthEnableResponse { header })
            }
            Kind::AuthDisable => {
                changed = change.disable();
                if changed {
                    outcome.tokens.push(TokenChange::AllInvalidated);
                }
                Response::AuthDisable(pb::AuthDisableResponse { header })
            }
            Kind::UserAdd(r) => {
                change.user_add(r, hash)?;
                Response::AuthUserAdd(pb::AuthUserAddResponse { header })
            }
            Kind::UserDelete(r) => {
                change.user_delete(r)?;
                outcome.tokens.push(TokenChange::UserInvalidated { user: r.name.clone() });
                Response::AuthUserDelete(pb::AuthUserDeleteResponse { header })
            }
            Kind::UserChangePassword(r) => {
                change.user_change_password(r, hash)?;
                outcome.tokens.push(TokenChange::UserInvalidated { user: r.name.clone() });
                Response::AuthUserChangePassword(pb::AuthUserChangePasswordResponse { header })
            }
            Kind::UserGrantRole(r) => {
                changed = change.user_grant_role(r)?;
                Response::AuthUserGrantRole(pb::AuthUserGrantRoleResponse { header })
            }
            Kind::UserRevokeRole(r) => {
                change.user_revoke_role(r)?;
                Response::AuthUserRevokeRole(pb::AuthUserRevokeRoleResponse { header })
            }
            Kind::RoleAdd(r) => {
                change.role_add(r)?;
                Response::AuthRoleAdd(pb::AuthRoleAddResponse { header })
            }
            Kind::RoleDelete(r) => {
                change.role_delete(r)?;
                Response::AuthRoleDelete(pb::AuthRoleDeleteResponse { header })
            }
            Kind::RoleGrantPermission(r) => {
                change.role_grant(r)?;
                Response::AuthRoleGrantPermission(pb::AuthRoleGrantPermissionResponse { header })
            }
            Kind::RoleRevokePermission(r) => {
                change.role_revoke(r)?;
                Response::AuthRoleRevokePermission(pb::AuthRoleRevokePermissionResponse { header })
            }
            _ => return Err(ApplyError::Fatal("a request without a place to execute it".to_owned())),
        };
        outcome.auth_changed = changed;
        self.publish_auth();
        Ok(response)
    }
}
