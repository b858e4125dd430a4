/* Operations on the cluster itself: who its members are, who leads. They are no commands of the state
 * machine; the leader's node does them (coordd/members.c) and other nodes pass them on to it. Here stand
 * their tables. */
#ifndef COORDD_COORD_PRIMITIVE_CLUSTER_H
#define COORDD_COORD_PRIMITIVE_CLUSTER_H

#include "coord/operation.h"

struct cluster_get_args {
    uint8_t nothing;
};
struct cluster_member {
    struct slice name, id /* 16 hex digits */, role /* "leader", "follower", "learner", "observer" */, peer;
    bool healthy; /* answered the leader within an election timeout */
    uint64_t match_index, lag, silent_ms;
    struct slice link; /* "up", or why there is no link */
};
struct cluster_view {
    struct slice cluster_id, leader;
    uint64_t term, commit_index, change_index;
    struct list members; /* struct cluster_member */
    struct slice note;   /* what is to be known of the node that answers */
};

struct cluster_can_stop_args {
    struct slice node;
};
struct cluster_can_stop {
    struct slice node;
    bool can_stop;
    struct slice reason;
};

struct cluster_add_args {
    struct slice name, id, peer;
    bool observer;
};
struct cluster_name_args {
    struct slice name;
};
struct cluster_changed { /* the member as it now is; a removed one with role "removed" */
    struct slice name, id, role, peer;
    uint64_t change_index;
};

struct cluster_transfer_args {
    struct slice to;
};
struct cluster_transferred {
    struct slice leader;
    uint64_t term;
};

extern const struct operation *const operation_cluster_get,
    *const operation_cluster_can_stop,
        *const operation_cluster_add, *const operation_cluster_promote, *const operation_cluster_remove,
                                                                            *const operation_cluster_transfer;
extern const struct primitive cluster_primitive;

#endif
