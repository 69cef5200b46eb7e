//! Users, roles, the auth switch, and Authenticate.

use proto::etcdserverpb as pb;
use store::Response;

use super::Call;
use super::auth_lines::Told;
use super::error::{self, Status};
use crate::log;
use crate::member::Field;

/// Longest password bcrypt takes, in bytes.
const PASSWORD_BYTES_MAX: usize = 72;

macro_rules! proposed {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident = $field:ident, $variant:ident;)*) => {$(
        $(#[$doc])*
        pub async fn $name(call: Call, request: pb::$request) -> Result<pb::$response, Status> {
            let who = call.who().await?;
            let before = call.member.store.auth();
            match call.member.propose(&who, Field::$field, &request).await {
                Ok(Response::$variant(mut response)) => {
                    request.done(&before, &call.member.store.auth());
                    call.member.fill(&mut response.header);
                    Ok(response)
                }
                Ok(_) => Err(error::TIMEOUT),
                Err(status) => {
                    if status == error::INVALID_AUTH_MGMT {
                        request.refused(&before);
                    }
                    Err(status)
                }
            }
        }
    )*};
}

proposed! {
    /// Auth/AuthEnable.
    enable(AuthEnableRequest) -> AuthEnableResponse = AuthEnable, AuthEnable;
    /// Auth/AuthDisable.
    disable(AuthDisableRequest) -> AuthDisableResponse = AuthDisable, AuthDisable;
    /// Auth/AuthStatus.
    status(AuthStatusRequest) -> AuthStatusResponse = AuthStatus, AuthStatus;
    /// Auth/UserGet.
    user_get(AuthUserGetRequest) -> AuthUserGetResponse = UserGet, AuthUserGet;
    /// Auth/UserList.
    user_list(AuthUserListRequest) -> AuthUserListResponse = UserList, AuthUserList;
    /// Auth/UserDelete.
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = UserDelete, AuthUserDelete;
    /// Auth/UserGrantRole.
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = UserGrantRole, AuthUserGrantRole;
    /// Auth/UserRevokeRole.
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = UserRevokeRole, AuthUserRevokeRole;
    /// Auth/RoleAdd.
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = RoleAdd, AuthRoleAdd;
    /// Auth/RoleGet.
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse = RoleGet, AuthRoleGet;
    /// Auth/RoleList.
    role_list(AuthRoleListRequest) -> AuthRoleListResponse = RoleList, AuthRoleList;
    /// Auth/RoleDelete.
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = RoleDelete, AuthRoleDelete;
    /// Auth/RoleGrantPermission.
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse
        = RoleGrantPermission, AuthRoleGrantPermission;
    /// Auth/RoleRevokePermission.
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse
        = RoleRevokePermission, AuthRoleRevokePermission;
    /// The proposal of Auth/UserAdd, password already hashed.
    propose_user_add(AuthUserAddRequest) -> AuthUserAddResponse = UserAdd, AuthUserAdd;
    /// The proposal of Auth/UserChangePassword, password already hashed.
    propose_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse
        = UserChangePassword, AuthUserChangePassword;
}

/// Auth/UserAdd.
pub async fn user_add(
    call: Call,
    mut request: pb::AuthUserAddRequest,
) -> Result<pb::AuthUserAddResponse, Status> {
    if !request.options.is_some_and(|o| o.no_password) {
        request.hashed_password = hash(&call, std::mem::take(&mut request.password)).await?;
    }
    propose_user_add(call, request).await
}

/// Auth/UserChangePassword.
pub async fn user_change_password(
    call: Call,
    mut request: pb::AuthUserChangePasswordRequest,
) -> Result<pb::AuthUserChangePasswordResponse, Status> {
    if !request.password.is_empty() {
        request.hashed_password = hash(&call, std::mem::take(&mut request.password)).await?;
    }
    propose_password(call, request).await
}

/// How many passwords are hashed at a time: anybody may ask for it, and it must not take the processors from the rest.
static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// Runs a hash off the front loops: it takes long on purpose.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let turn = HASHING.acquire().await.map_err(|_| error::STOPPED)?;
    // The turn goes with the work: a caller that gives up does not make room for another.
    let run = move || {
        let done = work();
        drop(turn);
        done
    };
    tokio::task::spawn_blocking(run).await.map_err(|_| error::STOPPED)
}

/// The bcrypt hash of a password in base64, as it travels in the log.
async fn hash(call: &Call, password: String) -> Result<String, Status> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Status::unknown("bcrypt: password length exceeds 72 bytes"));
    }
    let cost = call.member.config.bcrypt_cost();
    let hashed = hashing(move || bcrypt::hash_with_result(password, cost))
        .await?
        .map_err(|e| Status::unknown(e.to_string()))?;
    Ok(base64(hashed.format_for_version(bcrypt::Version::TwoA).as_bytes()))
}

/// Auth/Authenticate: the password is checked here; the log only says that it was right.
pub async fn authenticate(
    call: Call,
    request: pb::AuthenticateRequest,
) -> Result<pb::AuthenticateResponse, Status> {
    let member = &call.member;
    member.linearize().await?;
    loop {
        let revision = check_password(&call, &request).await.inspect_err(|status| {
            if *status == error::AUTH_FAILED {
                log::warning!(
                    "invalid authentication was requested",
                    "user" = &request.name,
                    "error" = "auth: authentication failed, invalid user ID or password"
                );
            }
        })?;
        let internal = pb::InternalAuthenticateRequest {
            name: request.name.clone(),
            password: String::new(),
            simple_token: member.tokens.prefix(),
        };
        let response = member.propose(&Default::default(), Field::Authenticate, &internal).await?;
        // Users changed while the password was checked: check again.
        if member.store.auth().revision != revision {
            continue;
        }
        return match response {
            Response::Authenticate(mut response) => {
                let (tokens, applied) = (member.tokens.clone(), std::mem::take(&mut response.token));
                let signs = tokens.signs();
                let issue = move || tokens.issue(&request.name, revision, applied);
                response.token = if signs { hashing(issue).await?? } else { issue()? };
                member.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(error::TIMEOUT),
        };
    }
}

/// The auth revision at which the password was right.
async fn check_password(call: &Call, request: &pb::AuthenticateRequest) -> Result<u64, Status> {
    let auth = call.member.store.auth();
    if !auth.enabled {
        return Err(error::AUTH_NOT_ENABLED);
    }
    let user = auth.users.get(&request.name).ok_or(error::AUTH_FAILED)?;
    if user.has_no_password() {
        return Err(error::UNSUPPORTED_PASSWORD);
    }
    let stored = String::from_utf8_lossy(&user.record.password).into_owned();
    let given = request.password.clone();
    let right = hashing(move || bcrypt::verify(given, &stored)).await?;
    if right.unwrap_or(false) {
        return Ok(auth.revision);
    }
    log::info!("invalid password", "user-name" = &request.name);
    Err(error::AUTH_FAILED)
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_like_the_standard_says() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }
}
