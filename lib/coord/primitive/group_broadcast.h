/* What the files about broadcasts share: group_broadcast.c (sending and acknowledging),
 * group_broadcast_view.c (what is shown of them). */
#ifndef COORDD_COORD_PRIMITIVE_GROUP_BROADCAST_H
#define COORDD_COORD_PRIMITIVE_GROUP_BROADCAST_H

#include "coord/primitive/group.h"

enum broadcast_state { BROADCAST_OPEN = 1, BROADCAST_SATISFIED, BROADCAST_PARTIAL, BROADCAST_EXPIRED };
extern const char *const broadcast_state_choices[];

struct broadcast {
    struct slice name, payload, zone, tag;
    uint64_t number, state, sent_ms, ends_ms, done_ms, targeted, wanted, acked;
};
struct broadcast_ack {
    uint64_t at_ms; /* 0: not yet */
    struct slice response;
};

/* group_broadcast.c */
struct key broadcast_key(enum key_kind kind, struct slice group, uint64_t number);
bool broadcast_get(struct group *group, uint64_t number, struct broadcast *broadcast);
/* Oldest first; `from` is where to go on: broadcast_key(KEY_BROADCAST, name, 0) at first. */
bool broadcast_next(struct group *group, struct key *from, struct broadcast *broadcast);
/* Of a member that the broadcast is for. */
bool broadcast_ack_get(struct group *group, uint64_t number, struct slice id, struct broadcast_ack *ack);
/* The members it is for, by id; `from`: broadcast_key(KEY_BROADCAST_ACK, name, number) at first. */
bool broadcast_next_ack(struct group *group, uint64_t number, struct key *from, struct slice *id,
                        struct broadcast_ack *ack);
/* group_broadcast_view.c: of group_broadcast_view_record */
const void *broadcast_view(struct group *group, const struct broadcast *broadcast, bool with_acks);

#endif
