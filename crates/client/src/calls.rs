//! The table of unary calls: one method of [`Client`] each.
use proto::etcdserverpb::*;

use crate::unary::Repeat::{Reads, Writes};
use crate::{Client, Error};

macro_rules! calls {
    ($($(#[$doc:meta])* $repeat:ident $name:ident($request:ty) -> $response:ty, $method:literal;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As every call: the server's error, or the limit passed.
                pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                    self.unary(concat!("/etcdserverpb.", $method), $repeat, request).await
                }
            )*
        }
    };
}

calls! {
    /// Reads keys at a revision.
    Reads range(RangeRequest) -> RangeResponse, "KV/Range";
    /// Writes one key.
    Writes put(PutRequest) -> PutResponse, "KV/Put";
    /// Deletes a key or a range.
    Writes delete_range(DeleteRangeRequest) -> DeleteRangeResponse, "KV/DeleteRange";
    /// Compares and runs one of two lists of operations.
    Writes txn(TxnRequest) -> TxnResponse, "KV/Txn";
    /// Gives up history below a revision.
    Writes compact(CompactionRequest) -> CompactionResponse, "KV/Compact";

    /// Creates a lease.
    Writes lease_grant(LeaseGrantRequest) -> LeaseGrantResponse, "Lease/LeaseGrant";
    /// Ends a lease and deletes its keys.
    Writes lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse, "Lease/LeaseRevoke";
    /// Asks how long a lease has left, in seconds.
    Reads lease_time_to_live(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse, "Lease/LeaseTimeToLive";
    /// Lists lease ids.
    Reads lease_leases(LeaseLeasesRequest) -> LeaseLeasesResponse, "Lease/LeaseLeases";

    /// Adds a member, started or not.
    Writes member_add(MemberAddRequest) -> MemberAddResponse, "Cluster/MemberAdd";
    /// Removes a member for good.
    Writes member_remove(MemberRemoveRequest) -> MemberRemoveResponse, "Cluster/MemberRemove";
    /// Changes the peer URLs of a member.
    Writes member_update(MemberUpdateRequest) -> MemberUpdateResponse, "Cluster/MemberUpdate";
    /// Lists members.
    Reads member_list(MemberListRequest) -> MemberListResponse, "Cluster/MemberList";
    /// Turns a learner into a voter.
    Writes member_promote(MemberPromoteRequest) -> MemberPromoteResponse, "Cluster/MemberPromote";

    /// Lists, raises or clears alarms.
    Reads alarm(AlarmRequest) -> AlarmResponse, "Maintenance/Alarm";
    /// State of the member that answers.
    Reads status(StatusRequest) -> StatusResponse, "Maintenance/Status";
    /// Gives unused pages of the member's file back.
    Writes defragment(DefragmentRequest) -> DefragmentResponse, "Maintenance/Defragment";
    /// Checksum of the member's whole file.
    Reads hash(HashRequest) -> HashResponse, "Maintenance/Hash";
    /// Checksum of the history up to a revision.
    Reads hash_kv(HashKvRequest) -> HashKvResponse, "Maintenance/HashKV";
    /// Hands leadership to another member; only the leader takes this.
    Writes move_leader(MoveLeaderRequest) -> MoveLeaderResponse, "Maintenance/MoveLeader";
    /// Checks, starts or cancels a downgrade.
    Writes downgrade(DowngradeRequest) -> DowngradeResponse, "Maintenance/Downgrade";

    /// Turns authentication on.
    Writes auth_enable(AuthEnableRequest) -> AuthEnableResponse, "Auth/AuthEnable";
    /// Turns authentication off.
    Writes auth_disable(AuthDisableRequest) -> AuthDisableResponse, "Auth/AuthDisable";
    /// Asks whether authentication is on.
    Reads auth_status(AuthStatusRequest) -> AuthStatusResponse, "Auth/AuthStatus";
    /// Exchanges name and password for a token; the client does this by itself.
    Reads fetch_token(AuthenticateRequest) -> AuthenticateResponse, "Auth/Authenticate";
    /// Creates a user.
    Writes user_add(AuthUserAddRequest) -> AuthUserAddResponse, "Auth/UserAdd";
    /// Roles of a user.
    Reads user_get(AuthUserGetRequest) -> AuthUserGetResponse, "Auth/UserGet";
    /// Lists users.
    Reads user_list(AuthUserListRequest) -> AuthUserListResponse, "Auth/UserList";
    /// Deletes a user.
    Writes user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse, "Auth/UserDelete";
    /// Changes a password.
    Writes user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse, "Auth/UserChangePassword";
    /// Gives a role to a user.
    Writes user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse, "Auth/UserGrantRole";
    /// Takes a role from a user.
    Writes user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse, "Auth/UserRevokeRole";
    /// Creates a role.
    Writes role_add(AuthRoleAddRequest) -> AuthRoleAddResponse, "Auth/RoleAdd";
    /// Permissions of a role.
    Reads role_get(AuthRoleGetRequest) -> AuthRoleGetResponse, "Auth/RoleGet";
    /// Lists roles.
    Reads role_list(AuthRoleListRequest) -> AuthRoleListResponse, "Auth/RoleList";
    /// Deletes a role.
    Writes role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse, "Auth/RoleDelete";
    /// Adds a permission to a role.
    Writes role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse, "Auth/RoleGrantPermission";
    /// Removes a permission from a role.
    Writes role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse, "Auth/RoleRevokePermission";
}
