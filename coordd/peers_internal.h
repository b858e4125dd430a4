/* What the files of the peer links share: the links themselves, and whom to dial. */
#ifndef COORDD_PEERS_INTERNAL_H
#define COORDD_PEERS_INTERNAL_H

#include "base/arena.h"
#include "coordd/peer_link.h"
#include "coordd/peer_resolve.h"
#include "coordd/peers.h"

enum {
    TARGETS_MAX = 16,
    LINKS_MAX = 256,
    STRANGERS_MAX = 64, /* accepted connections that have not proved yet who they are */
    MEMBERS_MAX = RAFT_MEMBERS_MAX
};

struct target {
    uint64_t node; /* 0: whoever answers */
    char address[160];
    struct peer_link *link;
    struct peer_lookup *lookup;
    uint64_t lookup_began_ms;
    struct peer_addresses found;
    size_t tried; /* of the addresses that were found last */
    uint64_t dial_at_ms, backoff_ms, changed_ms;
    char error[128];
};

struct peers {
    struct peers_settings settings;
    struct peers_identity identity;
    char name[RAFT_NAME_SIZE], listen[160], advertise[160];
    struct peer_secret secret;
    struct peer_tls tls;
    bool has_tls;
    struct peers_member members[MEMBERS_MAX];
    struct peer_world world;
    int listen_fd;
    unsigned port;
    struct st_h2o_evloop_t *loop;
    struct st_h2o_socket_t *listener, *waker, *finder;
    int found_fd; /* an eventfd: a name was looked up; negative: no loop yet */
    bool woken;
    uint64_t looked_ms;       /* when this thread last cared for the links */
    uint64_t accept_again_ms; /* 0: accepting */
    struct peer_link *links[LINKS_MAX];
    size_t link_count;
    struct target targets[TARGETS_MAX];
    size_t target_count;
    struct arena inbox, taken;
    struct peer_frame *frames, **frames_end;
    uint64_t complained_ms, uncomplained;
};

static inline const struct peer_tls *peers_tls(const struct peers *peers)
{
    return peers->has_tls ? &peers->tls : NULL;
}

/* peers_open.c: what can be done and fail before there is a loop. */
bool peers_prepare(struct peers *peers, char *error, size_t error_size);

/* peer_target.c */
void target_drop(struct target *target);
/* Looks its name up, dials, as far as it is time; when to ask again. */
uint64_t target_tend(struct peers *peers, struct target *target, uint64_t now_ms);
void target_up(struct peers *peers, struct peer_link *link);
/* Its link is over. False: it is no target's. */
bool target_down(struct peers *peers, struct peer_link *link);

/* peers.c */
void peers_need_loop(struct peers *peers);

#endif
